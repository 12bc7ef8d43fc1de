from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import replace
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest

from benchmarks import fidelity
from benchmarks.fidelity import Result, Row
from tuner.backends import Candidate, Problem, evaluate, make_backend, simulator
from tuner.backends.checking import random_values
from tuner.kernel import read_kernel
from tuner.runtime.errors import TunerError
from tuner.runtime.rules import Config
from tuner.space import Argument, parse_argument

ROWS = fidelity.read_rows()
SCORED = {
    "aws_trn1": 4,
    "aws_trn2": 4,
    "psum": 7,
    "nkibench_matmul": 3,
    "nkibench_elementwise": 3,
    "vector_add_trn2": 6,
    "vector_add_trn1": 6,
    "scoreboard": 10,
}
POLICIES = {"beta1:2.20", "beta1:2025", "nki:guide", "nki:2026", "nki:as-written"}
MATMUL = "lhsT=bfloat16[512,256] rhs=bfloat16[512,1024]"
KERNELS = [
    ("matmul_ladder.py:tiled", MATMUL, {}),
    ("matmul_ladder.py:hoist_load", MATMUL, {}),
    ("matmul_ladder.py:block_free", MATMUL, {}),
    (
        "matmul_ladder.py:fully_optimized",
        "lhsT=float32[512,512] rhs=float32[512,1024]",
        {"tiles_m": 2, "tiles_n": 1, "tiles_k": 2},
    ),
    ("psum_pipeline.py:single_bank", MATMUL, {}),
    ("psum_pipeline.py:rotate_2bank", MATMUL, {}),
    ("psum_pipeline.py:reorder_mkn", MATMUL, {}),
    ("psum_pipeline.py:skewed", "lhsT=bfloat16[256,384] rhs=bfloat16[256,512]", {}),
    ("psum_pipeline.py:ladder_16", MATMUL, {}),
    ("nkibench.py:transpose_matmul", "lhsT=float32[128,2,1152] rhs=float32[128,2,1728]", {}),
    ("nkibench.py:bmm", "lhs=float32[2,256,64] rhs=float32[2,64,1024]", {}),
    (
        "nkibench.py:matmul_add_rmsnorm",
        "x=float32[256,256] w=float32[256,1024] z=float32[256,1024] g=float32[1,1024]",
        {},
    ),
    ("nkibench.py:silu", "x=float32[128,2,2048]", {}),
    (
        "nkibench.py:adamw",
        "theta=float32[192,1024] g=float32[192,1024] m=float32[192,1024] v=float32[192,1024]",
        {},
    ),
    ("nkibench.py:rope", "x=float32[128,1024] cos=float32[64,1024] sin=float32[64,1024]", {}),
    ("vector_add.py:tiled", "a=float32[96] b=float32[96]", {"rows": 32}),
    ("vector_add.py:stream", "a=float32[2560] b=float32[2560]", {"columns": 10}),
]


def row(**changes: Any) -> Row:
    return replace(ROWS[0], **changes)


def result(measured_us: float, predicted_us: float | None, **changes: Any) -> Result:
    return Result(row(measured_us=measured_us, **changes), predicted_us)


def check(kernel: str, arguments: str, params: dict[str, Any], device: str) -> None:
    """Runs a kernel on random numbers against its reference."""
    file, _, entry = kernel.partition(":")
    path = fidelity.FOLDER / file
    own = f"def {entry}_reference(" in path.read_text(encoding="utf-8")
    reference = f"{entry}_reference" if own else "matmul_reference"
    tensors = tuple(parse_argument(text) for text in arguments.split())
    source = read_kernel(path, entry, reference)
    backend = make_backend(Problem(source, tensors, device, reference=reference))
    found = evaluate(backend, Candidate(0, params, verify_with=tensors, timed=False))
    assert (found.verified, found.reason) == (True, "")


