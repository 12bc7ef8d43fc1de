from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tuner.process import code


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package, which `code_hash` takes for the one that runs."""
    copy = tmp_path / "elsewhere" / "tuner"
    shutil.copytree(code.package_folder(), copy)
    monkeypatch.setattr(code, "package_folder", lambda: copy)
    return copy


def fresh_hash() -> str:
    code.code_hash.cache_clear()
    try:
        return code.code_hash()
    finally:
        code.code_hash.cache_clear()


def test_the_same_code_elsewhere_has_the_same_hash(tmp_path: Path, copy: Path) -> None:
    copied = fresh_hash()
    for cache in copy.rglob("__pycache__"):
        shutil.rmtree(cache)
    kernels = copy / "kernels"  # where a wheel has them
    kernels.mkdir(exist_ok=True)
    (kernels / "mine.py").write_text("pass\n")
    assert fresh_hash() == copied


def test_the_hash_is_that_of_the_package_that_runs(copy: Path) -> None:
    copied = fresh_hash()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(code, "package_folder", lambda: Path(code.__file__).parent.parent)
        assert fresh_hash() == copied


@pytest.mark.parametrize(
    "file",
    [
        "job/run.py",
        "nki/isa/dma.py",
        "neuroncore/devices/trn2.toml",
        "neuroncore/policies/beta1.toml",
        "papi/data/systems/papi.toml",
        "papi/data/traces/dolly.csv",
    ],
)
def test_a_changed_file_changes_the_hash(copy: Path, file: str) -> None:
    before = fresh_hash()
    path = copy / file
    path.write_text(path.read_text() + "# more\n")
    assert fresh_hash() != before


def test_a_renamed_file_changes_the_hash(copy: Path) -> None:
    before = fresh_hash()
    (copy / "bundled.py").rename(copy / "bundles.py")
    assert fresh_hash() != before
