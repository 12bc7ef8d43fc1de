from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.backends.conformance import CONFIG, KernelConformance
from tests.backends.neuron.fake import Fake, machine
from tests.backends.small_kernel import problem as small_problem
from tuner.backends import Candidate, Problem, Repeats, Stage, Status, evaluate, load_backend
from tuner.backends.neuron import probe as probing
from tuner.backends.neuron.backend import NeuronBackend, pinned
from tuner.backends.neuron.compiling.routes import TIMED_WITH
from tuner.backends.neuron.machine import environment
from tuner.backends.neuron.settings import Settings
from tuner.runtime.errors import TunerError
from tuner.space import Argument

ONE_STAGE = (Stage(resources=TIMED_WITH),)
TWO_STAGES = (Stage("compile"), Stage("time", TIMED_WITH))


def made(kernel_file: Path, fake: Fake, **options: Any) -> Problem:
    changes = {"options": {**fake.options, **options}, "backend": "neuron"}
    return small_problem(kernel_file, **changes)


class TestNeuron(KernelConformance):
    @pytest.fixture
    def problem(self, kernel_file: Path, fake: Fake) -> Problem:
        return made(kernel_file, fake)


@pytest.mark.parametrize(
    ("dtype", "fault"),
    [("bfloat16", "void"), ("float16", ""), ("float8_e4m3", "void"), ("float8_e5m2", "")],
)
def test_numbers_of_every_dtype_are_checked(
    kernel_file: Path, fake: Fake, dtype: str, fault: str
) -> None:
    fake.faults(fault)
    tensors = (Argument("x", (128, 64), dtype),)
    backend = load_backend(made(kernel_file, fake))
    assert backend.verify(Candidate(0, {"columns": 64}, tensors)) is None
    wrong = backend.verify(Candidate(0, {"columns": 64, "fault": "element"}, tensors))
    assert wrong is not None
    assert wrong.at.startswith("output 0[32, 3] is ")


def test_figures_say_how_a_time_came_about(kernel_file: Path, fake: Fake) -> None:
    result = evaluate(load_backend(made(kernel_file, fake)), Candidate(0, CONFIG))
    figures = dict(result.figures)
    assert result.latency_us == pytest.approx(34 * 1.0025)
    assert figures.pop("durations_us")[0] == 34
    assert figures.pop("compile_s") > 0
    assert figures == {
        "metric": "device_time_us",
        "p50_us": pytest.approx(34 * (1 + 0.005 * 4 / 9)),
        "p90_us": pytest.approx(34 * (1 + 0.005 * 8 / 9)),
        "p99_us": pytest.approx(34 * 1.005),
        "min_us": pytest.approx(34),
        "max_us": pytest.approx(34 * 1.005),
        "run_spread": 0.005,
        "runs": 1,
        "iterations": 10,
        "events_per_call": 1,
        "summed": False,
        "core": 0,
        "compiled_by": "documented",
    }


def test_each_repeat_is_a_benchmark_of_its_own(kernel_file: Path, fake: Fake) -> None:
    candidate = Candidate(0, CONFIG, repeats=Repeats(most=3, least=3))
    result = evaluate(load_backend(made(kernel_file, fake)), candidate)
    assert result.figures["samples"] == 3
    assert result.figures["samples_us"] == [result.latency_us] * 3
    assert {"metric", "compiled_by", "core"} < set(result.figures)
    assert fake.log().count("benchmarks device") == 3


