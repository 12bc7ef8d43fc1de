"""Installs the fake of AWS's SDK, of which `fake_sdk/README.md` tells."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tuner.backends.neuron.machine.folders import user_folder

SDK = Path(__file__).with_name("fake_sdk")
GENERATIONS = {"trn1": 2, "inf2": 2, "trn2": 3, "trn3": 4}


@dataclass(frozen=True)
class Fake:
    """A machine with the fake SDK.

    Attributes:
        folder: Where all of it is.
    """

    folder: Path

    @property
    def options(self) -> dict[str, Any]:
        """What makes the backend use it."""
        return {
            "nki_python": str(self.folder / "nki" / "bin" / "python"),
            "nrtpy_python": str(self.folder / "nrtpy" / "bin" / "python"),
            "beta1_python": str(self.folder / "beta1" / "bin" / "python"),
            "neff_cache": "none",
            "iterations": 10,
            "warmup": 2,
        }

    def faults(self, *names: str) -> None:
        """Says what goes wrong from now on."""
        (self.folder / "state" / "faults").write_text(" ".join(names))

    def log(self) -> list[str]:
        """What has happened."""
        path = self.folder / "state" / "log"
        return path.read_text().splitlines() if path.exists() else []

    def device(self, cores: int, family: str = "trn2") -> None:
        """Changes the machine."""
        told = {"cores": cores, "generation": GENERATIONS[family]}
        (self.folder / "state" / "device.json").write_text(json.dumps(told))
        (self.folder / "product_name").write_text(f"{family}.48xlarge\n")
        count = f"$(({cores} / ${{NEURON_LOGICAL_NC_CONFIG:-2}}))"
        listed = f'[{{\\"neuron_device\\": 0, \\"nc_count\\": {count}}}]' if cores else "[]"
        _script(self.folder / "neuron" / "bin" / "neuron-ls", f'echo "{listed}"')


def install(
    folder: Path,
    *,
    nki: str | None = "0.6.0",
    neuronx_cc: str = "2.27.5334.0",
    nrtpy: str | None = "2.34.10",
    spike: str | None = None,
    beta1: str | None = None,
    explorer: bool = False,
    private: bool = False,
    cores: int = 2,
    family: str = "trn2",
) -> Fake:
    """Installs packages of these versions, None for none.

    Args:
        folder: New.
        private: Whether `nki` has the private interfaces that only compile.
    """
    fake = Fake(folder)
    (folder / "state").mkdir(parents=True)
    (folder / "neuron" / "lib").mkdir(parents=True)
    (folder / "neuron" / "lib" / "libnrt.so.1").touch()
    fake.device(cores, family)
    fake.faults()
    _environment(folder, "nki", {"nki": nki, "neuronx-cc": nki and neuronx_cc})
    _environment(folder, "nrtpy", {"nrtpy": nrtpy, "spike": spike})
    _environment(folder, "beta1", {"neuronx-cc": beta1})
    if not private and nki:
        shutil.rmtree(folder / "nki" / "site" / "nki" / "framework")
    if explorer:
        program = f'exec {sys.executable} {SDK / "bin" / "neuron_explorer.py"} "$@"'
        path = folder / "neuron" / "bin" / "neuron-explorer"
        _script(path, f"{_exports(folder, 'bin')}\n{program}")
    return fake


def use(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Makes this process find what is installed in a folder; nothing has happened there yet."""
    fake = Fake(folder)
    fake.faults()
    (folder / "state" / "log").unlink(missing_ok=True)
    monkeypatch.setattr("tuner.backends.neuron.probe.NEURON", folder / "neuron")
    monkeypatch.setattr("tuner.backends.neuron.probe.PRODUCT_NAME", folder / "product_name")
    ours = folder / "cache" / "nki-tuner" / "numba"
    if not ours.exists():  # the simulator is not to be compiled anew
        ours.parent.mkdir(parents=True)
        theirs = user_folder() / "numba"
        theirs.mkdir(mode=0o700, parents=True, exist_ok=True)
        ours.symlink_to(theirs)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    for name in list(os.environ):
        if name.startswith(("NEURON_", "NKI_")):
            monkeypatch.delenv(name)
    return fake


def machine(folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Fake:
    """Installs as `install` does, and makes this process find it."""
    install(folder, **settings)
    return use(folder, monkeypatch)


def _environment(folder: Path, name: str, packages: dict[str, str | None]) -> None:
    """Makes an interpreter that has packages."""
    site = folder / name / "site"
    site.mkdir(parents=True)
    for package, version in packages.items():
        if version is None:
            continue
        module = package.replace("neuronx-cc", "neuronxcc")
        shutil.copytree(SDK / module, site / module, ignore=shutil.ignore_patterns("__pycache__"))
        metadata = site / f"{package.replace('-', '_')}-{version}.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    launch = f'{_exports(folder, name)}\nexec {sys.executable} "$@"'
    _script(folder / name / "bin" / "python", launch)


def _exports(folder: Path, name: str) -> str:
    path = os.pathsep.join([str(folder / name / "site"), str(SDK / "common")])
    return (
        f"export PYTHONDONTWRITEBYTECODE=1 FAKE_NEURON_STATE={folder / 'state'} PYTHONPATH={path}"
    )


def _script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
