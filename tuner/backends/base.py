"""What a backend is: it compiles a config of a kernel, checks its numbers, and times it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from tuner.backends.repeats import Repeats, summarize
from tuner.kernel import MODULE, KernelSource
from tuner.neuroncore import Device, device, device_from_source, device_source
from tuner.runtime.rules import Config
from tuner.space import Argument

__all__ = [
    "Backend",
    "Candidate",
    "CandidateError",
    "Capabilities",
    "Measurement",
    "Mismatch",
    "Problem",
    "Stage",
    "Status",
    "evaluate",
    "on_device",
]

MAX_REASON = 500
ALL, COMPILE = "all", "compile"


class Status(StrEnum):
    """How a trial ended; the words of the T4 results format."""

    CORRECT = "correct"
    CONSTRAINTS = "constraints"
    COMPILE = "compile"
    RUNTIME = "runtime"
    TIMEOUT = "timeout"
    CORRECTNESS = "correctness"


@dataclass(frozen=True)
class Problem:
    """Everything that the trials of a job have in common; this is what travels to a worker.

    Attributes:
        arguments: The kernel's tensors for the workload.
        variants: Keywords of the kernel and its reference that belong to the workload.
        roundings: Roundings of a number on its way through the kernel that its check allows for.
        reference: Name of the numpy function in the kernel's file that says what is right.
        device: Its name.
        device_source: The text of a user's device file, which workers may not see; None for a
            device that comes with the package.
        options: Settings of the backend, e.g. the simulator's compiler policy.
    """

    kernel: KernelSource
    arguments: tuple[Argument, ...]
    device: str
    backend: str = "simulator"
    reference: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    device_source: str | None = None
    variants: Mapping[str, str] = field(default_factory=dict)
    roundings: int = 4

    def keywords(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Returns what the kernel is called with for a config, besides its tensors."""
        return {**self.variants, **config}

    @property
    def core(self) -> Device:
        """The device.

        Raises:
            TunerError: There is no such device.
        """
        if self.device_source is None:
            return device(self.device)
        return device_from_source(self.device_source, self.device)


def on_device(name: str) -> dict[str, str | None]:
    """Returns the fields `device` and `device_source` of a problem on a device or device file."""
    if not name.endswith(".toml"):
        return {"device": name, "device_source": None}
    return {"device": device(name).name, "device_source": device_source(name)}


@dataclass(frozen=True)
class Candidate:
    """One config to try.

    Attributes:
        number: Chosen by who asks; comes back with the measurement.
        verify_with: Tensors of the workload to check the numbers on; None checks nothing.
        timed: Whether to time it; a candidate may be checked only.
        limit_us: A backend need not time what it can show to be slower than this: it then gives no
            latency but a lower bound, figure `bound_us`.
        repeats: How many samples to take where the backend's times vary; None takes one.
        stage: What of it to do: "all", or only "compile" or "time" where the backend's stages run
            in workers of different kinds.
        artifact: What its stage "compile" made, for the stage "time".
    """

    number: int
    config: Config
    verify_with: tuple[Argument, ...] | None = None
    timed: bool = True
    limit_us: float | None = None
    repeats: Repeats | None = None
    stage: str = ALL
    artifact: bytes | None = None


@dataclass(frozen=True)
class Mismatch:
    """Where a kernel's result is furthest from its reference."""

    error: float
    tolerance: float
    at: str

    def __str__(self) -> str:
        return f"{self.at}: relative error {self.error:.3g}, tolerance {self.tolerance:.3g}"


@dataclass(frozen=True)
class Measurement:
    """What came back of a candidate.

    Attributes:
        kind: "simulated" or "measured".
        latency_us: Time of one run in microseconds; None unless the status is `correct` and it was
            timed: it need not be where it is slower than the candidate's limit. Of repeated
            samples their median.
        reason: Why it failed, in one line.
        figures: What else the backend says: busy times, bytes, memory; of repeated samples
            `samples`, `spread_us` and `ci_us` as in `Summary`, all `samples_us`, and what the
            backend says alike of each.
        verified: Whether its numbers were checked and right.
        host_s: Wall-clock seconds of the worker by phase.
        artifact: Of a candidate whose stage was "compile": what its stage "time" needs. It is
            `correct` then, without a time.
        again: Whether another try may end otherwise: its machine lacked something.
    """

    number: int
    status: Status
    kind: str
    latency_us: float | None = None
    reason: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)
    verified: bool = False
    host_s: Mapping[str, float] = field(default_factory=dict)
    artifact: bytes | None = None
    again: bool = False


class CandidateError(Exception):
    """Raised by a backend that knows how a candidate ends, whatever it was doing with it.

    Args:
        status: How it ends.
        reason: Why, in one line.
        again: Whether that is not the candidate's fault, and another try may end otherwise.
    """

    def __init__(self, status: Status, reason: str, again: bool = False) -> None:
        super().__init__(reason)
        self.status, self.again = status, again


