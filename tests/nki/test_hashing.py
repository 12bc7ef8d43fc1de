from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import tuner
from tuner.nki import hashing
from tuner.nki.hashing import hash_code, model_hash

CODE = '''\
"""A module."""
LIMIT = 5
"""What LIMIT is."""


def double(x):
    """Doubles."""
    return 2 * x
'''


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package in another place, as a wheel puts it."""
    for name in ("neuroncore", "nki"):
        shutil.copytree(
            Path(tuner.__file__).parent / name,
            tmp_path / name,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    monkeypatch.setattr(hashing, "_PACKAGE", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""A module."""', '"""Another text."""'),
        ('"""What LIMIT is."""\n', ""),
        ('"""Doubles."""', ""),
        ("LIMIT = 5", "# five\nLIMIT = (5)\n"),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(old: str, new: str) -> None:
    assert hash_code([("m", CODE.replace(old, new))]) == hash_code([("m", CODE)])


@pytest.mark.parametrize(("old", "new"), [("5", "6"), ("2 * x", "x * 2"), ("LIMIT", "LEAST")])
def test_code_counts(old: str, new: str) -> None:
    assert hash_code([("m", CODE.replace(old, new))]) != hash_code([("m", CODE)])


def test_names_count_and_order_does_not() -> None:
    a, b = ("a", "x = 1"), ("b", "x = 2")
    assert hash_code([a, b]) == hash_code([b, a])
    assert hash_code([("a", "x = 2"), ("b", "x = 1")]) != hash_code([a, b])


def test_the_model_has_the_same_hash_wherever_it_is_installed(copied: Path) -> None:
    assert hashing.model_hash.__wrapped__() == model_hash()
    (copied / "nki" / "linter" / "rules.py").unlink()
    assert hashing.model_hash.__wrapped__() == model_hash()


@pytest.mark.slow
def test_the_model_s_hash_follows_its_code(copied: Path) -> None:
    for name in ("neuroncore/costs.py", "neuroncore/schedule/events.py", "nki/isa/matmul.py"):
        path = copied / name
        text = path.read_text()
        path.write_text(f"{text}# a comment\n")
        assert hashing.model_hash.__wrapped__() == model_hash()
        path.write_text(f"{text}CHANGED = 1\n")
        assert hashing.model_hash.__wrapped__() != model_hash()
        path.write_text(text)
