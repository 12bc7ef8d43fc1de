"""What the scripts have in common that run in other interpreters; it is copied beside them.

Those interpreters have neither this package nor, maybe, its version of Python: nothing here needs
more than Python 3.8, the standard library, numpy and, for its dtypes, ml_dtypes.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any


def run(work: Callable[[str, dict[str, Any]], dict[str, Any]]) -> None:
    """Does FOLDER/job.json and writes FOLDER/answer.json; what `work` raises ends the process."""
    folder = sys.argv[1]
    with open(os.path.join(folder, "job.json"), encoding="utf-8") as file:
        job = json.load(file)
    write_answer(folder, work(folder, job))


def write_answer(folder: str, answer: dict[str, Any]) -> None:
    """Writes an answer at once: whoever reads it finds all of it or none."""
    path = os.path.join(folder, "answer.json")
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(answer, file)
    os.replace(path + ".new", path)


def load_module(folder: str, job: dict[str, Any]) -> Any:
    """Loads the kernel's file, job["file"]; those beside it can be imported too."""
    kernels = os.path.join(folder, "kernel")
    sys.path.insert(0, kernels)
    spec = importlib.util.spec_from_file_location("_nki_kernel", os.path.join(kernels, job["file"]))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["_nki_kernel"] = module
    spec.loader.exec_module(module)
    return module


def dtype_named(name: str, exact: bool = True) -> Any:
    """Returns a numpy dtype by NKI's name.

    Args:
        name: E.g. "bfloat16".
        exact: Whether another one of the same size will not do where ml_dtypes is missing: it will
            where only the bytes count.

    Raises:
        ImportError: ml_dtypes is missing.
    """
    import numpy as np

    if name == "tfloat32":
        return np.dtype("float32")
    try:
        return np.dtype(name)
    except TypeError:
        pass
    try:
        import ml_dtypes
    except ImportError:
        if exact:
            where = f"in the environment of {sys.executable}"
            raise ImportError(f"{name} needs the package ml_dtypes {where}") from None
        return np.dtype("uint16" if name == "bfloat16" else "uint8")
    return np.dtype(getattr(ml_dtypes, name))


def zeros(arguments: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Returns an array for each (name, shape, dtype)."""
    import numpy as np

    return {name: np.zeros(shape, dtype_named(dtype)) for name, shape, dtype in arguments}


def load_inputs(folder: str, dtypes: dict[str, str], exact: bool = True) -> dict[str, Any]:
    """Returns the arrays of FOLDER/inputs.npz in their dtypes, as `dtype_named` finds them."""
    import numpy as np

    with np.load(os.path.join(folder, "inputs.npz"), allow_pickle=False) as raw:
        return {name: raw[name].view(dtype_named(d, exact)) for name, d in dtypes.items()}


def save_outputs(folder: str, outputs: Sequence[Any], file: str = "outputs.npz") -> list[str]:
    """Writes arrays as numpy can store them, unsigned integers where it lacks their dtype; returns
    the names of their dtypes.
    """
    import numpy as np

    arrays = [np.ascontiguousarray(np.asarray(output)) for output in outputs]
    views = [a.view(f"u{a.dtype.itemsize}") if a.dtype.isbuiltin != 1 else a for a in arrays]
    np.savez(os.path.join(folder, file), *views)
    return [array.dtype.name for array in arrays]


def per_call(durations_ms: Sequence[float], asked: int) -> list[float]:
    """Returns one duration a call, in milliseconds: the sum of its events.

    A NEFF of several subgraphs leaves one event for each.

    Raises:
        ValueError: The events do not come out even, or there are fewer than calls.
    """
    each, rest = divmod(len(durations_ms), asked)
    if not each or rest:
        raise ValueError(f"{len(durations_ms)} durations of {asked} calls")
    return [sum(durations_ms[i : i + each]) for i in range(0, len(durations_ms), each)]


def spread(durations: Sequence[float]) -> float:
    """Returns how far durations are apart, as a share of the shortest."""
    least = min(durations)
    return (max(durations) - least) / least if least > 0 else float("inf")
