"""A recording: every config of a search space with the time that it once took."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.backends.base import Status
from tuner.runtime.errors import TunerError
from tuner.space import SearchSpace

__all__ = ["KINDS", "PHASES", "Floats", "Recording"]

Floats = npt.NDArray[np.float64]

KINDS = ("simulated", "measured")
PHASES = ("compile", "bench", "framework")
"""What trying a config costs: compiling it, timing and checking it, everything around that."""

_NOT_IN_TEXTS = ("Cc", "Cs", "Zl", "Zp")
"""Unicode categories: control characters, lone surrogates, separators of lines."""


@dataclass(frozen=True, eq=False)
class Recording:
    """Configs and their times, in the order of the space's rows.

    Attributes:
        space: The recorded configs.
        time_us: Shape (configs,): mean time of one run in microseconds; inf where it failed.
        spread_us: Standard deviation over the repeats; NaN where it is not known.
        status: How each config ended.
        kind: "simulated" or "measured": what the times are.
        device: Where they were taken; may be empty.
        kernel: The kernel's name.
        cost_s: Seconds that trying each config took; 0 where that is not known.
        meta: What else the file says.
        reasons: Why each config failed, empty where it did not; `()` where the file does not say.
        costs_s: `cost_s` by phase, where known; the names are `PHASES`.
        error_percent: Error of each simulated time; NaN, or None for all, where not known.

    Raises:
        TunerError: The parts do not fit together.
    """

    name: str
    space: SearchSpace
    time_us: Floats
    spread_us: Floats
    status: tuple[Status, ...]
    kind: str
    device: str
    kernel: str
    cost_s: Floats
    meta: Mapping[str, Any] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    costs_s: Mapping[str, Floats] = field(default_factory=dict)
    error_percent: Floats | None = None

    def __post_init__(self) -> None:
        configs = len(self.space)
        parts = {"time_us": self.time_us, "spread_us": self.spread_us, "cost_s": self.cost_s}
        parts |= {f"costs_s[{name!r}]": values for name, values in self.costs_s.items()}
        if self.error_percent is not None:
            parts["error_percent"] = self.error_percent
        lengths = {name: len(values) for name, values in parts.items()}
        lengths |= {"status": len(self.status), "reasons": len(self.reasons) or configs}
        for name, length in lengths.items():
            if length != configs:
                raise TunerError(f"{name}: {length} entries, expected one a config ({configs})")
        if self.kind not in KINDS:
            raise TunerError(f"kind: {self.kind!r}, expected {' or '.join(KINDS)}")
        self._check_texts()
        self._check_times()

    def _check_texts(self) -> None:
        """Texts are printed, and stored in a database: what neither takes is refused."""
        texts = [("name", self.name), ("device", self.device), ("kernel", self.kernel)]
        for each in self.space.parameters:
            texts.append(("name of a parameter", each.name))
            words = [value for value in each.values if isinstance(value, str)]
            texts += [("a value of a parameter", word) for word in words]
        for what, text in texts:
            if _unprintable(text):
                raise TunerError(
                    f"{what}: {ascii(text)[:60]}, expected text without control characters and "
                    "lone surrogates"
                )
        for reason in self.reasons:
            if not reason.isascii() and any(unicodedata.category(c) == "Cs" for c in reason):
                raise TunerError(f"reason: {ascii(reason)[:60]} has a lone surrogate")

    def _check_times(self) -> None:
        times, timed = self.time_us, np.isfinite(self.time_us)
        for row in np.flatnonzero(~(times > 0))[:1]:  # NaN too
            raise TunerError(
                f"{self._told(row)}: its time is {times[row] / 1000:g} ms, expected a number above "
                "0, or inf where it failed"
            )
        errors = self.error_percent
        if errors is not None:
            for row in np.flatnonzero(timed & ((errors < 0) | np.isinf(errors)))[:1]:
                raise TunerError(
                    f"{self._told(row)}: error_percent is {errors[row]:g}, expected a number from 0"
                )
        correct = np.array([word == Status.CORRECT for word in self.status])
        for row in np.flatnonzero(timed != correct)[:1]:
            told = "a time" if timed[row] else "no time"
            status = self.status[row].value
            raise TunerError(f"{self._told(row)}: it has status {status!r} and {told}")

    def _told(self, row: int) -> str:
        config = self.space.config(row)
        return "config " + ",".join(f"{name}={value}" for name, value in config.items())

    @property
    def variants(self) -> Mapping[str, Any]:
        """The word of each variant of the workload, as far as the file says."""
        variants = self.meta.get("variants")
        return variants if isinstance(variants, dict) else {}

    @property
    def failed(self) -> int:
        """Configs without a time."""
        return int(np.count_nonzero(~np.isfinite(self.time_us)))

    @property
    def optimum_us(self) -> float:
        """The time of the fastest config; inf where all failed."""
        return float(self.time_us.min())

    @cached_property
    def content_hash(self) -> str:
        """Hash of the configs and what became of them; costs, texts and names do not count."""
        listed = [[p.name, list(p.values)] for p in self.space.parameters]
        default = self.space.config(self.space.default)
        digest = hashlib.sha256(json.dumps([listed, default, self.kind]).encode())
        digest.update(np.ascontiguousarray(self.space.rows, np.int64).tobytes())
        digest.update(np.ascontiguousarray(self.time_us).tobytes())
        digest.update(" ".join(self.status).encode())
        return digest.hexdigest()[:16]

    def error_of(self, row: int) -> float | None:
        """Returns the error of a config's time in percent; None where it is not known."""
        if self.error_percent is None or np.isnan(self.error_percent[row]):
            return None
        return float(self.error_percent[row])

    def rank(self, time_us: float) -> int:
        """Returns the place of a time among all configs: 1 is the fastest."""
        return 1 + int(np.count_nonzero(self.time_us < time_us))

    def reason(self, row: int) -> str:
        """Returns why a config failed, as far as the file says it."""
        told = self.reasons[row] if self.reasons else ""
        return told or "failed when it was recorded"


def _unprintable(text: str) -> bool:
    return any(unicodedata.category(character) in _NOT_IN_TEXTS for character in text)
