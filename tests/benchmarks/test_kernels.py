from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tuner
from benchmarks.kernels.__main__ import main
from benchmarks.kernels.comparing import Found, Plain, Row, row_of
from benchmarks.kernels.judging import Bar, bars, claims, summaries
from benchmarks.kernels.report import as_data, as_markdown, sections
from benchmarks.kernels.runs import Run, in_turn, published, textbook
from benchmarks.kernels.tuned import Searching, Tuned, find_tuned, from_table, shipped
from benchmarks.kernels.workloads import MODELS, PAPER, Chain, paper_chain
from tuner import bundled

SMALL = {"M": 128, "K": 128, "N": 512}


def a_run(latency_us: float | None, **changes: Any) -> Run:
    made = Run("nki", 50.0, latency_us, hbm_read_bytes=100, dma_us=10.0)
    return replace(made, **changes)


def a_row(M: int, product: Run, untuned_us: float = 90.0, tuned_us: float = 80.0) -> Row:
    fused = Tuned(a_run(untuned_us), a_run(tuned_us), {}, "search")
    plain = Tuned(a_run(100.0), a_run(100.0), {}, "search")
    chain = replace(paper_chain(M), name=PAPER)
    return Row("trn1", chain, product, plain, a_run(85.0), a_run(500.0), fused)


def found(*rows: Row, recorded: tuple[float, ...] = (), plain: tuple[Plain, ...] = ()) -> Found:
    return Found("trn1", rows, plain, recorded, 1.0)


def bar(name: str, each: Found) -> Bar:
    return next(bar for bar in bars([each]) if name in bar.name and bar.kind == "bar")