@dataclass(frozen=True)
class Stage:
    """A part of a candidate's way that one kind of worker does.

    Attributes:
        name: "all", or "compile" and then "time".
        resources: What Ray must give such a worker besides a CPU, e.g. {"neuron_cores": 1}.
    """

    name: str = ALL
    resources: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Capabilities:
    """What a backend's times are and how its work is best handed out.

    Attributes:
        kind: "simulated" or "measured".
        batch: Candidates that a worker takes at a time.
        noisy: Whether the time of one config varies from sample to sample.
        stages: The stages of a candidate, in order; workers of each kind work side by side.
        available: What this machine has of the resources that stages need.
    """

    kind: str
    batch: int
    noisy: bool = False
    stages: tuple[Stage, ...] = (Stage(),)
    available: Mapping[str, float] = field(default_factory=dict)


class Backend(Protocol):
    """A way to compile and time the configs of one problem; cheap to make, runs no kernel code
    before `prepare`.
    """

    def prepare(self) -> None:
        """Loads what every candidate needs; raises what makes all of them fail."""

    def compile(self, candidate: Candidate) -> Any:
        """Returns an artifact to time; raises whatever the compiler or the kernel raises.

        Of a backend with several stages the artifact is `bytes`; where the candidate brings one,
        that is what `measure` gets.
        """

    def verify(self, candidate: Candidate) -> Mismatch | None:
        """Runs the config on random numbers of `candidate.verify_with`; None means it is right."""

    def measure(self, artifact: Any) -> tuple[float | None, dict[str, Any]]:
        """Returns one sample of the latency in microseconds, and further figures."""

    def fingerprint(self) -> dict[str, Any]:
        """Returns everything that the times depend on besides workload and config."""

    def capabilities(self) -> Capabilities:
        """Returns what the backend can do."""


def evaluate(
    backend: Backend, candidate: Candidate, begins: Callable[[str], None] = lambda _: None
) -> Measurement:
    """Compiles, checks and times a candidate; a failure becomes a status with its reason.

    Args:
        backend: Is prepared.
        candidate: What to do.
        begins: Told the name of each phase as it begins: "compile", "verify", "measure".
    """
    kind = backend.capabilities().kind
    host_s: dict[str, float] = {}
    phase, clock = "compile", time.perf_counter()
    begins(phase)
    try:
        artifact: Any = candidate.artifact
        if artifact is None and (candidate.timed or candidate.stage == COMPILE):
            artifact = backend.compile(candidate)
        clock = _lap(host_s, phase, clock)
        if candidate.stage == COMPILE:
            return Measurement(
                candidate.number, Status.CORRECT, kind, host_s=host_s, artifact=artifact
            )
        phase = "verify"
        begins(phase)
        if candidate.verify_with is not None:
            mismatch = backend.verify(candidate)
            clock = _lap(host_s, phase, clock)
            if mismatch is not None:
                status, reason = Status.CORRECTNESS, str(mismatch)
                return Measurement(candidate.number, status, kind, reason=reason, host_s=host_s)
        phase = "measure"
        begins(phase)
        latency_us, figures = _sampled(backend, artifact, candidate)
        _lap(host_s, phase, clock)
    except (Exception, SystemExit) as error:
        _lap(host_s, phase, clock)
        status, again = Status.COMPILE if phase == "compile" else Status.RUNTIME, False
        if isinstance(error, CandidateError):
            status, again = error.status, error.again
        return Measurement(
            candidate.number, status, kind, reason=_reason(error), host_s=host_s, again=again
        )
    bound_us = figures.get("bound_us")
    told = f"not timed: takes at least {bound_us:.1f} us, which is not the best" if bound_us else ""
    return Measurement(
        candidate.number,
        Status.CORRECT,
        kind,
        latency_us,
        reason=told,
        figures=figures,
        verified=candidate.verify_with is not None,
        host_s=host_s,
    )


def _sampled(
    backend: Backend, artifact: Any, candidate: Candidate
) -> tuple[float | None, dict[str, Any]]:
    """Times a candidate, as often as it is worth where times vary."""
    if not candidate.timed:
        return None, {}
    latency_us, figures = backend.measure(artifact)
    rule = candidate.repeats
    if rule is None or latency_us is None or not backend.capabilities().noisy:
        return latency_us, figures
    samples = [latency_us]
    while not rule.enough(samples):
        latency_us, further = backend.measure(artifact)
        assert latency_us is not None  # an artifact is hopeless from the start or never
        samples.append(latency_us)
        # What is of one sample alone, e.g. its percentiles, does not belong to their median.
        figures = {n: v for n, v in figures.items() if n in further and further[n] == v}
    told = summarize(samples)
    return told.median_us, {**figures, **told.figures(), "samples_us": samples}


def _lap(host_s: dict[str, float], phase: str, since: float) -> float:
    now = time.perf_counter()
    host_s[phase] = now - since
    return now


def _reason(error: BaseException) -> str:
    """One line: what was raised, and the kernel's line that raised it or called what did."""
    frames = [
        (frame.f_globals.get("__name__", ""), frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    kernel = [frame for frame in frames if frame[0].startswith(MODULE)]
    ours = type(error).__module__.startswith("tuner.")
    where = ""
    if kernel or not ours:  # without a kernel's line, our own message says it all
        _, file, line = (kernel or frames)[-1]
        where = f" ({file.rpartition('/')[2]}:{line})"
    text = " ".join(str(error).split()) or type(error).__name__
    name = "" if ours else f"{type(error).__name__}: "
    return f"{name}{text}"[: MAX_REASON - len(where)] + where
