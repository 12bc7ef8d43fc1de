"""nki-tuner: an autotuner for AWS Trainium NKI kernels.

`tune` launches a tuning job, `export` writes a table of tuned configs, `runtime` looks configs up
in it. Names are loaded on first use, so that `import tuner.runtime` loads nothing else.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in typing, which takes long to import
if TYPE_CHECKING:
    from typing import Any

    from tuner import runtime as runtime
    from tuner.database import export as export
    from tuner.job import Job as Job
    from tuner.job import Outcome as Outcome
    from tuner.job import batch as batch
    from tuner.job import check as check
    from tuner.job import record as record
    from tuner.job import replay as replay
    from tuner.job import tune as tune

__version__ = "0.1.0"
__all__ = ["Job", "Outcome", "batch", "check", "export", "record", "replay", "runtime", "tune"]

_HOME = {
    "Job": "tuner.job",
    "Outcome": "tuner.job",
    "batch": "tuner.job",
    "check": "tuner.job",
    "record": "tuner.job",
    "replay": "tuner.job",
    "tune": "tuner.job",
    "export": "tuner.database",
}


def __getattr__(name: str) -> Any:
    import importlib

    if name == "runtime":
        return importlib.import_module("tuner.runtime")
    if name not in _HOME:
        raise AttributeError(f"module 'tuner' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
