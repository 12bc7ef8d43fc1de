"""A small table, as `nki-tuner export` writes them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from tuner.runtime import Table


def record(M: int, config: dict[str, Any], **other: Any) -> dict[str, Any]:
    return {
        "kernel": "copy",
        "sizes": {"M": M, "N": 512},
        "dtype": "bfloat16",
        "device": "trn2",
        "backend": "simulator",
        "kind": "simulated",
        "config": config,
        "latency_us": 10.0,
        "default_latency_us": 20.0,
        "trials": 50,
        "verified": True,
        "fingerprint": {"kernel_hash": "new", "space_hash": "s"},
        "command": "nki-tuner tune copy",
        **other,
    }


TABLE: dict[str, Any] = {
    "schema": "nki-tuner/table",
    "schema_version": 1,
    "kernels": {
        "copy": {
            "space": "copy",
            "dims": ["M", "N"],
            "dtypes": ["bfloat16", "float32"],
            "arguments": {"x": "dtype[M,N]"},
            "parameters": [
                {"name": "tiles", "values": [1, 2, 4, 8], "default": 2},
                {"name": "order", "values": ["mn", "nm"], "default": "mn"},
                {"name": "keep", "values": [0, 1], "default": 0, "when": "N > 512"},
            ],
            "constraints": [
                {"expr": "128*tiles <= M", "why": "a block is at most M"},
                {"expr": "dtype_bytes*tiles <= device.rows", "why": "it must fit"},
                {"expr": "keep or tiles < 8", "why": "long rows are kept"},
            ],
        }
    },
    "devices": {"trn1": {"rows": 16}, "trn2": {"rows": 16}},
    "records": [
        record(1024, {"tiles": 8, "order": "nm"}),
        record(512, {"tiles": 4, "order": "nm"}),
        record(8192, {"tiles": 8, "order": "mn"}),
    ],
}

Open = Callable[[Any], Table]


def with_records(*records: dict[str, Any]) -> dict[str, Any]:
    return {**TABLE, "records": [*TABLE["records"], *records]}


def join(M: int, config: dict[str, Any], **variants: str) -> dict[str, Any]:
    return {**record(M, config), "sizes": {"M": M, "N": 512, **variants}}


def with_variants(*records: dict[str, Any]) -> dict[str, Any]:
    """The table of a kernel whose workloads have variants."""
    data = copy.deepcopy(TABLE)
    data["kernels"]["copy"]["variants"] = {"how": ["copy", "add"], "result": ["same", "wide"]}
    data["kernels"]["copy"]["constraints"].append(
        {"expr": "tiles < 8 or how == 'copy'", "why": "two are too many"}
    )
    data["records"] = list(records)
    return data


VARIED = with_variants(
    join(1024, {"tiles": 8, "order": "nm"}),
    join(1024, {"tiles": 4, "order": "nm"}, how="add"),
    join(2048, {"tiles": 8, "order": "mn"}),
)
