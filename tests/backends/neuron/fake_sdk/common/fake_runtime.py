"""What `nrtpy` and `spike` have in common: the runtime of one process."""

from __future__ import annotations

import os
import statistics
from typing import Any

import fake_device  # type: ignore[import-not-found]
import numpy as np

fake_device.needs_library(ImportError)


class NrtError(RuntimeError):
    pass


class NrtpyError(RuntimeError):
    pass


class TensorMetadata:
    def __init__(self, shape: Any, dtype: str) -> None:
        self.shape = list(shape)
        self.dtype = "int8" if dtype.startswith("float8") else dtype
        self.size = 1


class Tensor:
    def __init__(self, array: Any, name: str | None) -> None:
        self.array, self.name = array, name

    @classmethod
    def from_numpy(cls, array: Any, name: str | None = None, core_id: int = 0) -> Tensor:
        return cls(np.ascontiguousarray(array), name)

    def numpy(self) -> Any:
        if fake_device.fault("void"):
            return self.array.view(f"V{self.array.dtype.itemsize}")
        if self.array.dtype.name.startswith("float8"):
            return self.array.view("int8")
        return self.array


class BenchmarkResult:
    def __init__(self, durations_ms: list[float], warmup: int) -> None:
        self.durations_ms = durations_ms
        self.mean_ms = statistics.fmean(durations_ms)
        self.min_ms, self.max_ms = min(durations_ms), max(durations_ms)
        self.std_dev_ms = statistics.pstdev(durations_ms)
        self.iterations = len(durations_ms)
        self.warmup_iterations = warmup


class Model:
    def __init__(self, neff: dict[str, Any]) -> None:
        self.neff = neff
        self.input_tensors_info = {n: TensorMetadata(s, d) for n, s, d in neff["inputs"]}
        self.output_tensors_info = {
            f"output_{i}": TensorMetadata(s, d) for i, (s, d) in enumerate(neff["outputs"])
        }
        self.benchmarks = 0

    @classmethod
    def load_from_neff(cls, neff_path: Any, name: str | None = None, core_id: int = 0) -> Model:
        fake_device.hold(NrtError)
        try:
            neff = fake_device.load_neff(neff_path)
        except ValueError:
            raise NrtError("nrt_load failed: NRT_FAILURE(6)") from None
        if neff["generation"] != fake_device.device()["generation"]:
            raise NrtError("nrt_load failed: NRT_FAILURE(6)")
        if neff["lnc"] != int(os.environ.get("NEURON_LOGICAL_NC_CONFIG", "2")):
            raise NrtError("nrt_load failed: NRT_INVALID(2): logical core size")
        fake_device.disasters("load")
        return cls(neff)

    def _check(self, inputs: dict[str, Tensor]) -> None:
        if set(inputs) != set(self.input_tensors_info):
            raise ValueError(f"expected inputs {list(self.input_tensors_info)}")
        for name, shape, dtype in self.neff["inputs"]:
            assert list(inputs[name].array.shape) == shape
            assert inputs[name].array.dtype.name == dtype
        fake_device.disasters("run")
        if fake_device.fault("oob"):
            raise NrtError("nrt_execute failed: NRT_EXEC_OOB(1006)")
        if fake_device.fault("nrt-timeout"):
            raise NrtError("nrt_execute failed: NRT_TIMEOUT(5)")

    def __call__(self, inputs: dict[str, Tensor], outputs: Any = None) -> dict[str, Tensor]:
        self._check(inputs)
        arrays = {name: tensor.array for name, tensor in inputs.items()}
        found = fake_device.run_neff(self.neff, arrays)
        return {f"output_{i}": Tensor(each, None) for i, each in enumerate(found)}

    def benchmark(
        self,
        inputs: dict[str, Tensor],
        outputs: Any = None,
        warmup_iter: int = 5,
        benchmark_iter: int = 5,
        mode: str = "device",
    ) -> BenchmarkResult:
        assert mode in ("device", "host")
        self._check(inputs)
        self.benchmarks += 1
        silent = fake_device.fault("no-events")
        if not silent and fake_device.fault("no-events-once"):
            silent = fake_device.once("said-nothing")
        if silent and mode == "device":
            raise RuntimeError("no nc_exec_running events were captured")
        spread = 0.1 if fake_device.fault("unsteady") and self.benchmarks < 3 else 0.005
        if fake_device.fault("never-steady"):
            spread = 0.3 / self.benchmarks
        us = self.neff["us"] + (100 if mode == "host" else 0)
        each = [us * (1 + spread * i / max(1, benchmark_iter - 1)) for i in range(benchmark_iter)]
        if fake_device.fault("subgraphs") and mode == "device":
            each = [part for duration in each for part in (duration / 4, 3 * duration / 4)]
        if self.neff["lnc"] == 2 and mode == "device":
            each = [core for duration in each for core in (0.9 * duration, duration)]
        if fake_device.fault("odd"):
            each.append(1.0)
        fake_device.note(f"benchmarks {mode}")
        return BenchmarkResult([duration / 1000 for duration in each], warmup_iter)
