"""The replay backend: answers with the times of a recording."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

from tuner.backends.base import Candidate, CandidateError, Capabilities, Mismatch, Problem, Status
from tuner.backends.recording import Recording, read_recording
from tuner.runtime.errors import TunerError

__all__ = ["ReplayBackend"]


class ReplayBackend:
    """Looks configs up in a recording; runs and checks nothing.

    Options: `recording`, a `Recording` or the path of a file that holds one.

    Raises:
        TunerError: There is no recording.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        if "recording" not in problem.options:
            raise TunerError("the replay backend needs a recording")

    @cached_property
    def _recording(self) -> Recording:
        given = self._problem.options["recording"]
        return given if isinstance(given, Recording) else read_recording(given)

    def prepare(self) -> None:
        """Reads the recording where that is still to be done."""
        len(self._recording.space)

    def compile(self, candidate: Candidate) -> int:
        """Returns the config's row in the recording, raises what became of it where it failed."""
        try:
            row = self._recording.space.row(candidate.config)
        except KeyError:
            raise TunerError(f"not in the recording: {dict(candidate.config)}") from None
        status = self._recording.status[row]
        if status != Status.CORRECT:
            raise CandidateError(status, self._recording.reason(row))
        return row

    def verify(self, candidate: Candidate) -> Mismatch | None:
        """Raises TunerError: there is no kernel whose numbers could be checked."""
        raise TunerError("a recording has no numbers to check")

    def measure(self, artifact: int) -> tuple[float | None, dict[str, Any]]:
        """Returns the recorded time, what it cost, and its error and spread where they are
        known.
        """
        recording = self._recording
        figures = {"cost_s": float(recording.cost_s[artifact])}
        spread_us = float(recording.spread_us[artifact])
        if math.isfinite(spread_us):
            figures["recorded_spread_us"] = spread_us
        error_percent = recording.error_of(artifact)
        if error_percent is not None:
            figures["error_percent"] = error_percent
        return float(recording.time_us[artifact]), figures

    def fingerprint(self) -> dict[str, Any]:
        """Names the recording by its content."""
        return {
            "backend": "replay",
            "device": self._problem.device,
            "recording_hash": self._recording.content_hash,
        }

    def capabilities(self) -> Capabilities:
        """Times of the kind that was recorded; one candidate at a time."""
        return Capabilities(self._recording.kind, 1)
