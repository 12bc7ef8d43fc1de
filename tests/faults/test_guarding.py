"""The guard of the mutated inputs finds what it is there to find."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from tests.faults import guarding
from tests.faults.guarding import survives

pytestmark = pytest.mark.faults


def hang(_: Any) -> None:
    while True:
        pass


def write_elsewhere(_: Any) -> None:
    Path("/tmp/nki-tuner-escaped").write_text("")


BAD = [
    (hang, "took too long"),
    (write_elsewhere, "open of /tmp/nki-tuner-escaped"),
    (lambda _: os.system("true"), "os.system"),
    (lambda _: bytearray(4 << 30), "MemoryError"),
    (lambda _: os._exit(7), "ended the process with 7"),
    (lambda _: 1 // 0, "ZeroDivisionError"),
]


@pytest.mark.parametrize(("target", "why"), BAD)
def test_what_an_input_may_not_do_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: Any, why: str
) -> None:
    monkeypatch.setattr(guarding, "INPUT_CPU_S", 0.3)
    with pytest.raises(AssertionError, match=why):
        survives(target, st.integers(), 5, tmp_path)
    assert not Path("/tmp/nki-tuner-escaped").exists()


def test_inputs_are_counted(tmp_path: Path) -> None:
    assert survives(lambda _: None, st.integers(), 20, tmp_path) >= 20
