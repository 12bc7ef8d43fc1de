"""Compiler policies: what the compiler decides and a kernel's source does not say.

They are read from `policies/*.toml`, one file for each compiler; the eras inside it are what
changed between its releases. A policy follows from the SDK that built a kernel, never from the
kernel.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tuner.neuroncore.device import TAGS
from tuner.runtime.errors import TunerError, unknown

__all__ = ["ON_OVERFLOW", "Policy", "policy", "policy_names"]

_FOLDER = Path(__file__).resolve().parent / "policies"
ON_OVERFLOW = ("error", "spill", "ignore")


@dataclass(frozen=True)
class Policy:
    """One set of compiler decisions; part of every fingerprint.

    Attributes:
        name: Compiler and era, as in "beta1:2.20".
        load_queues: DMA queues for transfers into SBUF, taken in turn.
        store_queues: DMA queues for transfers into HBM, taken in turn; never shared with loads.
        rotation_depth: How many times over the buffers of an allocation inside a loop exist, memory
            permitting. An allocation outside all loops is one buffer.
        buffers_min: An allocation inside a loop gets at least so many buffers, memory permitting.
        renames: A tile allocated inside a loop is a new one whenever it is overwritten as a whole.
        tensor_window: Instructions of TensorE that may overtake each other.
        vector_window: The same of VectorE and of ScalarE.
        copy_engine: Copies out of PSUM that name no engine: "vector" or "scalar".
        move_engine: The same of copies within SBUF.
        scale_engine: The same of products with a constant.
        memset_engine: The engine of a memset that names none.
        hoists: What a loop computes or loads alike in every pass is done once, memory permitting.
        on_overflow: What happens where tiles do not fit: "error" refuses, "spill" sends them to HBM
            and back, "ignore" gives them room all the same.
        start_us: Time before the first instruction, in microseconds; below 0: the device's launch.
        slow_row_bytes: Rows below so many bytes are transferred at another rate:
        slow_row_ns: so long a row, and
        slow_row_bytes_per_ns: at so many bytes a nanosecond on each DMA engine.
    """

    name: str
    load_queues: int
    store_queues: int
    rotation_depth: int
    buffers_min: int
    renames: bool
    tensor_window: int
    vector_window: int
    copy_engine: str
    move_engine: str
    scale_engine: str
    memset_engine: str
    hoists: bool
    on_overflow: str
    start_us: float
    slow_row_bytes: int
    slow_row_ns: float
    slow_row_bytes_per_ns: float


def policy_names() -> list[str]:
    """Returns every policy's name: compilers, and compilers with an era."""
    found = []
    for path in sorted(_FOLDER.glob("*.toml")):
        eras = tomllib.loads(path.read_text(encoding="utf-8"))["era"]
        found += [path.stem, *(f"{path.stem}:{era}" for era in eras)]
    return found


@cache
def policy(name: str) -> Policy:
    """Returns a policy: "nki", "beta1", or with an era as in "beta1:2.20".

    Raises:
        TunerError: There is no such policy.
    """
    if name not in policy_names():
        raise unknown("compiler policy", name, policy_names())
    compiler, _, era = name.partition(":")
    data = tomllib.loads((_FOLDER / f"{compiler}.toml").read_text(encoding="utf-8"))
    era = era or data["newest"]
    entries = {**data["policy"], **{k: v for k, v in data["era"][era].items() if k != "sdk"}}
    values = {key: _value(compiler, key, entry) for key, entry in entries.items()}
    return Policy(name=f"{compiler}:{era}", **values)


def _value(compiler: str, key: str, entry: dict[str, Any]) -> Any:
    if key not in Policy.__annotations__ or entry["tag"] not in TAGS or not entry["source"]:
        raise TunerError(
            f"policy file {compiler}.toml: {key} is no setting of a policy or lacks tag or source"
        )
    return entry["value"]
