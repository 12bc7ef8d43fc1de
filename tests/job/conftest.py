from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.backends.small_kernel import SHAPE
from tests.job.jobs import Tune
from tuner.job import Outcome, tune


@pytest.fixture
def tune_small(tmp_path: Path, space_file: Path) -> Tune:
    """Tunes the small kernel in this process."""

    def call(**settings: Any) -> Outcome:
        chosen = {"results": str(tmp_path / "results"), "ray": "serial", "trials": 8, **settings}
        return tune(str(space_file), SHAPE, **chosen)

    return call
