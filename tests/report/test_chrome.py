"""Traces follow the rules of the format, whatever the program, and add up."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.neuroncore.programs import Builder, programs, small
from tests.neuroncore.test_reference import planned, policies
from tests.report.runs import bundled, pipeline, run_of
from tuner.neuroncore import Policy
from tuner.neuroncore.program import Program
from tuner.neuroncore.simulation import ENGINES
from tuner.neuroncore.stalls import FINISHED, TABLE
from tuner.nki.hashing import model_hash
from tuner.report import trace_events, write_trace
from tuner.runtime.errors import TunerError

Event = dict[str, Any]
NS = 0.001


def by_row(events: Iterable[Event]) -> dict[str, list[Event]]:
    """The slices of every row, by the row's name."""
    listed = list(events)
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in listed if e["name"] == "thread_name"}
    rows: dict[str, list[Event]] = {name: [] for name in names.values()}
    for event in listed:
        if event["ph"] == "X":
            rows[names[event["pid"], event["tid"]]].append(event)
    return rows


def check(events: list[Event]) -> None:
    for event in events:
        assert event["ph"] in {"X", "M", "C"}
        assert isinstance(event["pid"], int)
        if event["ph"] != "M":
            assert event["ts"] >= 0
        if event["ph"] == "X":
            assert event["dur"] >= 0
            assert event["name"]
        if event["ph"] == "C":
            assert all(value >= 0 for value in event["args"].values())
    assert json.loads(json.dumps(events)) == events
    for slices in by_row(events).values():
        ends = 0
        for event in sorted(slices, key=lambda e: (e["ts"], e["dur"])):
            begin = round(event["ts"] / NS)
            assert begin >= ends
            ends = begin + round(event["dur"] / NS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["trn1", "trn2"])
@settings(max_examples=50, deadline=None)
@given(program=programs(), rules=policies(), limit=st.integers(1, 40))
def test_the_rules_hold_for_every_program(
    name: str, program: Program, rules: Policy, limit: int
) -> None:
    core = small(name, 20480)
    if planned(program, core, rules) is None:
        return
    run = run_of(program, core, rules)
    check(list(trace_events(run)))
    check(list(trace_events(run, limit)))


def test_every_engine_and_queue_has_a_row() -> None:
    rows = by_row(trace_events(bundled()))
    queues = ["load queue 0", "load queue 1", "store queue 0"]
    streams = [*ENGINES[:4], *queues]
    banks = [f"PSUM bank {b}" for b in range(8)]
    waits = [f"{name} waits" for name in streams]
    assert sorted(rows) == sorted([*streams, *waits, *banks, "launch"])
    for name in ("TensorE", "TensorE waits", "VectorE", *queues, "launch", "PSUM bank 0"):
        assert rows[name]


def test_an_instruction_says_what_it_does_and_where() -> None:
    slices = by_row(trace_events(bundled()))["TensorE"]
    assert {event["name"] for event in slices} == {"nc_matmul"}
    args = slices[0]["args"]
    assert args["K x M x N"] == "128 x 128 x 512"
    assert args["flops"] == 2 * 128 * 128 * 512
    assert args["line"].startswith("blocks.py:")
    assert args["stall"] == "data of DMA"
    assert args["waited_for"].startswith("dma_copy at moves.py:")
    assert args["writes"][0].endswith("in PSUM bank 0, rows 0:128, bytes 0:2048")
    assert args["issued_us"] <= slices[0]["ts"] + slices[0]["dur"] < args["done_us"]
    load = by_row(trace_events(bundled()))["load queue 0"][0]["args"]
    assert load["bytes"] == load["bytes from HBM"] > 0


@pytest.mark.parametrize("name", ["trn1", "trn2"])
def test_work_and_waits_fill_the_time_of_an_engine(name: str) -> None:
    run = bundled(name=name)
    rows = by_row(trace_events(run))
    for engine in ENGINES[:4]:
        waits: dict[str, float] = defaultdict(float)
        for event in rows[f"{engine} waits"]:
            waits[event["name"]] += event["dur"]
        slack = NS * (2 + len(rows[engine]))
        for cause, us in waits.items():
            assert us == pytest.approx(run.stalls_us[engine][cause], abs=slack)
        worked = sum(event["dur"] for event in rows[engine])
        finished = run.stalls_us[engine].get(FINISHED, 0.0)
        if rows[engine]:
            total = worked + sum(waits.values()) + finished
            assert total == pytest.approx(run.timeline.makespan / 1e6, abs=slack)
        assert TABLE not in waits


