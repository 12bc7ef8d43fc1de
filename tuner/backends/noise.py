"""Made noise: lets the simulator and replayed recordings behave like hardware whose times vary."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuner.backends.base import Backend, Candidate, Capabilities, Mismatch
from tuner.runtime.rules import Config

__all__ = ["Noisy", "noise_factor"]

OUTLIERS = 0.05
"""Share of the samples that something disturbs."""
OUTLIER_SCALE = 10.0
"""By how many times the noise's share those are slower, on average."""


def noise_factor(share: float, seed: int, config: Config, repeat: int) -> float:
    """Returns what one sample's time is multiplied with.

    It is log-normal with median 1 and `share` as standard deviation of its logarithm. One sample in
    twenty is slower on top of it, by an exponential with mean `10 * share`, as where another
    process interferes. It depends on the arguments alone, not on who asks or when.
    """
    key = json.dumps([seed, config, repeat], sort_keys=True).encode()
    generator = np.random.default_rng(int.from_bytes(hashlib.sha256(key).digest()[:16]))
    factor = math.exp(share * generator.standard_normal())
    if generator.random() < OUTLIERS:
        factor *= 1 + OUTLIER_SCALE * share * generator.standard_exponential()
    return factor


@dataclass
class _Artifact:
    """What the backend made of a config, its exact time once known, and the next sample's
    number.
    """

    inner: Any
    config: Config
    repeat: int
    exact: tuple[float | None, dict[str, Any]] | None = None


class Noisy:
    """A backend with exact times, to which it adds noise that can be repeated.

    Args:
        inner: The backend.
        share: Standard deviation of the noise as a share of the time, above 0.
        seed: Any whole number.
    """

    def __init__(self, inner: Backend, share: float, seed: int) -> None:
        self._inner = inner
        self._share = share
        self._seed = seed

    def prepare(self) -> None:
        """Prepares the backend."""
        self._inner.prepare()

    def compile(self, candidate: Candidate) -> _Artifact:
        """Compiles with the backend."""
        first = candidate.repeats.first if candidate.repeats else 0
        return _Artifact(self._inner.compile(candidate), candidate.config, first)

    def verify(self, candidate: Candidate) -> Mismatch | None:
        """Checks with the backend."""
        return self._inner.verify(candidate)

    def measure(self, artifact: _Artifact) -> tuple[float | None, dict[str, Any]]:
        """Returns the exact time, found once an artifact, with the noise of the next sample."""
        if artifact.exact is None:
            artifact.exact = self._inner.measure(artifact.inner)
        latency_us, figures = artifact.exact
        if latency_us is None:
            return None, figures
        factor = noise_factor(self._share, self._seed, artifact.config, artifact.repeat)
        artifact.repeat += 1
        return latency_us * factor, figures

    def fingerprint(self) -> dict[str, Any]:
        """Tells noisy times from exact ones."""
        return {**self._inner.fingerprint(), "noise": self._share}

    def capabilities(self) -> Capabilities:
        """The backend's, but its times vary."""
        return dataclasses.replace(self._inner.capabilities(), noisy=True)
