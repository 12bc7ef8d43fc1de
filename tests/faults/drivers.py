"""Drivers of jobs, started in no time: copies of a process that has loaded everything already."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.backends.small_kernel import SHAPE, write_space
from tuner.job import tune
from tuner.runtime.errors import TunerError

__all__ = ["SHAPE", "new_driver", "run_job"]

PRELOADING = "NKI_TUNER_PRELOADING"


def run_job(space: str, settings: Mapping[str, Any]) -> None:
    """Runs a job; from the start where there is nothing to resume."""
    try:
        tune(space, SHAPE, **settings, resume=True)
    except TunerError as error:
        if "nothing to resume" not in str(error):
            raise
        tune(space, SHAPE, **settings)


def new_driver(space: Path, settings: Mapping[str, Any]) -> Any:
    """Returns a process that will run a job in it, to be started."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    os.environ[PRELOADING] = "1"  # the server is started by the first process that is
    return context.Process(target=run_job, args=(str(space), settings))


if os.environ.pop(PRELOADING, ""):
    with tempfile.TemporaryDirectory() as folder:
        run_job(str(write_space(Path(folder))), {"ray": "serial", "trials": 14, "results": folder})
