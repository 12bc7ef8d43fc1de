from __future__ import annotations

from pathlib import Path

import pytest

from tests.backends.small_kernel import SHAPE, write_space
from tuner.job import tune


@pytest.fixture(scope="package")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the small kernel: two workloads on trn2, one on trn1, some failures."""
    folder = tmp_path_factory.mktemp("tuned")
    space = str(write_space(folder, ("none", "raises")))
    for shape, device in ((SHAPE, "trn2"), ("M=512,N=512", "trn2"), (SHAPE, "trn1")):
        tune(space, shape, device=device, trials=8, ray="serial", results=str(folder / "results"))
    return folder / "results"
