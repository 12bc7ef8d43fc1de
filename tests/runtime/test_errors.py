"""What a message may hold."""

from __future__ import annotations

import pytest

from tuner.runtime.errors import TunerError, printable, unknown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a  b\tc\nd \u00e4 \u4e2d", "a  b\tc\nd \u00e4 \u4e2d"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("\ud800 \u2028 \u202e \0", r"\ud800 \u2028 \u202e \x00"),
    ],
)
def test_what_a_terminal_would_act_on_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert str(TunerError(text)) == shown


def test_a_long_message_is_cut_in_its_middle() -> None:
    said = str(TunerError("file.toml: " + "x" * 100_000 + "; did you mean y?"))
    assert len(said) < 1300
    assert said.startswith("file.toml: xxx")
    assert said.endswith("xxx; did you mean y?")


def test_a_long_name_is_cut() -> None:
    assert str(unknown("word", "x" * 100_000, ["y"])).endswith("x' (known: y)")
