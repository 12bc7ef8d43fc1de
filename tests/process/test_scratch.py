from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tuner.process import Scratch


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_is_private_and_goes_when_closed() -> None:
    scratch = Scratch()
    assert scratch.path.stat().st_mode & 0o777 == 0o700
    (scratch.path / "file").write_text("x")
    scratch.close()
    scratch.close()
    assert not scratch.path.exists()


def test_folders_that_somebody_holds_stay() -> None:
    first, second = Scratch(), Scratch()
    assert first.path.is_dir()
    first.close()
    second.close()


def test_folders_of_the_dead_go_when_the_next_one_is_made(folder: Path) -> None:
    dead = folder / "nki-tuner.dead"
    (dead / "1").mkdir(parents=True)
    (dead / "owner.lock").touch()
    (folder / "nki-tuner.new").mkdir()
    for name, content in (("killed-early", "owner.lock.new"), ("of-a-person", "precious")):
        old = folder / f"nki-tuner.{name}"
        old.mkdir()
        (old / content).touch()
        os.utime(old, (1, 1))
    (folder / "of-others").mkdir()
    Scratch().close()
    assert sorted(path.name for path in folder.iterdir()) == [
        "nki-tuner.new",
        "nki-tuner.of-a-person",
        "of-others",
    ]


def test_a_link_with_such_a_name_is_left_alone(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    precious = tmp_path_factory.mktemp("precious")
    (precious / "owner.lock").touch()
    (folder / "nki-tuner.link").symlink_to(precious)
    Scratch().close()
    assert (precious / "owner.lock").exists()


def test_folders_that_are_made_at_the_same_time_stay(folder: Path) -> None:
    """A sweep finds a folder held or not at all."""

    def make_many() -> None:
        for _ in range(150):
            scratch = Scratch()
            if not scratch.path.is_dir():
                os._exit(1)
            scratch.close()
        os._exit(0)

    makers = []
    for _ in range(4):
        makers.append(os.fork())
        if makers[-1] == 0:
            make_many()
    assert [os.waitpid(maker, 0)[1] for maker in makers] == [0] * 4
