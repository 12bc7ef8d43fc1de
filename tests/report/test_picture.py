"""Pictures are well-formed, small, and true to the shares of time."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.neuroncore.programs import Builder
from tests.report.runs import bundled, pipeline, run_of
from tuner.report import Run, write_picture
from tuner.report.picture import COLUMN, COLUMNS, ROW, WORK

SVG = "{http://www.w3.org/2000/svg}"


def drawn(run: Run, folder: Path) -> ElementTree.Element:
    write_picture(run, folder / "t.svg")
    return ElementTree.fromstring((folder / "t.svg").read_text())


def test_it_names_rows_and_says_that_it_is_simulated(tmp_path: Path) -> None:
    root = drawn(bundled(), tmp_path)
    texts = [text.text or "" for text in root.iter(f"{SVG}text")]
    for name in ("TensorE", "VectorE", "load queue 0", "store queue 0", "PSUM, 8 banks", "launch"):
        assert name in texts
    assert "simulated" in texts[0]
    assert bundled().bound_by in texts
    assert "waits for data of TensorE" in texts
    assert (tmp_path / "t.svg").stat().st_size < 100_000


@pytest.mark.parametrize("kind", ["matmul", "load"])
def test_areas_are_shares_of_time(tmp_path: Path, kind: str) -> None:
    run = run_of(pipeline(40))
    paths = [
        path.get("d", "")
        for path in drawn(run, tmp_path).iter(f"{SVG}path")
        if path.get("fill") == WORK[kind]
    ]
    rows = {"matmul": 1, "load": run.policy.load_queues}[kind]
    pieces = re.findall(r"h(\d+)v(\d+)", "".join(paths[:rows]))
    area = sum(int(width) * int(height) for width, height in pieces)
    lanes = {"matmul": [0], "load": list(range(4, 4 + rows))}[kind]
    mine = [i for i in range(len(run.program)) if run.timeline.stream[i] in lanes]
    worked = sum(int(run.waits.end[i] - run.waits.begin[i]) for i in mine) / 1e6
    expected = worked / run.prediction.latency_us * COLUMNS * COLUMN * ROW
    assert area == pytest.approx(expected, rel=0.1)


def test_a_program_of_nothing_has_a_picture(tmp_path: Path) -> None:
    assert drawn(run_of(Builder().program()), tmp_path).tag == f"{SVG}svg"
