from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuner.backends import child_tools
from tuner.backends.neuron import backend
from tuner.backends.neuron.machine import environment
from tuner.backends.neuron.probe import Package, Probed
from tuner.backends.neuron.settings import TIMINGS, Settings
from tuner.backends.neuron.tools import check_device, choose_tool, usable_nki
from tuner.runtime.errors import TunerError


def package(name: str, version: str, problem: str = "") -> Package:
    return Package(name, version, f"/{name}/python", problem)


EVERYTHING = Probed(
    nki=package("nki", "0.6.0"),
    neuronx_cc=package("neuronx-cc", "2.27.5334.0"),
    nrtpy=package("nrtpy", "2.34.10"),
    spike=package("spike", "0.1.0"),
    beta1=package("neuronx-cc", "2.23.6484.0"),
    explorer="/opt/aws/neuron/bin/neuron-explorer",
    cores=8,
    family="trn2",
)


def test_the_best_that_works_is_chosen() -> None:
    left: Any = EVERYTHING
    chosen = []
    for name in ("nrtpy", "spike", "explorer", "beta1"):
        tool = choose_tool(left, Settings.of({}))
        chosen.append((tool.name, tool.program, tool.mode))
        left = replace(left, **{name: None})
    assert chosen == [
        ("nrtpy", "/nrtpy/python", "device"),
        ("spike", "/spike/python", "device"),
        ("explorer", "/opt/aws/neuron/bin/neuron-explorer", "profile"),
        ("beta1", "/neuronx-cc/python", "benchmark"),
    ]
    with pytest.raises(TunerError) as raised:
        choose_tool(left, Settings.of({}))
    assert str(raised.value) == (
        "nothing here can time kernels: nrtpy is not installed; spike is not installed; "
        "neuron-explorer is not installed; beta1 is not installed; `nki-tuner doctor` says what "
        "there is"
    )


def test_one_that_cannot_be_imported_is_passed_over() -> None:
    broken = replace(EVERYTHING, nrtpy=package("nrtpy", "2.34.10", "no libnrt"))
    assert choose_tool(broken, Settings.of({})).name == "spike"
    with pytest.raises(TunerError, match=r"nrtpy 2\.34\.10 of /nrtpy/python: no libnrt"):
        choose_tool(broken, Settings.of({"timing": "nrtpy"}))


@pytest.mark.parametrize("timing", TIMINGS)
def test_the_one_that_is_named_is_chosen(timing: str) -> None:
    tool = choose_tool(EVERYTHING, Settings.of({"timing": timing}))
    assert timing in ("auto", tool.name, f"{tool.name}-host")
    assert (tool.metric == "host_time_us") == timing.endswith("-host")


def test_a_device_must_be_that_of_the_machine() -> None:
    nrtpy = choose_tool(EVERYTHING, Settings.of({}))
    check_device(EVERYTHING, nrtpy, "trn2")
    check_device(replace(EVERYTHING, family=None), nrtpy, "trn3")
    with pytest.raises(TunerError, match=r"^device trn3: this machine is trn2: name that device"):
        check_device(EVERYTHING, nrtpy, "trn3")
    beta1 = choose_tool(EVERYTHING, Settings.of({"timing": "beta1"}))
    check_device(replace(EVERYTHING, family="inf2"), beta1, "trn1")


@pytest.mark.parametrize(
    ("version", "refused"), [("0.2.0", False), ("0.3.0", True), ("0.6.0", True)]
)
def test_trn1_needs_an_old_nki(version: str, refused: bool) -> None:
    probed = replace(EVERYTHING, family="inf2", nki=package("nki", version))
    tool = choose_tool(probed, Settings.of({}))
    if not refused:
        check_device(probed, tool, "trn1")
        return
    with pytest.raises(TunerError, match="does not support trn1 and inf2 on hardware"):
        check_device(probed, tool, "trn1")


