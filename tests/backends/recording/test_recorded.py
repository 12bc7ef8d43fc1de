from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.backends.recordings import SHIPPED, recording
from tuner.backends import Status
from tuner.backends.recording import read_recording
from tuner.job import Job, prepare
from tuner.runtime.errors import TunerError


def test_statistics_ignore_what_failed() -> None:
    mine = recording()
    assert mine.failed == 2
    assert mine.optimum_us == 20
    assert [mine.rank(t) for t in (20.0, 23.0, 40.0, 1e9)] == [1, 2, 3, 13]


def test_where_all_failed_there_is_no_optimum() -> None:
    none = recording(time_us=np.full(14, np.inf), status=(Status.RUNTIME,) * 14)
    assert (none.failed, none.optimum_us) == (14, np.inf)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cost_s": np.zeros(3)}, "cost_s: 3 entries, expected one a config (14)"),
        ({"reasons": ("why",)}, "reasons: 1 entries, expected one a config (14)"),
        ({"kind": "guessed"}, "kind: 'guessed', expected simulated or measured"),
        ({"time_us": np.zeros(14)}, "unroll=False: its time is 0 ms, expected a number"),
        ({"time_us": np.full(14, np.nan)}, "unroll=False: its time is nan ms, expected a number"),
        ({"error_percent": np.full(14, -3.0)}, "unroll=False: error_percent is -3, expected a num"),
        ({"error_percent": np.full(14, np.inf)}, "error_percent is inf, expected a number from 0"),
        ({"status": (Status.CORRECT,) * 14}, "it has status 'correct' and no time"),
        (
            {"status": (Status.RUNTIME,) * 14},
            "unroll=False: it has status 'runtime' and a time",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TunerError) as error:
        recording(**changes)
    assert message in str(error.value)


def test_the_hash_is_of_configs_and_times() -> None:
    mine = recording()
    times = mine.time_us.copy()
    times[3] = np.nextafter(times[3], 0)
    assert replace(mine, name="x", cost_s=mine.cost_s + 1, meta={}).content_hash == (
        mine.content_hash
    )
    assert replace(mine, time_us=times).content_hash != mine.content_hash
    assert replace(mine, kind="simulated").content_hash != mine.content_hash


@pytest.mark.parametrize(
    ("shape", "configs"), [("M=512,K=128,N=512", 2_160), ("M=2048,K=256,N=512", 12_204)]
)
def test_shipped_recordings_hold_every_config_of_their_space(shape: str, configs: int) -> None:
    sizes = "x".join(part.partition("=")[2] for part in shape.split(","))
    path = SHIPPED / f"matmul-{sizes}.npz"
    shipped = read_recording(path)
    space = prepare(Job("matmul", shape)).space
    assert len(shipped.space) == configs
    assert path.stat().st_size < 300_000
    assert (shipped.kind, shipped.device, shipped.kernel) == ("simulated", "trn2", "matmul")
    ours = {tuple(sorted(space.config(row).items())) for row in range(len(space))}
    theirs = {tuple(sorted(shipped.space.config(row).items())) for row in range(configs)}
    assert ours == theirs
    assert shipped.space.config(shipped.space.default) == space.config(space.default)
    assert f"--shape {shape} " in shipped.meta["command"]


def test_an_error_that_is_not_known_is_none() -> None:
    errors = np.where(np.arange(14) < 7, 5.0, np.nan)
    mine = recording(kind="simulated", error_percent=errors)
    assert [mine.error_of(0), mine.error_of(7), recording().error_of(0)] == [5.0, None, None]
