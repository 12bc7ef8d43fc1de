"""AWS's own `nki`, where it is installed, as the oracle for what a kernel computes.

`nki.simulate` runs a kernel in numpy: results, no time. It runs in a Python process of its own,
which may be another environment's: the package never enters this process, and what is installed is
asked of its metadata, for the public index has a placeholder of the same name.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from tuner.backends import oracle_child
from tuner.backends.base import Candidate, Mismatch, Problem
from tuner.backends.checking import compare, random_values
from tuner.backends.neuron.probe import ask, signal_name
from tuner.kernel import MODULE, KernelSource, load_kernel
from tuner.nki.record.tracing import trace
from tuner.runtime.errors import TunerError

__all__ = ["Oracle", "OracleError", "check"]

DEADLINE_S = 600.0
MAX_TAIL = 400
_PLATFORMS = {"NeuronCore-v2": "trn1", "NeuronCore-v3": "trn2", "NeuronCore-v4": "trn3"}


class OracleError(Exception):
    """The oracle could not run the kernel: it raised, crashed, or took too long."""


@dataclass(frozen=True)
class Oracle:
    """An interpreter that has AWS's `nki`.

    Attributes:
        python: The interpreter.
        deadline_s: Seconds that one kernel may take.
    """

    python: str = sys.executable
    deadline_s: float = DEADLINE_S

    def version(self) -> str:
        """Returns the version of `nki`.

        Raises:
            TunerError: It is not installed there, is the placeholder, or has no simulator.
        """
        nki = ask(self.python, "nki", "nki", "simulate")
        if nki is None:
            raise TunerError(
                f"nki is not installed for {self.python}: name an interpreter that has AWS's "
                "package, or leave the oracle out"
            )
        if nki.problem:
            raise TunerError(f"{nki}: {nki.problem}")
        return nki.version

    def outputs(
        self,
        kernel: KernelSource,
        positional: Sequence[str],
        inputs: Mapping[str, npt.NDArray[Any]],
        config: Mapping[str, Any],
        device_name: str,
    ) -> list[tuple[str, npt.NDArray[Any]]]:
        """Runs a kernel.

        Args:
            kernel: Its text and that of the files beside it.
            positional: Names of the inputs to hand over by position; the others go by keyword.
            inputs: The tensors, in the dtypes of the workload.
            config: The kernel's other keywords.
            device_name: "trn1", "trn2" or "trn3".

        Returns:
            (dtype, array) of each output; dtypes that numpy lacks come as unsigned integers.

        Raises:
            OracleError: It raised, crashed, took too long, or left no result.
        """
        with tempfile.TemporaryDirectory(prefix="nki-tuner-") as name:
            folder = Path(name)
            job = {
                "file": _write(kernel, folder / "kernel"),
                "entry": kernel.entry,
                "positional": list(positional),
                "dtypes": {name: array.dtype.name for name, array in inputs.items()},
                "config": dict(config),
            }
            np.savez(folder / "inputs.npz", **{n: _plain(a) for n, a in inputs.items()})  # type: ignore[arg-type]
            settings = {"NEURON_PLATFORM_TARGET_OVERRIDE": device_name}
            answer = self._ask(folder, job, self.deadline_s, settings)
            arrays = _arrays(folder / "outputs.npz", len(answer["dtypes"]))
        return list(zip(answer["dtypes"], arrays, strict=True))

    def _ask(
        self, folder: Path, job: dict[str, Any], deadline_s: float, settings: dict[str, str]
    ) -> dict[str, Any]:
        """Runs the child in a folder and returns its answer."""
        script = folder / "oracle_child.py"
        shutil.copyfile(oracle_child.__file__, script)  # else its neighbours could be imported
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        log = folder / "stderr.txt"
        code = _run([self.python, str(script), str(folder)], log, deadline_s, settings)
        said = " ".join(log.read_text(encoding="utf-8", errors="replace").split())
        tail = f": {'... ' * (len(said) > MAX_TAIL)}{said[-MAX_TAIL:]}" if said else ""
        if code is None:
            raise OracleError(f"no answer within {deadline_s:g} s{tail}")
        if code < 0:
            raise OracleError(f"killed by {signal_name(-code)}{tail}")
        if code > 0:
            raise OracleError(f"exit code {code}{tail}")
        try:
            return dict(json.loads((folder / "answer.json").read_text(encoding="utf-8")))
        except (OSError, ValueError):
            raise OracleError(f"ended without an answer{tail}") from None


def check(problem: Problem, candidate: Candidate, oracle: Oracle) -> Mismatch | None:
    """Compares our outputs with the oracle's on the same random numbers; None means they agree.

    The tolerance is that of the comparison with a reference: a few roundings of the output's dtype.

    Raises:
        OracleError: The oracle could not run the kernel.
        Exception: Whatever the kernel raises on our simulator.
    """
    arguments = candidate.verify_with or problem.arguments
    values = random_values(arguments)
    kernel = load_kernel(problem.kernel)
    keywords = problem.keywords(candidate.config)
    with kernel.lent():
        core = problem.core
        traced = trace(kernel.function, arguments, keywords, core, values)
        parameters = list(inspect.signature(kernel.function).parameters)
    assert traced.values is not None
    inputs = {a.name: values[a.name].astype(_dtype(a.dtype)) for a in arguments}
    leading = next((i for i, name in enumerate(parameters) if name not in inputs), len(parameters))
    theirs = oracle.outputs(
        problem.kernel, parameters[:leading], inputs, keywords, _PLATFORMS[core.core]
    )
    dtypes = [dtype for _, dtype in traced.outputs]
    expected = []
    for index, (named, array) in enumerate(theirs):
        ours = dtypes[index] if index < len(dtypes) else named
        dtype = ours if named.startswith("void") else named  # void: an array that lost its dtype
        if dtype != ours:
            return Mismatch(math.inf, 0.0, f"output {index} is {ours}, expected {dtype}")
        expected.append(array.view(_dtype(dtype)).astype(np.float64))
    given = [a.dtype for a in arguments]
    return compare(tuple(expected), traced.values, dtypes, given, problem.roundings)


def _run(command: list[str], log: Path, deadline_s: float, settings: dict[str, str]) -> int | None:
    """Returns the exit code; None when it took too long: then it is killed with its children."""
    environment = {**os.environ, **settings}
    with log.open("wb") as stderr:
        try:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise OracleError(error.strerror or str(error)) from None
        try:
            return child.wait(deadline_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)  # it is the leader of its group
                child.wait()


def _write(kernel: KernelSource, folder: Path) -> str:
    """Writes a kernel's files; returns the name of the one that has the kernel."""
    folder.mkdir()
    main = Path(kernel.file).name
    for name, _, text in kernel.modules:
        file = main if name == MODULE else f"{name}.py"
        (folder / file).write_text(text, encoding="utf-8")
    return main


def _arrays(path: Path, count: int) -> list[npt.NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as raw:
            return [raw[f"arr_{i}"] for i in range(count)]
    except (OSError, ValueError, KeyError) as error:
        raise OracleError(f"left no readable result ({error})") from None


def _dtype(name: str) -> np.dtype[Any]:
    return np.dtype(getattr(ml_dtypes, name, name))


def _plain(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Returns an array as one that numpy can store."""
    return array.view(f"u{array.dtype.itemsize}") if array.dtype.isbuiltin != 1 else array
