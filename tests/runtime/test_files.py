"""What is read of a file that somebody else wrote."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tuner.runtime.errors import TunerError
from tuner.runtime.files import read_json, read_text


def test_a_text_is_read_with_any_line_ends(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"a\r\nb\rc\n\xc3\xa4")
    assert read_text(tmp_path / "x", 100) == "a\nb\nc\n\u00e4"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("pipe", "pipe: no regular file"),
        ("/dev/zero", "/dev/zero: no regular file"),
        ("folder", "folder: Is a directory"),
        ("none", "none: No such file or directory"),
        ("circle", "circle: Too many levels of symbolic links"),
        ("large", "large: larger than 9 bytes"),
        ("bytes", "bytes: not a text file"),
        ("a\0b", "embedded null byte"),
        ("x" * 300, "File name too long"),
    ],
)
def test_what_is_no_text_of_that_size_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")  # nobody writes to it: who opens it waits
    Path("folder").mkdir()
    Path("circle").symlink_to("circle")
    Path("large").write_text("0123456789")
    Path("bytes").write_bytes(b"\xff")
    with pytest.raises(TunerError, match=why):
        read_text(name, 9)


def test_json_holds_so_many_values() -> None:
    assert read_json('{"a": [1, 2]}', 3) == {"a": [1, 2]}
    with pytest.raises(ValueError, match="more than 3 values"):
        read_json("[[],[],[]]", 3)
