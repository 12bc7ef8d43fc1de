"""Backends: how a config is compiled, checked and timed."""

from __future__ import annotations

from tuner.backends.base import (
    Backend,
    Candidate,
    CandidateError,
    Capabilities,
    Measurement,
    Mismatch,
    Problem,
    Stage,
    Status,
    evaluate,
    on_device,
)
from tuner.backends.repeats import Repeats, Summary, summarize
from tuner.runtime.errors import TunerError, unknown

__all__ = [
    "BACKENDS",
    "NEURON",
    "REPLAY",
    "Backend",
    "Candidate",
    "CandidateError",
    "Capabilities",
    "Measurement",
    "Mismatch",
    "Problem",
    "Repeats",
    "Stage",
    "Status",
    "Summary",
    "evaluate",
    "load_backend",
    "make_backend",
    "on_device",
    "summarize",
]

REPLAY = "replay"
NEURON = "neuron"
BACKENDS = ("simulator", NEURON, REPLAY)


def make_backend(problem: Problem) -> Backend:
    """Returns the backend that a problem names.

    Raises:
        TunerError: There is no such backend, device or option.
    """
    if problem.backend not in BACKENDS:
        raise unknown("backend", problem.backend, BACKENDS)
    if problem.backend == REPLAY:
        from tuner.backends.replay import ReplayBackend

        return _with_noise(ReplayBackend(problem), problem)
    if problem.backend == NEURON:
        from tuner.backends.neuron.backend import NeuronBackend

        return NeuronBackend(problem)
    from tuner.backends.simulator import SimulatorBackend

    return _with_noise(SimulatorBackend(problem), problem)


def _with_noise(backend: Backend, problem: Problem) -> Backend:
    share = float(problem.options.get("noise", 0.0))
    if share == 0.0:
        return backend
    from tuner.backends.noise import Noisy

    return Noisy(backend, share, int(problem.options.get("noise_seed", 0)))


def load_backend(problem: Problem, made: Backend | None = None) -> Backend:
    """Returns a problem's backend, ready for candidates. Runs the code of the kernel's file.

    Args:
        problem: What it is for.
        made: The backend, where it is not the one that `make_backend` makes.

    Raises:
        TunerError: There is no such backend, or the kernel's file cannot be loaded.
    """
    backend = made or make_backend(problem)
    try:
        backend.prepare()
    except TunerError:
        raise
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__}: {error}"
        raise TunerError(f"{problem.kernel.file}: cannot be loaded: {what}") from None
    return backend