def test_counters_end_at_zero_and_peak_where_memory_does() -> None:
    run = bundled()
    values: dict[str, list[float]] = defaultdict(list)
    for event in trace_events(run):
        if event["ph"] == "C":
            values[event["name"]] += event["args"].values()
    assert set(values) == {
        "SBUF bytes per partition",
        "PSUM banks in use",
        "loads in flight",
        "stores in flight",
    }
    assert all(counted[0] == counted[-1] == 0 < max(counted) for counted in values.values())
    assert max(values["SBUF bytes per partition"]) == run.memory.sbuf_peak_bytes
    assert max(values["PSUM banks in use"]) <= 8


def test_a_bank_is_held_from_its_first_write_to_its_last_read() -> None:
    run = run_of(pipeline(passes=3))
    rows = by_row(trace_events(run))
    held = rows["PSUM bank 0"]
    assert [event["args"]["instruction"] for event in held] == [1, 5, 9]
    assert held[0]["name"].startswith("sums (kernel.py:")
    drained = [event["args"]["done_us"] for event in rows["VectorE"]]
    assert [event["ts"] + event["dur"] for event in held] == pytest.approx(drained, abs=2 * NS)
    assert not rows["PSUM bank 1"]


def test_a_limit_keeps_what_starts_first_and_says_so(tmp_path: Path) -> None:
    run = run_of(pipeline())
    written = write_trace(run, tmp_path / "t.json", limit=7)
    assert (written.instructions, written.left_out) == (7, len(run.program) - 7)
    data = json.loads((tmp_path / "t.json").read_text())
    shown = [e for e in data["traceEvents"] if "instruction" in e["args"] and "line" in e["args"]]
    order = sorted(range(len(run.program)), key=lambda i: (run.timeline.start[i], i))
    assert [event["args"]["instruction"] for event in shown] == order[:7]
    assert data["otherData"]["left_out"] == written.left_out
    assert str(written.until_us) in data["otherData"]["left_out_because"]
    later = [e["ts"] for e in data["traceEvents"] if e["ph"] == "C"]
    assert max(later) <= written.until_us


def test_a_file_names_what_was_simulated(tmp_path: Path) -> None:
    run = bundled()
    written = write_trace(run, tmp_path / "t.json")
    data = json.loads((tmp_path / "t.json").read_text())
    assert data["displayTimeUnit"] == "ns"
    assert len(data["traceEvents"]) == written.events
    facts = data["otherData"]
    assert facts["kind"] == "simulated"
    assert (facts["device"], facts["policy"]) == ("trn2", run.policy.name)
    assert (facts["model_hash"], facts["left_out"]) == (model_hash(), 0)
    assert facts["latency_us"] == run.prediction.latency_us
    assert facts["error_percent"] == run.prediction.error_percent
    last = max(e["ts"] + e["dur"] for e in data["traceEvents"] if e["ph"] == "X")
    assert last <= facts["latency_us"]


def test_a_compressed_file_holds_the_same_and_repeats(tmp_path: Path) -> None:
    for name in ("a.json", "a.json.gz", "b.json.gz"):
        write_trace(bundled(), tmp_path / name)
    packed = (tmp_path / "a.json.gz").read_bytes()
    assert gzip.decompress(packed) == (tmp_path / "a.json").read_bytes()
    assert packed == (tmp_path / "b.json.gz").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "a.json.gz", "b.json.gz"]


def test_a_program_of_nothing_has_a_trace(tmp_path: Path) -> None:
    run = run_of(Builder().program())
    write_trace(run, tmp_path / "t.json")
    check(json.loads((tmp_path / "t.json").read_text())["traceEvents"])


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "t.json").mkdir()
    with pytest.raises(TunerError, match="Is a directory"):
        write_trace(bundled(), tmp_path / "t.json")
    assert [p.name for p in tmp_path.iterdir()] == ["t.json"]
