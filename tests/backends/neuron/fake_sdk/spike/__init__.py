from fake_runtime import BenchmarkResult, NrtError  # type: ignore[import-not-found]
from fake_runtime import Model as SpikeModel
from fake_runtime import Tensor as SpikeTensor

__all__ = ["BenchmarkResult", "NrtError", "SpikeModel", "SpikeTensor"]
