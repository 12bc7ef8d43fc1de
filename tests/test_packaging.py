"""What a wheel and a source distribution hold."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("tuner", "kernels", "search_spaces", "results", "tests", "benchmarks", ".ci")
FILES = ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", ".gitignore")
SHIPPED = {"tuner/results/shipped.json", "tuner/results/shipped.toml"}
BUILD = "import sys; from hatchling import build; print(getattr(build, sys.argv[1])(sys.argv[2]))"


def _ours(folder: str, *patterns: str) -> set[str]:
    found = {path for pattern in patterns for path in (ROOT / folder).rglob(pattern)}
    return {path.relative_to(ROOT).as_posix() for path in found if path.is_file()}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with a table to ship and a user's database that must stay at home."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "local")
            shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    for name in FILES:
        shutil.copy(ROOT / name, copy / name)
    (copy / "results" / "local").mkdir(parents=True)
    (copy / "results" / "local" / "nki-tuner.sqlite3").write_text("private")
    (copy / "results" / "local" / "private.json").write_text("{}")
    (copy / "results" / "shipped.json").write_text("{}")
    (copy / "results" / "shipped.toml").write_text("")
    return copy


def _build(checkout: Path, kind: str) -> Path:
    out = checkout.parent / f"{checkout.name}-dist"
    command = [sys.executable, "-c", BUILD, f"build_{kind}", str(out)]
    run = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True)
    return out / run.stdout.strip().splitlines()[-1]


def test_the_wheel_holds_the_package_and_its_data_and_no_database(checkout: Path) -> None:
    names = set(zipfile.ZipFile(_build(checkout, "wheel")).namelist())
    code = _ours("tuner", "*.py", "*.toml", "*.csv", "py.typed")
    data = {f"tuner/{name}" for name in _ours("kernels", "*.py") | _ours("search_spaces", "*.toml")}
    results = _ours("results", "*.json", "*.toml")
    shipped = {f"tuner/{name}" for name in results if "/local/" not in name}
    inside = {name for name in names if ".dist-info/" not in name}
    assert inside == code | data | shipped | SHIPPED


def test_the_source_distribution_holds_what_a_build_and_the_tests_need(checkout: Path) -> None:
    with tarfile.open(_build(checkout, "sdist")) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = _ours("kernels", "*.py") | _ours("search_spaces", "*.toml") | _ours("tests", "*.py")
    assert needed | _ours("tuner", "*.py", "*.toml", "*.csv") <= names
    assert {"results/shipped.json", "results/shipped.toml"} <= names
    assert not [name for name in names if name.startswith("results/local")]
