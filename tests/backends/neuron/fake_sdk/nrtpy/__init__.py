from fake_runtime import (  # type: ignore[import-not-found]
    BenchmarkResult,
    NrtError,
    NrtpyError,
)
from fake_runtime import Model as NrtpyModel
from fake_runtime import Tensor as NrtpyTensor

__all__ = ["BenchmarkResult", "NrtError", "NrtpyError", "NrtpyModel", "NrtpyTensor"]
