"""nki-tuner verify --oracle nki."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.backends.fake_nki import write_nki
from tests.backends.small_kernel import SHAPE, write_space
from tests.cli.console import Call


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    monkeypatch.setenv("PYTHONPATH", str(write_nki(tmp_path / "packages")))
    space = write_space(tmp_path, ("none", "element", "raises"))
    return ("verify", str(space), "--shape", SHAPE, "--oracle", "nki")


def test_both_agree(call: Call, words: tuple[str, ...]) -> None:
    for more in ((), ("--oracle-python", sys.executable)):
        said = call(*words, *more)
        assert (said.code, said.err) == (0, "")
        first, second = said.out.splitlines()
        assert first.endswith(": correct")
        assert second == "nki.simulate of nki 0.6.0: the same within rounding"


@pytest.mark.parametrize(
    ("fault", "verdict"),
    [("element", "differs: output 0[32, 3] is "), ("raises", "failed: exit code 1: ")],
)
def test_the_oracle_says_otherwise(
    call: Call,
    words: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    verdict: str,
) -> None:
    monkeypatch.setenv("FAKE_NKI", fault)
    said = call(*words)
    assert (said.code, said.err) == (1, "")
    first, second = said.out.splitlines()
    assert first.endswith(": correct")
    assert second.startswith(f"nki.simulate of nki 0.6.0: {verdict}")


def test_a_kernel_that_is_wrong_by_itself_is_wrong_on_both(
    call: Call, words: tuple[str, ...]
) -> None:
    said = call(*words, "--param", "fault=element")
    assert (said.code, said.out.count("\n")) == (1, 2)
    assert ": correctness: " in said.out
    assert said.out.endswith("the same within rounding\n")
    said = call(*words, "--param", "fault=raises")
    assert (said.code, said.out.count("\n")) == (1, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--oracle nki", "nki is not installed for "),
        ("--oracle nki --oracle-python /no/python", "nki of /no/python: cannot be asked: No such"),
        ("--oracle neuron", "'neuron' is not 'nki'"),
        ("--oracle-python python3", "--oracle-python goes with --oracle nki"),
    ],
)
def test_bad_input(call: Call, options: str, message: str) -> None:
    said = call("verify", "matmul", "--shape", "M=128,K=128,N=512", *options.split())
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert message in said.err