def test_a_compiler_that_is_of_no_use() -> None:
    assert usable_nki(EVERYTHING).version == "0.6.0"
    with pytest.raises(TunerError, match=r"^neuronx-cc is not installed: name an interpreter"):
        usable_nki(replace(EVERYTHING, neuronx_cc=None))
    stub = replace(EVERYTHING, nki=package("nki", "0.0.1", "a placeholder"))
    with pytest.raises(TunerError, match=r"^nki 0\.0\.1 of /nki/python: a placeholder"):
        usable_nki(stub)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timing": "nrtpi"}, "unknown choice of timing 'nrtpi'; did you mean nrtpy"),
        ({"lnc": 3}, "lnc=3: expected a whole number from 1 to 2"),
        ({"iterations": 0}, "iterations=0: expected a whole number from 1 to 1000000"),
        ({"warmup": True}, "warmup=True: expected a whole number from 0"),
        ({"timeout_s": 0}, "timeout_s=0: expected a number of seconds above 0"),
    ],
)
def test_options_that_there_are_not(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TunerError, match=message):
        Settings.of(options)


def test_options_that_are_none_are_the_default() -> None:
    names = ("nki_python", "timing", "lnc", "warmup", "memory_gb", "compile_timeout_s", "versions")
    assert Settings.of(dict.fromkeys(names)) == Settings.of({})


def test_the_environment_of_a_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "NKI_SIMULATOR": "1",
        "NEURON_RT_VISIBLE_CORES": "0-3",
        "NEURON_RT_NUM_CORES": "4",
        "NKI_PRECISE_FP": "0",
        "LD_LIBRARY_PATH": "/mine",
        "PATH": "/usr/bin",
    }.items():
        monkeypatch.setenv(name, value)
    library = "/opt/aws/neuron/lib/libnrt.so.1"
    found = environment.compiling(
        Settings.of({}), "/venv/bin/python", Path("/job"), "trn2", None, library
    )
    assert "NKI_SIMULATOR" not in found
    assert "NEURON_RT_VISIBLE_CORES" not in found
    assert "NEURON_RT_NUM_CORES" not in found
    assert found["NKI_ARTIFACTS_DIR"] == "/job"
    assert found["NEURON_PLATFORM_TARGET_OVERRIDE"] == "trn2"
    assert found["NEURON_LOGICAL_NC_CONFIG"] == "1"
    assert found["NKI_PRECISE_FP"] == "0"
    assert found["LD_LIBRARY_PATH"] == "/opt/aws/neuron/lib:/mine"
    assert found["PATH"] == "/venv/bin:/usr/bin:/opt/aws/neuron/bin"
    runs = environment.compiling(Settings.of({"lnc": 2}), "python", Path("/job"), "trn2", "3", None)
    assert runs["NEURON_RT_VISIBLE_CORES"] == "3"
    assert runs["NEURON_LOGICAL_NC_CONFIG"] == "2"


def test_scripts_need_no_new_python() -> None:
    neuron = Path(backend.__file__).parent
    scripts = [Path(child_tools.__file__), *neuron.parent.rglob("*_child.py")]
    assert {"oracle_child.py", "probe_child.py"} < {script.name for script in scripts}
    for script in scripts:
        ast.parse(script.read_text(), feature_version=(3, 8))


def test_an_old_sdk_is_left_with_beta1() -> None:
    old = replace(EVERYTHING, nki=None, nrtpy=None, spike=None)
    assert choose_tool(old, Settings.of({})).name == "beta1"
    with pytest.raises(TunerError, match="nothing here can time kernels: nki is not installed"):
        choose_tool(old, Settings.of({"timing": "explorer"}))


def test_a_runtime_without_device_times_is_used_on_request_only() -> None:
    old = replace(EVERYTHING, nrtpy=package("nrtpy", "2.33.10"), spike=None)
    assert choose_tool(old, Settings.of({})).name == "explorer"
    assert choose_tool(old, Settings.of({"timing": "nrtpy-host"})).mode == "host"
    with pytest.raises(TunerError, match=r"2\.34 is the first \(--timing nrtpy-host"):
        choose_tool(old, Settings.of({"timing": "nrtpy"}))


def test_scripts_without_ml_dtypes_take_only_bytes_for_other_dtypes() -> None:
    code = (
        "import sys; sys.modules['ml_dtypes'] = None; import child_tools\n"
        "print(child_tools.dtype_named('bfloat16', exact=False).name)\n"
        "child_tools.dtype_named('bfloat16')"
    )
    folder = Path(child_tools.__file__).parent
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert ran.stdout == "uint16\n"
    where = f"in the environment of {sys.executable}"
    assert ran.stderr.endswith(f"ImportError: bfloat16 needs the package ml_dtypes {where}\n")
