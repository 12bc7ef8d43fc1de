"""A backend that stands for hardware: the simulator's times, stretched and called measured."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tuner import backends
from tuner.backends import Backend, Capabilities, Problem
from tuner.backends.simulator import SimulatorBackend
from tuner.job import preparing

STRETCH = 2.0


class Hardware(SimulatorBackend):
    """Measures."""

    def measure(self, artifact: Any) -> tuple[float | None, dict[str, Any]]:
        latency_us, figures = super().measure(artifact)
        return None if latency_us is None else STRETCH * latency_us, figures

    def fingerprint(self) -> dict[str, Any]:
        return {**super().fingerprint(), "backend": "hardware"}

    def capabilities(self) -> Capabilities:
        return dataclasses.replace(super().capabilities(), kind="measured")


def install_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the backend known as "hardware", in this process."""
    before = backends.make_backend

    def make(problem: Problem) -> Backend:
        return Hardware(problem) if problem.backend == "hardware" else before(problem)

    monkeypatch.setattr(backends, "make_backend", make)
    monkeypatch.setattr(preparing, "make_backend", make)
