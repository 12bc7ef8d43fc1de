"""Beta 1: `nki.benchmark` compiles and times in one call."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import fake_device  # type: ignore[import-not-found]


class Kernel:
    def __init__(self, func: Any) -> None:
        self.func = func


def jit(func: Any) -> Kernel:
    return Kernel(func)


def _compiled(kernel: Any, args: Any, kwargs: Any) -> tuple[dict[str, Any], Any]:
    fake_device.disasters("compile")
    if fake_device.fault("sbuf"):
        raise RuntimeError("Out of memory in sbuf")
    function = kernel.func if isinstance(kernel, Kernel) else kernel
    import inspect

    bound = dict(inspect.signature(function).bind(*args, **kwargs).arguments)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "file.neff")
        outputs = fake_device.write_neff(path, function, bound, 1)
        neff = fake_device.load_neff(path)
    fake_device.hold(RuntimeError)
    if fake_device.fault("oob"):
        raise RuntimeError("nrt_execute failed: NRT_EXEC_OOB(1006)")
    return neff, outputs


class _Latency:
    def __init__(self, us: float) -> None:
        self.us = us

    def get_latency_percentile(self, percentile: int) -> float:
        return self.us * (1 + percentile / 1000)


class _Benchmark:
    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self.benchmark_result: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        neff, _ = _compiled(self.kernel, args, kwargs)
        latency = _Latency(neff["us"])
        self.benchmark_result = type("Result", (), {"nc_latency": latency})


def benchmark(kernel: Any = None, warmup: int = 10, iters: int = 100) -> Any:
    return _Benchmark if kernel is None else _Benchmark(kernel)


def baremetal(kernel: Any) -> Any:
    def run(*args: Any, **kwargs: Any) -> Any:
        outputs = _compiled(kernel, args, kwargs)[1]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    return run
