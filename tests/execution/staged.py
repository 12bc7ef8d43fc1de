"""A service whose candidates are compiled in one kind of worker and timed in another."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable

from tuner.backends import Candidate, Measurement, Status
from tuner.execution.serving import write_answer


def load(problem: bytes) -> Callable[[int, bytes, Callable[[str], None]], bytes]:
    def answer(number: int, content: bytes, begins: Callable[[str], None]) -> bytes:
        candidate: Candidate = pickle.loads(content)
        cores = os.environ.get("NEURON_RT_VISIBLE_CORES", "")
        if candidate.stage == "compile":
            begins("compile")
            if candidate.config.get("fault") == "raises":
                failed = Measurement(number, Status.COMPILE, "measured", reason="NCC_X1: no")
                return write_answer(failed)
            made = f"{candidate.config['columns']} compiled on cores {cores or 'none'}"
            host_s = {"compile": 1.5}
            done = Measurement(
                number, Status.CORRECT, "measured", host_s=host_s, artifact=made.encode()
            )
            return write_answer(done)
        begins("measure")
        assert candidate.artifact is not None
        figures = {"made": candidate.artifact.decode(), "core": cores}
        latency_us = float(candidate.artifact.split()[0])
        return write_answer(
            Measurement(
                number,
                Status.CORRECT,
                "measured",
                latency_us,
                figures=figures,
                host_s={"compile": 0.0, "measure": 0.5},
            )
        )

    return answer
