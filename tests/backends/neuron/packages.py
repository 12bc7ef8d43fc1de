"""Tiny stand-ins for AWS's packages and tools, and interpreters that have them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tuner.backends.neuron import probe as probing

PLACEHOLDER = 'raise ImportError("WRONG PACKAGE: this is not the package\\nthat you want")\n'


def write_package(folder: Path, name: str, version: str, module: str, code: str = "") -> None:
    """Writes a package with its metadata, e.g. neuronx-cc with the module neuronxcc.nki."""
    *parents, last = module.split(".")
    here = folder
    for parent in parents:
        here = here / parent
        here.mkdir(parents=True, exist_ok=True)
        (here / "__init__.py").touch()
    (here / last).mkdir(parents=True, exist_ok=True)
    (here / last / "__init__.py").write_text(code)
    metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def write_python(folder: Path, packages: Path | None = None, name: str = "python") -> str:
    """Writes an interpreter that finds packages in a folder; returns its path."""
    path = "" if packages is None else f"PYTHONPATH='{packages}' "
    return write_program(folder / name, f'{path}exec "{sys.executable}" "$@"')


def write_program(path: Path, script: str) -> str:
    """Writes a shell script that can be run; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def write_sdk(folder: Path) -> Path:
    """Writes the packages of SDK 2.32, as far as the probe looks at them."""
    write_package(folder, "nki", "0.6.0", "nki", "print('loading')\njit = None\n")
    write_package(folder, "neuronx-cc", "2.27.5334.0+abc", "neuronxcc.nki", "benchmark = None\n")
    write_package(folder, "nrtpy", "2.34.10", "nrtpy", "NrtpyModel = None\n")
    return folder


def write_machine(
    folder: Path, monkeypatch: pytest.MonkeyPatch, product: str = "trn2.48xlarge", cores: int = 8
) -> None:
    """Makes this machine, for this process, one of AWS's with so many cores."""
    devices = json.dumps([{"neuron_device": 0, "nc_count": cores}])
    write_program(folder / "neuron" / "bin" / "neuron-ls", f"echo '{devices}'")
    (folder / "neuron" / "lib").mkdir(exist_ok=True)
    (folder / "neuron" / "lib" / "libnrt.so.1").touch()
    (folder / "product_name").write_text(f"{product}\n")
    monkeypatch.setattr(probing, "NEURON", folder / "neuron")
    monkeypatch.setattr(probing, "PRODUCT_NAME", folder / "product_name")
