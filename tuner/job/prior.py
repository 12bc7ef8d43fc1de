"""Priors: cheap times of a job's configs, from the simulator or from a recording."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tuner.backends import REPLAY, Candidate, Measurement, Problem, Status
from tuner.execution import Executor
from tuner.runtime.errors import TunerError, unknown
from tuner.search import GUIDED
from tuner.space import INACTIVE, SearchSpace

if TYPE_CHECKING:
    from tuner.backends.recording import Recording

__all__ = ["MAX_SIMULATED", "Prior", "find_prior"]

NONE, SIMULATOR = "none", "simulator"
MAX_SIMULATED = 20_000
POLL_S = 0.25
MISSING = -2

Times = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Prior:
    """Where cheap times come from: a recording, or the simulator that is yet to run.

    Attributes:
        source: "simulator" or the path of a recording.
        settings: What identifies it among the settings of a study.
        recorded: Shape (configs,): a cheap time of every row, in any unit; inf where it failed,
            NaN where it is not known. None where the simulator is to tell.
        elapsed_s: Seconds that getting the times took.
    """

    source: str
    settings: Mapping[str, Any]
    times: Times | None = None
    elapsed_s: float = 0.0

    def told(self, sampler: str) -> str:
        """Says in one line what it is and what it took."""
        if sampler not in GUIDED:
            return f"{self.source}: the sampler {sampler} takes none"
        times = np.empty(0) if self.times is None else self.times
        known, failed = np.count_nonzero(~np.isnan(times)), np.count_nonzero(np.isinf(times))
        failing = f", {failed:,} of them failing" if failed else ""
        counts = f"{known:,} of {len(times):,} configs known{failing}"
        return f"{self.source}: {counts}; took {self.elapsed_s:.1f} s"

    def simulated(
        self,
        space: SearchSpace,
        problem: Problem,
        seed: int,
        start: Callable[[Problem], Executor],
        stop: threading.Event,
    ) -> Prior:
        """Returns the prior with the times that the simulator gives.

        Args:
            space: The job's configs; of more than `MAX_SIMULATED` so many, drawn uniformly.
            problem: The job's problem.
            seed: Decides which are drawn.
            start: Starts an executor.
            stop: Gives up as soon as it is set.

        Raises:
            KeyboardInterrupt: `stop` was set.
        """
        clock = time.monotonic()
        times = np.full(len(space), np.nan)
        executor = start(_on_simulator(problem))
        try:
            rows = iter(_drawn(len(space), seed))
            for measurement in _measured(space, rows, executor, stop):
                times[measurement.number] = _time(measurement)
        finally:
            executor.close()
        return dataclasses.replace(self, times=times, elapsed_s=time.monotonic() - clock)


def find_prior(wanted: str | None, problem: Problem, kind: str, space: SearchSpace) -> Prior | None:
    """Returns the prior that a job names; None takes the simulator for measured kernels.

    Raises:
        TunerError: It names none, or one that knows nothing of this space.
    """
    measured = kind == "measured" and problem.backend != REPLAY
    wanted = wanted or (SIMULATOR if measured else NONE)
    if wanted == NONE:
        return None
    if wanted == SIMULATOR:
        if problem.backend == SIMULATOR:
            raise TunerError(
                "prior 'simulator': the simulator cannot be its own prior; expected none or the "
                "path of a recording"
            )
        if problem.backend == REPLAY:
            raise TunerError(
                "prior 'simulator': a recording has no kernel to simulate; expected none or the "
                "path of another recording"
            )
        return Prior(SIMULATOR, {"prior": SIMULATOR})
    if not Path(wanted).is_file():
        raise unknown("prior", wanted, (NONE, SIMULATOR, "the path of a recording"))
    from tuner.backends.recording import read_recording

    clock = time.monotonic()
    try:
        recording = read_recording(wanted)
    except TunerError as error:
        raise TunerError(f"prior {error}") from None
    _check_variants(problem.variants, recording, wanted)
    times = _recorded(space, recording, wanted)
    settings = {"prior": recording.content_hash}
    return Prior(wanted, settings, times, time.monotonic() - clock)


def _recorded(space: SearchSpace, recording: Recording, path: str) -> Times:
    """Returns the recorded time of each config of `space`, matched by values."""
    _check_names(space, recording, path)
    places = {parameter.name: i for i, parameter in enumerate(recording.space.parameters)}
    fixed = _fixed(recording)
    # A parameter of theirs with one value that is none of ours has that value everywhere.
    indices = np.zeros((len(space), len(places)), recording.space.rows.dtype)
    agrees = np.ones(len(space), bool)
    for column, parameter in enumerate(space.parameters):
        ours = space.rows[:, column]
        # The last entry of these is the one that the index INACTIVE, -1, finds.
        if parameter.name in places:
            place = places[parameter.name]
            values = recording.space.parameters[place].values
            index = [values.index(v) if v in values else MISSING for v in parameter.values]
            indices[:, place] = np.array([*index, INACTIVE])[ours]
        elif parameter.name in fixed:
            same = [value == fixed[parameter.name] for value in parameter.values]
            agrees &= np.array([*same, True])[ours]
    row_of = {row.tobytes(): number for number, row in enumerate(recording.space.rows)}
    rows = np.array([row_of.get(row.tobytes(), MISSING) for row in indices])
    rows[~agrees] = MISSING
    times = np.full(len(space), np.nan)
    times[rows >= 0] = recording.time_us[rows[rows >= 0]]
    if not np.any(rows >= 0):
        raise TunerError(f"prior {path}: none of its configs is valid here")
    return times


def _fixed(recording: Recording) -> Mapping[str, Any]:
    fixed = recording.meta.get("fixed")
    return fixed if isinstance(fixed, dict) else {}


def _check_names(space: SearchSpace, recording: Recording, path: str) -> None:
    """Refuses a recording of other parameters; those with one value may be missing anywhere."""
    ours = {parameter.name: len(parameter.values) for parameter in space.parameters}
    theirs = dict.fromkeys(_fixed(recording), 1)
    theirs |= {parameter.name: len(parameter.values) for parameter in recording.space.parameters}
    missing = [name for name, values in ours.items() if values > 1 and name not in theirs]
    surplus = [name for name, values in theirs.items() if values > 1 and name not in ours]
    if missing or surplus or not set(ours) & set(theirs):
        raise TunerError(
            f"prior {path}: its parameters are {', '.join(theirs)}; expected {', '.join(ours)}"
        )


def _check_variants(variants: Mapping[str, Any], recording: Recording, path: str) -> None:
    """Refuses times of another variant."""
    for name, word in variants.items():
        theirs = recording.variants.get(name, word)
        if theirs != word:
            raise TunerError(f"prior {path}: it is of {name}={theirs}; expected {name}={word}")


def _on_simulator(problem: Problem) -> Problem:
    """Returns the same problem for the simulator, without noise."""
    options = {name: value for name, value in problem.options.items() if "noise" not in name}
    return dataclasses.replace(problem, backend=SIMULATOR, options=options)


def _drawn(configs: int, seed: int) -> list[int]:
    if configs <= MAX_SIMULATED:
        return list(range(configs))
    generator = np.random.default_rng(seed)
    return sorted(generator.choice(configs, MAX_SIMULATED, replace=False).tolist())


def _measured(
    space: SearchSpace, rows: Iterator[int], executor: Executor, stop: threading.Event
) -> Iterator[Measurement]:
    pending = 0
    row = next(rows, None)
    while pending or row is not None:
        if stop.is_set():
            raise KeyboardInterrupt
        if row is not None and pending < executor.capacity_ahead:
            executor.submit(Candidate(row, space.config(row)))
            pending, row = pending + 1, next(rows, None)
            continue
        for measurement in executor.wait(POLL_S):
            pending -= 1
            yield measurement


def _time(measurement: Measurement) -> float:
    """What failed is predicted to fail; what took the simulator too long is not known."""
    if measurement.latency_us is not None:
        return measurement.latency_us
    return float("nan") if measurement.status == Status.TIMEOUT else float("inf")
