"""A tuning job as asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from tuner.backends import NEURON
from tuner.backends.neuron.settings import AUTO, TIMINGS
from tuner.execution import LOCAL
from tuner.runtime.errors import TunerError, unknown
from tuner.search import DEFAULT, full_name
from tuner.search.storage import checked_url

__all__ = ["NEURON_OPTIONS", "SERIAL", "VERIFY", "Job", "option_words", "other_options"]

SERIAL = "serial"
VERIFY = ("none", "best", "all")
MAX_S = 1e7
MAX_REPEATS = 1000
"""More tell a median no better than anybody needs, and their statistics take longer than they."""


@dataclass(frozen=True)
class Job:
    """A tuning job as asked for.

    Attributes:
        kernel: Name of a bundled search space, or the path of a search space file; of backend
            "replay" the path of a recording.
        shape: Sizes by dim and words by variant (the default where one is left out), or their
            text, e.g. "M=1024,K=4096,N=4096"; none of a recording.
        dtype: The workload's dtype; None takes the first of the search space.
        trials: Configs to try, the default config among them.
        seed: Same seed, settings and workers: same trials.
        workers: Ray workers.
        ray: "local", the address of a running cluster, or "serial" for this process alone.
        policy: The simulator's compiler policy, with an era as in "beta1:2.20" if need be.
        cores_busy: Cores that share the HBM bandwidth, of the simulator.
        on_overflow: "error", "spill" or "ignore" instead of the policy's own.
        verify: Which configs are checked against the reference: "none", "best" or "all".
        results: Folder of the database.
        resume: Go on with the newest study of this workload.
        timeout_s: Wall-clock seconds that each phase of a config may take: compiling, checking,
            timing.
        compile_timeout_s: The same for compiling alone; None for no other, 600 of backend "neuron",
            whose `timeout_s` is that of one program: each sample is taken by one.
        memory_gb: GiB that a worker's child may have; None for half of its machine.
        max_s: Wall-clock seconds that the search may take, with the runs before a resume: no config
            is begun later; the start of workers, a prior and the last check do not count.
        target_us: Ends the search as soon as a correct config takes at most so long (us).
        patience: Ends the search after so many trials in a row without one that is more than 0.1 %
            faster.
        warm_start: Tries the best configs of the nearest other workloads in the database right
            after the default; a resumed study keeps the ones that it was started with.
        prior: Cheap times that guide the sampler: "simulator", the path of a recording, or "none".
            None takes the simulator where the backend measures kernels.
        noise: Noise that is added to exact times, as a share of them; 0 adds none.
        repeats: Samples of one config at most, where times vary.
        remeasure: Fastest configs that are measured again, in turns, before one of them is named
            the best; only where times vary, 0 for none.
        nki_python: Interpreter with AWS's `nki`, of backend "neuron"; None is this one.
        nrtpy_python: Interpreter with `nrtpy` or `spike`, of backend "neuron"; None is that with
            `nki`.
        beta1_python: Interpreter with `neuronxcc.nki`, of backend "neuron"; None is that with
            `nki`.
        timing: How backend "neuron" times a kernel: one of `TIMINGS`; "auto" takes the first of
            them that can be used.
        lnc: Physical cores to a logical one, 1 or 2, of backend "neuron".
        exclusive_hbm: Leaves the neighbour of a timed core idle, which shares its HBM, of backend
            "neuron".
        storage: URL of a PostgreSQL database through which drivers with a results folder each share
            the study, e.g. "postgresql://user@host/database"; without a password.
    """

    kernel: str
    shape: str | Mapping[str, int | str]
    dtype: str | None = None
    device: str = "trn2"
    trials: int = 100
    seed: int = 0
    sampler: str = DEFAULT
    workers: int = 2
    ray: str = LOCAL
    backend: str = "simulator"
    policy: str = "nki"
    cores_busy: int = 1
    on_overflow: str | None = None
    verify: str = "best"
    results: str = "results"
    resume: bool = False
    timeout_s: float = 60.0
    compile_timeout_s: float | None = None
    memory_gb: float | None = None
    max_s: float | None = None
    target_us: float | None = None
    patience: int | None = None
    warm_start: bool = True
    prior: str | None = None
    noise: float = 0.0
    repeats: int = 20
    remeasure: int = 5
    nki_python: str | None = None
    nrtpy_python: str | None = None
    beta1_python: str | None = None
    timing: str = AUTO
    lnc: int = 1
    exclusive_hbm: bool = False
    storage: str | None = None

    def __post_init__(self) -> None:
        counts = {"trials": 1, "seed": 0, "workers": 1, "repeats": 1, "remeasure": 0}
        for name, least in counts.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise TunerError(f"{name}={value!r}: expected a whole number from {least}")
        if self.repeats > MAX_REPEATS:
            raise TunerError(
                f"repeats={self.repeats!r}: expected a whole number up to {MAX_REPEATS}"
            )
        self._check_limits()
        self._check_stopping()
        self._check_neuron()
        noise: Any = self.noise
        if not (isinstance(noise, int | float) and 0 <= noise <= 1):
            raise TunerError(f"noise={noise!r}: expected a share from 0 to 1, e.g. 0.03")
        if self.verify not in VERIFY:
            raise unknown("choice of verify", self.verify, VERIFY)
        object.__setattr__(self, "sampler", full_name(self.sampler))
        if self.storage is not None:
            checked_url(self.storage)

    def _check_limits(self) -> None:
        for name, most in (("timeout_s", MAX_S), ("compile_timeout_s", MAX_S), ("memory_gb", 1e6)):
            value: Any = getattr(self, name)
            if value is None and name != "timeout_s":
                continue
            if not (isinstance(value, int | float) and 0 < value <= most):  # nor NaN
                raise TunerError(f"{name}={value!r}: expected a number above 0, up to {most:g}")

    def _check_stopping(self) -> None:
        for name in ("max_s", "target_us"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and value > 0):
                raise TunerError(f"{name}={value!r}: expected a number above 0")
        patience: Any = self.patience
        if patience is not None and not (isinstance(patience, int) and patience > 0):
            raise TunerError(f"patience={patience!r}: expected a whole number from 1")

    def _check_neuron(self) -> None:
        for name, default in NEURON_OPTIONS.items():
            if getattr(self, name) != default and self.backend != NEURON:
                raise TunerError(f"{name} is an option of backend {NEURON}, not of {self.backend}")
        if self.lnc not in (1, 2):
            raise TunerError(f"lnc={self.lnc!r}: expected 1 or 2 cores to a logical one")
        if self.timing not in TIMINGS:
            raise unknown("timing", self.timing, TIMINGS)


NEURON_OPTIONS: dict[str, Any] = {
    "nki_python": None,
    "nrtpy_python": None,
    "beta1_python": None,
    "timing": AUTO,
    "lnc": 1,
    "exclusive_hbm": False,
}
"""Attributes of a job that only backend "neuron" has, and their defaults."""


def other_options(job: Job, stated: Collection[str]) -> list[str]:
    """Returns the command line's options for what is neither `stated` nor the default.

    The storage is left out: who repeats a job need not have it, nor know where it is.
    """
    stated = {*stated, "storage"}
    fields = [field for field in dataclasses.fields(Job) if field.name not in stated]
    values = {field.name: getattr(job, field.name) for field in fields}
    return option_words({f.name: values[f.name] for f in fields if values[f.name] != f.default})


def option_words(options: Mapping[str, Any]) -> list[str]:
    """Returns options as the command line takes them."""
    words = []
    for name, value in options.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", str(value)]
    return words
