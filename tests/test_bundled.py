from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tuner
from tuner import bundled


@pytest.mark.parametrize(("folder", "suffix"), [("kernels", ".py"), ("search_spaces", ".toml")])
def test_the_bundled_matmul_is_found(folder: str, suffix: str) -> None:
    assert "matmul" in bundled.names(folder, suffix)
    assert (bundled.folder(folder) / f"matmul{suffix}").is_file()


def test_names_are_sorted_and_of_one_suffix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tuner").mkdir()
    (tmp_path / "kernels").mkdir()
    for name in ("b.py", "a.py", "c.toml"):
        (tmp_path / "kernels" / name).touch()
    monkeypatch.setattr(tuner, "__file__", str(tmp_path / "tuner" / "__init__.py"))
    assert bundled.names("kernels", ".py") == ["a", "b"]
    assert bundled.names("results", ".json") == []


def test_a_wheel_has_its_folders_inside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tuner" / "kernels").mkdir(parents=True)
    (tmp_path / "kernels").mkdir()
    monkeypatch.setattr(tuner, "__file__", str(tmp_path / "tuner" / "__init__.py"))
    assert bundled.folder("kernels") == tmp_path / "tuner" / "kernels"


def test_the_working_directory_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = bundled.folder("kernels")
    (tmp_path / "kernels").mkdir()
    monkeypatch.chdir(tmp_path)
    assert bundled.folder("kernels") == before


def test_the_package_hands_out_its_names_when_they_are_asked_for() -> None:
    code = (
        "import sys, tuner; before = set(sys.modules); tuner.runtime.load; tuner.tune; tuner.export"
    )
    run = subprocess.run(
        [sys.executable, "-c", f"{code}; print('tuner.runtime' in before, 'tuner.job' in before)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == ["False", "False"]