@pytest.fixture(scope="module")
def small_row(tmp_path_factory: pytest.TempPathFactory) -> Row:
    searching = Searching(str(tmp_path_factory.mktemp("searches")), trials=2, tables=False)
    return row_of("trn1", Chain(PAPER, 256, 512, 256, 2048), searching)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of shipped tables with one record on trn1."""
    settings: dict[str, Any] = {"device": "trn1", "trials": 1, "ray": "serial", "verify": "none"}
    database = str(tmp_path / "database")
    tuner.tune("matmul", SMALL, dtype="bfloat16", results=database, **settings)
    folder = tmp_path / "results"
    folder.mkdir()
    tuner.export(database, str(folder / "trn1.json"))
    real = bundled.folder
    monkeypatch.setattr(bundled, "folder", lambda n: folder if n == "results" else real(n))
    shipped.cache_clear()
    yield folder
    shipped.cache_clear()


def test_compression_alone_gives_the_ratio_of_operations() -> None:
    assert paper_chain(1024).flop_ratio == pytest.approx(4 / 3)


@pytest.mark.parametrize("chain", MODELS, ids=lambda chain: chain.name)
def test_ranks_of_layers_fill_whole_tiles(chain: Chain) -> None:
    blocks = chain.K * chain.N * 0.8 / ((chain.K + chain.N) * 128)
    assert int(blocks + 0.5) * 128 == chain.R


def test_the_baseline_is_the_default_where_it_fits() -> None:
    run = textbook("trn1", 2048, 2048, 1024)
    assert (run.policy, run.note, run.spills) == ("nki", "", False)
    assert run.hbm_written_bytes == 2048 * 1024 * 2


@pytest.mark.slow
def test_where_it_overflows_the_published_kernel_stands_for_it() -> None:
    run = textbook("trn1", 8192, 2048, 1024)
    assert (run.policy, run.note, run.spills) == ("beta1", "published kernel", False)
    assert run == published("trn1", 8192, 2048, 1024, run.roofline_us)


@pytest.mark.slow
@pytest.mark.parametrize(("device", "policy"), [("trn1", "beta1"), ("trn2", "nki:guide")])
def test_the_published_kernel_spills_with_the_compiler_of_its_time(
    device: str, policy: str
) -> None:
    run = textbook(device, 16384, 2048, 1024)
    assert (run.policy, run.spills) == (policy, True)
    assert run.hbm_written_bytes == 16384 * 1024 * 2 + run.spill_saved_bytes


def test_kernels_in_turn_add_up() -> None:
    one = a_run(3.0, sbuf_peak_bytes=5)
    both = in_turn(one, replace(one, sbuf_peak_bytes=7, policy="beta1", note="odd"), 50.0)
    assert (both.latency_us, both.hbm_bytes, both.dma_us) == (6.0, 200, 20.0)
    assert (both.sbuf_peak_bytes, both.policy, both.note) == (7, "nki + beta1", "odd")


def test_a_failure_in_turn_keeps_its_reason() -> None:
    failed = a_run(None, reason="too large")
    both = in_turn(a_run(3.0), failed, 50.0)
    assert (both.latency_us, both.reason) == (None, "too large")


@pytest.mark.slow
def test_every_way_computes_the_same_layer(small_row: Row) -> None:
    runs = dict(small_row.ways)
    assert [run.reason for run in runs.values()] == [""] * 6
    strip, unfused = runs["XUV fused, untuned"], runs["XUV unfused, AWS twice"]
    through_hbm = 256 * 256 * 2  # the intermediate, written and read
    assert unfused.hbm_written_bytes - strip.hbm_written_bytes == through_hbm
    naive = runs["XUV naive fusion"]
    assert naive.hbm_read_bytes > strip.hbm_read_bytes


@pytest.mark.slow
def test_tuned_is_never_slower_than_the_default(small_row: Row) -> None:
    for tuned in (small_row.fused, small_row.tuned_product):
        assert tuned.gain is not None
        assert tuned.gain >= 1


@pytest.mark.slow
def test_a_shipped_record_is_taken_instead_of_a_search(results: Path, tmp_path: Path) -> None:
    tuned = find_tuned("matmul", SMALL, "trn1", Searching(str(tmp_path / "none"), trials=2))
    assert tuned.source == "table, 1 trials"
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_another_workload_or_device_has_no_record(results: Path) -> None:
    assert from_table("matmul", {**SMALL, "M": 256}, "trn1") is None
    assert from_table("matmul", SMALL, "trn2") is None


@pytest.mark.slow
def test_a_stale_record_is_searched_again(results: Path, tmp_path: Path) -> None:
    path = results / "trn1.json"
    data = json.loads(path.read_text())
    data["records"][0]["fingerprint"]["kernel_hash"] = "another"
    path.write_text(json.dumps(data))
    tuned = find_tuned("matmul", SMALL, "trn1", Searching(str(tmp_path / "new"), trials=2))
    assert tuned.source == "search, 2 trials"


def test_means_leave_out_what_spills() -> None:
    every, unspilled, as_is = summaries(
        found(
            a_row(1024, a_run(100.0)),
            a_row(2048, a_run(160.0, note="published kernel")),
            a_row(4096, a_run(400.0, note="published kernel", spill_saved_bytes=1)),
        )
    )
    assert (every.rows, every.mean, every.maximum) == ((1024, 2048, 4096), 2.75, 5.0)
    assert (unspilled.rows, unspilled.mean, unspilled.maximum) == ((1024, 2048), 1.625, 2.0)
    assert (as_is.rows, as_is.mean) == ((1024,), 1.25)


@pytest.mark.parametrize(("product_us", "met"), [(108.0, True), (107.9, False)])
def test_the_mean_is_held_to_its_bar(product_us: float, met: bool) -> None:
    judged = bar("over AWS's XW, mean", found(a_row(1024, a_run(product_us))))
    assert judged.met == met


def test_a_failed_baseline_meets_no_bar() -> None:
    each = found(a_row(1024, a_run(200.0)), a_row(2048, a_run(None)))
    assert not bar("over AWS's XW, mean", each).met


@pytest.mark.parametrize(("tuned_us", "met"), [(89.9, True), (90.0, False)])
def test_as_fast_as_untuned_is_not_faster(tuned_us: float, met: bool) -> None:
    row = a_row(1024, a_run(100.0), tuned_us=tuned_us)
    assert bar("over untuned", found(row)).met == met


@pytest.mark.parametrize(("recorded", "met"), [((1.0, 1.2), True), ((1.0, 0.99), False)])
def test_records_of_tables_count_too(recorded: tuple[float, ...], met: bool) -> None:
    assert bar("over default", found(recorded=recorded)).met == met


@pytest.mark.parametrize(("latency_us", "met"), [(55.0, True), (56.0, False)])
def test_plain_matmuls_are_held_to_the_roofline(latency_us: float, met: bool) -> None:
    tuned = Tuned(a_run(60.0), a_run(latency_us), {}, "search")
    large = Plain("trn1", {"M": 2048, "K": 2048, "N": 2048}, tuned)
    small = Plain("trn1", SMALL, Tuned(a_run(600.0), a_run(500.0), {}, "search"))
    judged = bar("plain matmul", found(plain=(large, small)))
    assert (judged.met, judged.detail) == (met, "2048x2048x2048")


def test_claims_stand_beside_ours_with_their_source() -> None:
    told = claims([found(a_row(1024, a_run(100.0)))])
    assert told[0].ours == 1.25
    assert {claim.source for claim in told} == {"arXiv 2510.25977"}


@pytest.mark.slow
def test_the_report_tells_every_way_and_says_simulated(small_row: Row) -> None:
    failed = replace(small_row, product=a_run(None, reason="no memory"))
    each = found(small_row, failed)
    text = as_markdown([each])
    for name, _ in small_row.ways:
        assert name in text
    assert "(simulated)" in text
    assert "no memory" in text
    for section in sections([each]):
        assert {len(row) for row in section.rows} <= {len(section.columns)}
    data = json.loads(json.dumps(as_data([each])))
    assert data["kind"] == "simulated"
    assert data["devices"]["trn1"]["chains"][1]["speedup"] is None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["--device", "trn9"], "trn9"), (["--rows", "12,x"], "'x' is not a whole number")],
)
def test_bad_input_is_one_line(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert told in capsys.readouterr().err.splitlines()[-1]
