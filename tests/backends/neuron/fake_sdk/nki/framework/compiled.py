"""A private interface that only compiles."""

from __future__ import annotations

import os
from typing import Any

import nki


class _Specs:
    def __init__(self, names: list[str]) -> None:
        self.input_specs = [type("Spec", (), {"name": name}) for name in names]
        self.output_specs = [type("Spec", (), {"name": "output_0"})]


class _Lowered:
    def __init__(self, kernel: Any, inputs: dict[str, Any]) -> None:
        self.kernel, self.inputs = kernel, inputs
        self.descriptor = _Specs(list(inputs))


class CompileKernel:
    def __init__(self, func: Any, lnc: int, target: str, artifacts_dir: str) -> None:
        assert not isinstance(func, nki.Kernel)
        self.options = {"lnc": lnc, "target": target, "folder": artifacts_dir}

    def _compile_opts(self) -> Any:
        return self.options


def compile_kernel_to_nir(
    kernel: Any, inputs: Any, compile_opts: Any, enable_cache: bool = True
) -> _Lowered:
    return _Lowered(kernel, inputs)


def written(lowered: _Lowered, folder: str) -> Any:
    nki.compiled(lowered.kernel, lowered.inputs, folder)
    return type("Compiled", (), {"neff_path": os.path.join(folder, "kernel.neff")})