@pytest.fixture
def second_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random numbers whose argument `v` is not negative: it stands for squares."""
    plain = random_values

    def values(arguments: tuple[Argument, ...], seed: int = 0) -> dict[str, Any]:
        return {k: np.abs(v) if k == "v" else v for k, v in plain(arguments, seed).items()}

    monkeypatch.setattr(simulator, "random_values", values)


@pytest.mark.usefixtures("second_moments")
@pytest.mark.parametrize("device", ["trn1", "trn2"])
@pytest.mark.parametrize(("kernel", "arguments", "params"), KERNELS, ids=[k for k, _, _ in KERNELS])
def test_kernels_are_right(
    kernel: str, arguments: str, params: dict[str, Any], device: str
) -> None:
    check(kernel, arguments, params, device)


def test_every_kernel_of_the_table_is_checked() -> None:
    assert {row.kernel for row in ROWS if row.scored} == {
        *(kernel for kernel, _, _ in KERNELS),
        "scoreboard.py:meta_gemm",
    }


@pytest.mark.slow
@pytest.mark.parametrize("counts", ["per_block", "blocks"])
@pytest.mark.parametrize("order", ["".join(axes) for axes in permutations("MNK")])
def test_scoreboard_template_is_right(order: str, counts: str) -> None:
    tiles = {"tiles_m": 2, "tiles_n": 1, "tiles_k": 2, "counts": counts, "loop_order": order}
    for lhs, rhs in product(range(3), range(3)):
        check(
            "scoreboard.py:meta_gemm",
            "lhsT=float32[512,512] rhs=float32[512,1024]",
            {**tiles, "lhs_position": lhs, "rhs_position": rhs},
            "trn2",
        )


def test_scored_rows() -> None:
    assert Counter(row.ladder for row in ROWS if row.scored) == SCORED
    assert len({row.id for row in ROWS}) == len(ROWS) == 63


def test_table_is_well_formed() -> None:
    text = (fidelity.FOLDER / "published.csv").read_text(encoding="ascii")
    assert {len(line) for line in csv.reader(text.splitlines())} == {15}
    for row in ROWS:
        assert row.quality in ("A", "A-", "B")
        assert row.device in ("trn1", "trn2", "trn3")
        assert row.source
        assert row.note
        assert row.scored == bool(row.kernel)
        if row.scored:
            assert row.measured_us is not None
            assert row.measured_us > row.start_us >= 0
            assert row.policy in POLICIES


def test_policy_follows_from_device_and_sdk() -> None:
    policies: dict[tuple[str, str], set[str]] = {}
    for row in ROWS:
        policies.setdefault((row.device, row.sdk), set()).add(row.policy)
    assert all(len(found) == 1 for found in policies.values())


def test_start_follows_from_device_and_metric() -> None:
    starts: dict[tuple[str, str], set[float]] = {}
    for row in ROWS:
        starts.setdefault((row.ladder, row.device), set()).add(row.start_us)
    assert all(len(found) == 1 for found in starts.values())


def test_parameters_with_alternatives() -> None:
    one, two = fidelity._configs("order=MNK position=0|1")
    assert one == {"order": "MNK", "position": 0}
    assert two == {"order": "MNK", "position": 1}
    assert fidelity._configs("") == ({},)


def test_mape_and_worst() -> None:
    found = [result(100, 110), result(200, 190), result(50, None)]
    assert fidelity.mape(found) == pytest.approx(7.5)
    assert fidelity.worst(found) == pytest.approx(10)
    assert fidelity.mape([]) is None
    assert fidelity.worst([result(50, None)]) is None


def test_tau_skips_ties_and_what_is_missing() -> None:
    found = [result(100, 1), result(100.9, 0.5), result(200, 3), result(300, 2), result(400, None)]
    signs = [sign for _, _, sign in fidelity.pairs(found)]
    assert signs == [1, 1, 1, 1, -1]
    assert fidelity.kendall_tau(found) == pytest.approx(0.6)
    assert fidelity.wrong_pairs(found) == 1
    assert fidelity.kendall_tau([result(100, 1), result(100.5, 2)]) is None


def test_equal_predictions_have_no_order() -> None:
    found = [result(100, 5), result(200, 5)]
    assert fidelity.kendall_tau(found) == 0
    assert fidelity.wrong_pairs(found) == 1


def test_bars() -> None:
    rows = [row for row in ROWS if row.scored]
    exact = fidelity.bars([Result(row, row.measured_us) for row in rows])
    assert len(exact) == 10
    assert all(bar.met for bar in exact)
    assert {bar.value for bar in exact} == {0}
    off = {bar.name: bar for bar in fidelity.bars([_scaled(row, 1.1) for row in rows])}
    assert not off["matmul rows of quality A and A-: MAPE %"].met
    assert off["matmul rows of quality A and A-: worst row %"].met
    assert off["psum: pairs in the wrong order"].met
    assert not off["vector_add_trn2: MAPE %"].met
    assert off["scoreboard: MAPE %"].met


def _scaled(row: Row, factor: float) -> Result:
    assert row.measured_us is not None
    return Result(row, row.measured_us * factor)


def test_a_missing_prediction_misses_its_bars() -> None:
    rows = [row for row in ROWS if row.scored and row.ladder == "psum"]
    found = [Result(row, row.measured_us) for row in rows[1:]] + [Result(rows[0], reason="no")]
    bar = next(bar for bar in fidelity.bars(found) if bar.name.startswith("psum"))
    assert (bar.value, bar.met) == (None, False)


def test_prediction_is_the_fastest_config_and_the_start() -> None:
    add = next(row for row in ROWS if row.id == "cs149_trn2_stream_F200_n25600")
    add = replace(add, policy="nki", start_us=0.0)
    slow: Config = {"columns": 50}
    fast: Config = {"columns": 200}
    alone = fidelity.predict_us(replace(add, configs=(fast,)))
    assert 0 < alone < fidelity.predict_us(replace(add, configs=(slow,)))
    both = replace(add, configs=(slow, fast), start_us=100.0)
    assert fidelity.predict_us(both) == pytest.approx(alone + 100)


def test_what_cannot_be_simulated_keeps_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    add = next(row for row in ROWS if row.id == "cs149_trn2_stream_F200_n25600")
    wrong = replace(add, policy="nki", configs=({"columns": 7},))
    with pytest.raises(TunerError, match="no multiple of 7"):
        fidelity.predict_us(wrong)
    (found,) = fidelity.predict([wrong])
    assert found.predicted_us is None
    assert "no multiple of 7" in found.reason
    assert add.id in capsys.readouterr().err


def test_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fidelity, "predict_us", lambda row: row.measured_us)
    monkeypatch.setattr("sys.argv", ["fidelity", "--json"])
    fidelity.main()
    said = json.loads(capsys.readouterr().out)
    assert len(said["rows"]) == sum(SCORED.values())
    keys = {"id", "ladder", "quality", "device", "measured_us", "predicted_us"}
    assert all(set(line) == keys for line in said["rows"])
    assert all(bar["met"] for bar in said["bars"])


def test_tables(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fidelity, "predict_us", lambda row: row.measured_us)
    monkeypatch.setattr("sys.argv", ["fidelity", "--only", "psum"])
    fidelity.main()
    said = capsys.readouterr().out
    assert "nkiautotune_ladder_16" in said
    assert "aws_trn1" not in said
    assert "missed" not in said


@pytest.mark.slow
def test_published_times_are_met() -> None:
    results = fidelity.predict([row for row in ROWS if row.scored])
    assert [bar for bar in fidelity.bars(results) if not bar.met] == []
