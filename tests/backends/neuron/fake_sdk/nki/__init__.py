"""`nki`: a kernel that is called with arrays is compiled and run."""

from __future__ import annotations

import inspect
import os
import sys
from typing import Any

import fake_device  # type: ignore[import-not-found]

ARTIFACTS = os.environ.get("NKI_ARTIFACTS_DIR")  # when it is imported, not when it is called


class Kernel:
    def __init__(self, func: Any, lnc: int = 1) -> None:
        self.func = func
        self.lnc = lnc

    def __getitem__(self, lnc: int) -> Kernel:
        return Kernel(self.func, lnc)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        assert "tuner" not in sys.modules
        bound = dict(inspect.signature(self.func).bind(*args, **kwargs).arguments)
        outputs = compiled(self, bound, ARTIFACTS)
        if fake_device.fault("run-fails"):
            raise RuntimeError("NRT_EXEC_OOB(1006): while running")
        fake_device.hold(RuntimeError)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)


def jit(func: Any = None, **_: Any) -> Any:
    return Kernel(func)


def compiled(kernel: Kernel, bound: dict[str, Any], folder: str | None) -> Any:
    """Compiles into a folder; returns what running it would."""
    from nki.isa import NkiValidationError

    if os.environ.get("NKI_SIMULATOR"):
        raise RuntimeError("NKI_SIMULATOR is set")
    if int(os.environ.get("NEURON_LOGICAL_NC_CONFIG", "2")) != kernel.lnc:
        raise RuntimeError("NEURON_LOGICAL_NC_CONFIG is not the lnc of the kernel")
    if any(isinstance(value, list) for value in bound.values()):
        raise NkiValidationError("lists are no arguments")
    fake_device.disasters("compile")
    for memory in ("sbuf", "psum"):
        if fake_device.fault(memory):
            os.write(2, f"[ERROR] Out of memory in {memory}: 300000 > 196608\n".encode())
            raise RuntimeError("neuronx-cc failed with code 70")
    if fake_device.fault("ncc"):
        os.write(2, b"ERROR [NCC_IBIR441] transposes need a dst of the same dtype\n")
        raise RuntimeError("neuronx-cc failed with code 70")
    if fake_device.fault("validation"):
        raise NkiValidationError("dst of nc_matmul must be in psum")
    if fake_device.fault("assertion"):
        raise AssertionError("free size 513 > 512")
    if fake_device.fault("no-neff") or folder is None:
        return fake_device.run_kernel(kernel.func, [], bound)[0]
    path = os.path.join(folder, "kernel.neff")
    return fake_device.write_neff(path, kernel.func, bound, kernel.lnc)
