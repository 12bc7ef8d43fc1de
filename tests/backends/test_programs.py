"""Kernels that two cores run together, and what checks find besides wrong numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tuner.backends import Candidate, Measurement, Problem, Status, evaluate, load_backend
from tuner.backends.simulator import SimulatorBackend
from tuner.kernel import read_kernel
from tuner.runtime.errors import TunerError
from tuner.space import Argument

KERNEL = """
import nki
import nki.isa as nisa
import nki.language as nl

@nki.jit
def kernel(x, fault="none", longer=0):
    out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
    rows = x.shape[0] // nl.num_programs()
    first = nl.program_id() * rows
    if fault == "second" and nl.program_id() == 1:
        first = 0
    for top in range(first, first + rows, 128):
        tile = nl.ndarray((128, x.shape[1]), x.dtype)
        nisa.dma_copy(tile, x[top : top + 128])
        for _ in range(longer if nl.program_id() == 1 else 0):
            nisa.activation(tile, nl.copy, tile)
        nisa.tensor_tensor(tile, tile, tile, nl.add)
        nisa.dma_copy(out[top : top + 128], tile)
    if fault == "reads":
        spare = nl.ndarray((8, 8), nl.float32)
        nisa.tensor_copy(tile[0:8, 0:8], spare)
    return out
MARK
def reference(x):
    return x + x
"""
SHAPE = (2048, 2048)


def problem(folder: Path, mark: str = "", **options: Any) -> Problem:
    path = folder / "kernel.py"
    path.write_text(KERNEL.replace("MARK", mark))
    device = options.pop("device", "trn2")
    x = Argument("x", SHAPE, "float32")
    return Problem(
        read_kernel(path, "kernel"), (x,), device, reference="reference", options=options
    )


def result(problem: Problem, verify: bool = False, **config: Any) -> Measurement:
    check = (Argument("x", (512, 64), "float32"),) if verify else None
    return evaluate(load_backend(problem), Candidate(0, config, check))


def test_two_cores_take_about_half_of_one(tmp_path: Path) -> None:
    one, two = result(problem(tmp_path)), result(problem(tmp_path, programs=2))
    assert one.latency_us is not None
    assert two.latency_us is not None
    launch_us = one.figures["launch_us"]
    assert two.latency_us - launch_us == pytest.approx((one.latency_us - launch_us) / 2, rel=0.1)
    for name in ("instructions", "hbm_read_bytes", "hbm_written_bytes", "output_bytes"):
        assert one.figures[name] == two.figures[name]
    assert (one.figures["programs"], two.figures["programs"]) == (1, 2)


def test_the_slower_program_is_the_launch(tmp_path: Path) -> None:
    even, odd = (result(problem(tmp_path, programs=2), longer=n) for n in (0, 20))
    assert even.latency_us is not None
    assert odd.latency_us is not None
    assert odd.latency_us > 1.5 * even.latency_us
    assert odd.figures["busy_us"]["ScalarE"] > 0
    assert odd.figures["instructions"] == even.figures["instructions"] + 8 * 20


def test_both_cores_are_busy(tmp_path: Path) -> None:
    alone = result(problem(tmp_path, programs=2)).latency_us
    named = result(problem(tmp_path, programs=2, cores_busy=2)).latency_us
    crowded = result(problem(tmp_path, programs=2, cores_busy=8)).latency_us
    assert alone == named
    assert crowded is not None
    assert alone is not None
    assert crowded > alone
    choices: list[dict[str, Any]] = [{}, {"programs": 2}, {"programs": 1}]
    prints = [load_backend(problem(tmp_path, **options)).fingerprint() for options in choices]
    assert [p["programs"] for p in prints] == [None, 2, 1]
    assert [p["cores_busy"] for p in prints] == [1, 2, 1]


def test_a_bound_is_of_the_slower_program(tmp_path: Path) -> None:
    backend = load_backend(problem(tmp_path, programs=2))
    even = evaluate(backend, Candidate(0, {}, limit_us=1.0)).figures["bound_us"]
    odd = evaluate(backend, Candidate(0, {"longer": 40}, limit_us=1.0)).figures["bound_us"]
    assert odd > even


def test_a_kernel_may_be_marked_for_two_cores(tmp_path: Path) -> None:
    asked = result(problem(tmp_path, programs=2))
    marked = result(problem(tmp_path, mark="kernel = kernel[2]"))
    assert marked.latency_us == asked.latency_us
    single = result(problem(tmp_path, mark="kernel = kernel[2]", programs=1))
    assert single.figures["programs"] == 1


def test_both_programs_are_checked(tmp_path: Path) -> None:
    right = result(problem(tmp_path, programs=2), verify=True)
    assert (right.status, right.verified) == (Status.CORRECT, True)
    wrong = result(problem(tmp_path, programs=2), verify=True, fault="second")
    assert wrong.status == Status.CORRECTNESS
    assert "output 0[256, 0] is nan" in wrong.reason
    assert result(problem(tmp_path), verify=True, fault="second").verified


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"programs": 3}, "programs=3: .*1 or 2 cores"),
        ({"programs": 2, "device": "trn1"}, "trn1 has one core"),
    ],
)
def test_launches_that_no_device_has(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(TunerError, match=message):
        SimulatorBackend(problem(tmp_path, **options))


def test_hazards_of_the_last_check_are_kept(tmp_path: Path) -> None:
    backend = SimulatorBackend(problem(tmp_path))
    small = (Argument("x", (128, 64), "float32"),)
    assert backend.verify(Candidate(0, {"fault": "reads"}, small)) is None
    (hazard,) = backend.hazards
    line = KERNEL[: KERNEL.index("nisa.tensor_copy")].count("\n") + 1
    assert hazard.line == f"kernel.py:{line}"
    assert "never written" in hazard.message
    assert backend.verify(Candidate(0, {}, small)) is None
    assert not backend.hazards
