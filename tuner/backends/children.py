"""Scripts that run in other interpreters: what they are given, and what they leave.

A script gets a folder of its own with its job as JSON, the kernel's files and arrays without
pickle; it leaves its answer as JSON and arrays in the same way.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from tuner.backends import child_tools
from tuner.kernel import MODULE, KernelSource
from tuner.process import Finished, run

__all__ = [
    "ask",
    "dtype_named",
    "load_arrays",
    "save_arrays",
    "tail",
    "write_kernel",
]

MAX_TAIL = 400
MAX_ANSWER_BYTES = 64 << 20


def ask(
    command: Sequence[str],
    script: Path,
    folder: Path,
    job: Mapping[str, Any],
    *,
    deadline_s: float,
    environment: Mapping[str, str],
    memory_bytes: int | None = None,
) -> tuple[Finished, dict[str, Any] | None]:
    """Runs a script on a job.

    Args:
        command: The interpreter.
        script: The script; it is copied, else its neighbours could be imported.
        folder: Its folder, with whatever else it needs.
        job: What it finds as job.json.
        deadline_s: Wall-clock seconds that it may take.
        environment: Its whole environment.
        memory_bytes: Resident bytes that it and its children may have together.

    Returns:
        How it ended, and its answer; None where it left none.
    """
    for file in (script, Path(child_tools.__file__)):
        shutil.copyfile(file, folder / file.name)
    (folder / "job.json").write_text(json.dumps(dict(job)), encoding="utf-8")
    finished = run(
        [*command, str(folder / script.name), str(folder)],
        deadline_s=deadline_s,
        folder=folder,
        environment=environment,
        memory_bytes=memory_bytes,
    )
    return finished, _answer(folder / "answer.json")


def _answer(path: Path) -> dict[str, Any] | None:
    try:
        if path.stat().st_size > MAX_ANSWER_BYTES:
            return None
        answer = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def write_kernel(kernel: KernelSource, folder: Path) -> str:
    """Writes a kernel's files into a new folder; returns the name of the one with the kernel."""
    folder.mkdir()
    main = Path(kernel.file).name
    for name, _, text in kernel.modules:
        file = main if name == MODULE else f"{name}.py"
        (folder / file).write_text(text, encoding="utf-8")
    return main


def save_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Writes arrays to an npz file, those of dtypes that numpy lacks as unsigned integers."""
    np.savez(path, **{name: _plain(array) for name, array in arrays.items()})  # type: ignore[arg-type]


def load_arrays(path: Path, count: int) -> list[npt.NDArray[Any]]:
    """Reads the arrays that a script left.

    Raises:
        ValueError: There is no such file, or it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as raw:
            return [raw[f"arr_{i}"] for i in range(count)]
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"left no readable result ({error})") from None


def dtype_named(name: str) -> np.dtype[Any]:
    """Returns the numpy dtype of an NKI dtype."""
    if name == "tfloat32":
        return np.dtype("float32")
    return np.dtype(getattr(ml_dtypes, name, name))


def _plain(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array.view(f"u{array.dtype.itemsize}") if array.dtype.isbuiltin != 1 else array


def tail(said: str) -> str:
    """Returns the end of what a script wrote, in one line."""
    line = " ".join(said.split())
    return f"{'... ' * (len(line) > MAX_TAIL)}{line[-MAX_TAIL:]}"
