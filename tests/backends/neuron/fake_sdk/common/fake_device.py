"""The machine: its cores, the format of a NEFF, and what goes wrong."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import signal
import sys
import tempfile
import time
import types
from typing import Any

import numpy as np

STATE = os.environ["FAKE_NEURON_STATE"]
TARGETS = {"trn1": 2, "inf2": 2, "gen2": 2, "trn2": 3, "gen3": 3, "trn3": 4, "gen4": 4}
CORES = "NEURON_RT_VISIBLE_CORES"
_held: list[Any] = []
count = 0
"""Instructions that were run."""


def device() -> dict[str, Any]:
    with open(os.path.join(STATE, "device.json")) as file:
        return dict(json.load(file))


def fault(name: str) -> bool:
    with open(os.path.join(STATE, "faults")) as file:
        return name in file.read().split()


def once(name: str) -> bool:
    """Whether this is the first time, of all processes."""
    try:
        os.close(os.open(os.path.join(STATE, name), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def note(what: str) -> None:
    """Tells the test what happened."""
    with open(os.path.join(STATE, "log"), "a") as file:
        file.write(what + "\n")


def disasters(phase: str) -> None:
    """Ends, hangs or fills the memory, where a fault says so."""
    if fault(f"{phase}-crash"):
        print("about to die", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
    if fault(f"{phase}-hang"):
        if os.fork() == 0:
            time.sleep(600)
        time.sleep(600)
    if fault(f"{phase}-memory"):
        hog = [bytearray(os.urandom(1 << 20)) for _ in range(4000)]
        time.sleep(len(hog))
    if fault(f"{phase}-exit"):
        os._exit(0)


def hold(error: Any) -> None:
    """Reserves the visible cores for the life of this process; by default all of them."""
    cores = device()["cores"] // int(os.environ.get("NEURON_LOGICAL_NC_CONFIG", "2"))
    if cores == 0:
        raise error("NRT_INIT: no neuron device found")
    named = os.environ.get(CORES)
    if named is None or (named == "65535" and fault("never-hidden")):
        most = int(os.environ.get("NEURON_RT_NUM_CORES", "0")) or cores  # 0 stands for all
        wanted = list(range(most))
    else:
        wanted = [int(each) for each in named.split(",")]
    for core in wanted:
        if core >= cores:
            raise error(f"NRT_INIT: there is no core {core}")
        file = open(os.path.join(STATE, f"held-{core}"), "w")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise error(f"NRT_RESOURCE(4): core {core} is held by another process") from None
        _held.append(file)
    note("runs on " + ",".join(str(core) for core in wanted))


def generation() -> int:
    """The target that the environment names."""
    name = os.environ.get("NEURON_PLATFORM_TARGET_OVERRIDE", "trn3")
    if name not in TARGETS:
        raise ValueError(f"unknown platform target {name}")
    return TARGETS[name]


def run_kernel(function: Any, arrays: list[Any], keywords: dict[str, Any]) -> tuple[list[Any], int]:
    """Returns the outputs, as a list, and the number of instructions."""
    global count
    count = 0
    returned = function(*arrays, **keywords)
    outputs = list(returned) if isinstance(returned, (tuple, list)) else [returned]
    return outputs, count


def source_of(function: Any) -> dict[str, Any]:
    """The files of a kernel, so that a NEFF can be run without them."""
    main = function.__code__.co_filename
    folder = os.path.dirname(main)
    files = {}
    for name in os.listdir(folder):
        if name.endswith(".py"):
            with open(os.path.join(folder, name)) as file:
                files[name] = file.read()
    return {"files": files, "main": os.path.basename(main), "entry": function.__name__}


def write_neff(path: str, function: Any, bound: dict[str, Any], lnc: int) -> list[Any]:
    """Writes a NEFF of a call; returns its outputs."""
    tensors = {name: v for name, v in bound.items() if isinstance(v, np.ndarray)}
    config = {name: v for name, v in bound.items() if not isinstance(v, np.ndarray)}
    outputs, instructions = run_kernel(function, [], bound)
    shapes = [list(array.shape) for array in tensors.values()]
    note(f"compiles {json.dumps(config, sort_keys=True)} of {shapes}")
    neff = {
        **source_of(function),
        "config": config,
        "inputs": [[n, list(a.shape), a.dtype.name] for n, a in tensors.items()],
        "outputs": [[list(o.shape), o.dtype.name] for o in outputs],
        "generation": generation(),
        "lnc": lnc,
        "us": 10.0 + instructions,
    }
    with open(path, "w") as file:
        text = json.dumps(neff)
        file.write(text[: len(text) // 2] if fault("torn") else text)
    disasters("neff")
    return outputs


def needs_library(error: Any) -> None:
    """Refuses to be where the runtime's library is not found."""
    if "/neuron/lib" not in os.environ.get("LD_LIBRARY_PATH", ""):
        raise error("libnrt.so.1: cannot open shared object file: No such file or directory")


def load_neff(path: str) -> dict[str, Any]:
    with open(path) as file:
        return dict(json.load(file))


def loaded_kernel(neff: dict[str, Any]) -> Any:
    """The function of a NEFF, with `nki` that computes in numpy."""
    import fake_isa  # type: ignore[import-not-found]
    import fake_language  # type: ignore[import-not-found]

    package = types.ModuleType("nki")
    vars(package).update(jit=lambda function: function, isa=fake_isa, language=fake_language)
    sys.modules.update({"nki": package, "nki.isa": fake_isa, "nki.language": fake_language})
    xla = types.ModuleType("neuronxcc")
    vars(xla).update(nki=package)
    sys.modules.update({"neuronxcc": xla, "neuronxcc.nki": package})
    sys.modules.update({"neuronxcc.nki.isa": fake_isa, "neuronxcc.nki.language": fake_language})
    with tempfile.TemporaryDirectory() as folder:
        for name, text in neff["files"].items():
            with open(os.path.join(folder, name), "w") as file:
                file.write(text)
        sys.path.insert(0, folder)
        spec = importlib.util.spec_from_file_location("_run", os.path.join(folder, neff["main"]))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.path.remove(folder)
    return getattr(module, neff["entry"])


def run_neff(neff: dict[str, Any], arrays: dict[str, Any]) -> list[Any]:
    outputs, _ = run_kernel(loaded_kernel(neff), [], {**arrays, **neff["config"]})
    return list(outputs)
