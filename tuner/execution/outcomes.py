"""What becomes of a candidate whose child failed to answer."""

from __future__ import annotations

import signal
from collections.abc import Mapping

from tuner.backends import Measurement, Status
from tuner.process import START, Failure

__all__ = ["from_outside", "hit", "told", "verdict"]

MAX_SAID = 200
_FOREIGN_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)


def from_outside(failure: Failure) -> bool:
    """Whether the candidate is not to blame: somebody killed its worker, or it did not start."""
    return hit(failure) or (failure.phase == START and failure.kind != "problem")


def hit(failure: Failure) -> bool:
    """Whether somebody killed a child or its guard."""
    return failure.kind == "lost" or (failure.kind == "signal" and failure.code in _FOREIGN_SIGNALS)


def told(failure: Failure, deadlines: Mapping[str, float]) -> str:
    """Says in one line how a child failed."""
    kind, phase = failure.kind, failure.phase
    where = f"in {phase}"
    if kind == "timeout":
        limit_s = deadlines.get(phase, deadlines[""])
        return f"took longer than {limit_s:g} s {where}"
    if kind == "memory":
        return f"memory: more than a worker may have, {where}"
    if kind == "problem":
        return f"the kernel's file cannot be loaded: {failure.said}"
    said = _last_line(failure.said)
    if kind == "signal":
        return f"killed by {_signal_name(failure.code)} {where}{said}"
    if kind == "exit":
        return f"ended with code {failure.code} {where}{said}"
    return f"its process was killed {where}{said}" if kind == "lost" else f"no start{said}"


def verdict(
    number: int, failure: Failure, kind: str, deadlines: Mapping[str, float]
) -> Measurement:
    """Returns the final measurement of a candidate that is to blame for a failure.

    Args:
        number: The candidate's.
        failure: What its child did.
        kind: "simulated" or "measured".
        deadlines: Seconds by phase, as they were given.
    """
    status = Status.COMPILE if failure.phase == "compile" else Status.RUNTIME
    if failure.kind == "timeout":
        status = Status.TIMEOUT
    reason = told(failure, deadlines)
    return Measurement(number, status, kind, reason=reason, host_s={failure.phase: failure.took_s})


def _last_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return f": {lines[-1][:MAX_SAID]}" if lines else ""


def _signal_name(number: int | None) -> str:
    try:
        return signal.Signals(number or 0).name
    except ValueError:
        return f"signal {number}"