def test_stages_in_different_workers(
    kernel_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = machine(tmp_path / "sdk", monkeypatch, private=True)
    problem = pinned(made(kernel_file, fake))
    compiled = evaluate(load_backend(problem), Candidate(5, CONFIG, stage="compile"))
    assert (compiled.status, compiled.latency_us) == (Status.CORRECT, None)
    assert isinstance(compiled.artifact, bytes)
    fake.faults("ncc")  # it is not compiled again
    timing = Candidate(5, CONFIG, stage="time", artifact=compiled.artifact)
    timed = evaluate(load_backend(problem), timing)
    assert timed.latency_us == pytest.approx(34 * 1.0025)


@pytest.mark.slow
def test_compiling_overlaps_timing_where_it_runs_nothing(
    kernel_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, settings, faults, expected, route in (
        ("plain", {}, "", TWO_STAGES, "hidden"),
        ("runs", {}, "never-hidden", ONE_STAGE, "documented"),
        ("private", {"private": True}, "never-hidden", TWO_STAGES, "framework"),
        ("elsewhere", {"cores": 0}, "", TWO_STAGES, "documented"),
    ):
        fake = machine(tmp_path / name, monkeypatch, **settings)
        fake.faults(faults)
        backend = NeuronBackend(made(kernel_file, fake))
        assert (backend.route.name, backend.capabilities().stages) == (route, expected)


def test_the_route_is_tried_once_a_machine(
    kernel_file: Path, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for _ in range(2):
        assert NeuronBackend(made(kernel_file, fake)).route.name == "hidden"
    assert len([line for line in fake.log() if line.startswith("compiles")]) == 1


def test_the_fingerprint(kernel_file: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = made(kernel_file, fake)
    monkeypatch.setenv("NKI_PRECISE_FP", "0")
    assert NeuronBackend(problem).fingerprint() == {
        "backend": "neuron",
        "device": "trn2",
        "target": "trn2",
        "lnc": 1,
        "exclusive_hbm": False,
        "versions": {"nki": "0.6.0", "neuronx-cc": "2.27.5334.0", "nrtpy": "2.34.10"},
        "compiled_by": "documented",
        "timing": "nrtpy",
        "metric": "device_time_us",
        "warmup": 2,
        "iterations": 10,
        "variables": {"NKI_PRECISE_FP": "0"},
        "kernel_hash": problem.kernel.kernel_hash,
    }


def test_a_machine_with_other_versions_is_refused(
    kernel_file: Path, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = pinned(made(kernel_file, fake))
    load_backend(problem)
    other = machine(tmp_path / "other", monkeypatch, nki="0.5.0")
    options = {**problem.options, **other.options}
    with pytest.raises(TunerError, match=r"this machine has .*nki 0\.5\.0.*the driver .*0\.6\.0"):
        load_backend(Problem(**{**vars(problem), "options": options}))


@pytest.mark.slow
def test_a_machine_without_cores(
    kernel_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = machine(tmp_path / "sdk", monkeypatch, cores=0)
    with pytest.raises(TunerError, match=r"there is no NeuronCore on this machine.*: name a Ray"):
        pinned(made(kernel_file, fake))
    problem = pinned(made(kernel_file, fake), here=False)
    compiled = evaluate(load_backend(problem), Candidate(0, CONFIG, stage="compile"))
    assert compiled.status == Status.CORRECT
    result = evaluate(load_backend(problem), Candidate(0, CONFIG))
    assert (result.status, result.reason) == (
        Status.RUNTIME,
        "there is no NeuronCore on this machine",
    )
    fake.device(2)  # a machine of the cluster: what the driver only compiles, it does not run
    probing._probe.cache_clear()
    backend = NeuronBackend(problem)
    assert (backend.route.name, backend.capabilities().stages) == ("hidden", TWO_STAGES)
    assert backend.fingerprint()["compiled_by"] == "documented"


def test_two_physical_cores(kernel_file: Path, fake: Fake) -> None:
    result = evaluate(load_backend(made(kernel_file, fake, lnc=2)), Candidate(0, CONFIG))
    assert result.latency_us == pytest.approx(1.9 * 34 * 1.0025)  # the events of both cores
    figures = result.figures
    assert (figures["events_per_call"], figures["summed"], figures["iterations"]) == (2, True, 10)


def test_the_parent_imports_nothing_of_aws(
    kernel_file: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("nki", "nrtpy"):  # where it could
        monkeypatch.syspath_prepend(str(fake.folder / name / "site"))
    problem = pinned(made(kernel_file, fake))
    result = evaluate(load_backend(problem), Candidate(0, CONFIG, problem.arguments))
    assert (result.status, result.verified) == (Status.CORRECT, True)
    names = {name.split(".")[0] for name in sys.modules}
    assert names & {"nki", "nrtpy", "neuronxcc", "spike", "fake_device"} == set()


def test_cores_are_counted_by_lnc(kernel_file: Path, fake: Fake) -> None:
    counts = [
        NeuronBackend(made(kernel_file, fake, lnc=lnc)).capabilities().available for lnc in (1, 2)
    ]
    assert counts == [{"neuron_cores": 2.0}, {"neuron_cores": 1.0}]
    alone = NeuronBackend(made(kernel_file, fake, exclusive_hbm=True)).capabilities()
    assert alone.available == {"neuron_cores": 1.0}  # its neighbour stays idle


def test_workers_have_the_variables_of_the_driver(
    kernel_file: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEURON_NEW_SWITCH", "1")
    monkeypatch.setenv("NKI_TUNER_SESSION", "x")  # our own
    problem = pinned(made(kernel_file, fake))
    monkeypatch.delenv("NEURON_NEW_SWITCH")
    monkeypatch.setenv("NKI_PRECISE_FP", "0")
    assert NeuronBackend(problem).fingerprint()["variables"] == {"NEURON_NEW_SWITCH": "1"}
    found = environment.running(Settings.of(problem.options), "python", "0", None)
    ours = {n: v for n, v in found.items() if n.startswith(("NEURON_", "NKI_"))}
    assert ours == {
        "NEURON_NEW_SWITCH": "1",
        "NKI_TUNER_SESSION": "x",
        "NEURON_RT_VISIBLE_CORES": "0",
        "NEURON_LOGICAL_NC_CONFIG": "1",
    }


def test_nobody_can_check_every_config_without_outputs(
    kernel_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = machine(tmp_path / "sdk", monkeypatch, nrtpy=None, explorer=True)
    problem = made(kernel_file, fake)
    with pytest.raises(TunerError, match=r"^--verify all: .* the winner stays unverified$"):
        pinned(problem, check_all=True)
    assert pinned(problem).options["versions"]["explorer"] == "neuron-explorer"


def test_float8_is_told_as_int8(
    kernel_file: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = NeuronBackend(made(kernel_file, fake))
    tensors = (Argument("x", (128, 64), "float8_e4m3"),)
    config = {"columns": 64}
    assert backend._output_dtypes(tensors, config, ["int8"]) == ["float8_e4m3"]

    def fails(*_: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr("tuner.backends.neuron.backend.trace", fails)
    assert backend._output_dtypes(tensors, config, ["int8"]) == ["float8_e4m3"]
    whole = (Argument("x", (128, 64), "int8"),)
    assert backend._output_dtypes(whole, config, ["int8", "void16"]) == ["int8", "int8"]


def test_an_artifact_is_plain_data(kernel_file: Path, fake: Fake) -> None:
    backend = load_backend(made(kernel_file, fake))
    artifact = backend.compile(Candidate(0, CONFIG))
    assert b'"generation"' in artifact
    for damaged in (b"", artifact[:-1], b"\x80\x04N.", json.dumps({"neff": ""}).encode()):
        with pytest.raises(TunerError, match="not a compiled kernel"):
            backend.measure(damaged)
