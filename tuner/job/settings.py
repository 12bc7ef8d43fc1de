"""A tuning job as asked for, and everything looked up that it names."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.backends import REPLAY, Backend, Problem, make_backend, on_device
from tuner.database import StudyInfo, table_kernel
from tuner.execution import LOCAL
from tuner.kernel import read_kernel
from tuner.neuroncore import device
from tuner.runtime.errors import TunerError, unknown
from tuner.runtime.rules import DTYPE_BYTES, Config
from tuner.search import DEFAULT, full_name
from tuner.search.storage import checked_url
from tuner.space import Argument, Definition, SearchSpace, Workload, find, parse_sizes

__all__ = [
    "ENDS",
    "SERIAL",
    "VERIFY",
    "Job",
    "Prepared",
    "fingerprint",
    "noise_options",
    "option_words",
    "other_options",
    "prepare",
    "repeat_settings",
]

SERIAL = "serial"
ENDS = "ends"
"""Setting of a study: what ends it; it goes on with other ones."""
VERIFY = ("none", "best", "all")
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
        compile_timeout_s: The same for compiling alone; None for no other.
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
        if not self.timeout_s > 0:  # nor NaN
            raise TunerError(f"timeout_s={self.timeout_s!r}: expected a number above 0")
        self._check_stopping()
        noise: Any = self.noise
        if not (isinstance(noise, int | float) and 0 <= noise <= 1):
            raise TunerError(f"noise={noise!r}: expected a share from 0 to 1, e.g. 0.03")
        if self.verify not in VERIFY:
            raise unknown("choice of verify", self.verify, VERIFY)
        object.__setattr__(self, "sampler", full_name(self.sampler))
        if self.storage is not None:
            checked_url(self.storage)

    def _check_stopping(self) -> None:
        for name in ("max_s", "target_us", "compile_timeout_s", "memory_gb"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and value > 0):
                raise TunerError(f"{name}={value!r}: expected a number above 0")
        patience: Any = self.patience
        if patience is not None and not (isinstance(patience, int) and patience > 0):
            raise TunerError(f"patience={patience!r}: expected a whole number from 1")


@dataclass(frozen=True)
class Prepared:
    """A job with everything looked up that it names.

    Attributes:
        definition: None where a recording is replayed.
    """

    job: Job
    definition: Definition | None
    workload: Workload
    space: SearchSpace
    problem: Problem
    info: StudyInfo

    @property
    def space_file(self) -> Path:
        """Where the search space is from."""
        return Path(self.job.kernel) if self.definition is None else self.definition.path

    @property
    def noisy(self) -> bool:
        """Whether the times of one config vary."""
        return "repeats" in self.info.settings

    def verification_arguments(self, config: Config) -> tuple[Argument, ...]:
        """Returns the tensors on which a config is checked."""
        if self.definition is None:
            raise TunerError(f"{self.space_file}: a recording has no numbers to check")
        small = self.definition.verification_workload(self.workload, config)
        return self.definition.arguments(small)


def prepare(job: Job) -> Prepared:
    """Looks up everything that a job names.

    Raises:
        TunerError: A name, size or file in it is wrong.
    """
    if job.backend == REPLAY:
        from tuner.job.replaying import prepare_replay

        return prepare_replay(job)
    definition = find(job.kernel)
    sizes = parse_sizes(job.shape) if isinstance(job.shape, str) else job.shape
    workload = definition.workload(sizes, job.dtype)
    core = device(job.device)
    space = SearchSpace(definition.rules, definition.scope(workload, core.facts()))
    problem = _problem(
        job, definition, definition.arguments(workload), definition.variants_of(workload)
    )
    backend = make_backend(problem)
    flops = definition.flops_of(workload)
    moved = definition.bytes_moved_at_least(workload)
    info = StudyInfo(
        kernel=definition.name,
        sizes=dict(workload.sizes),
        dtype=workload.dtype,
        device=core.name,
        backend=job.backend,
        kind=backend.capabilities().kind,
        fingerprint=_fingerprint(backend, definition),
        rules={"kernel": table_kernel(definition), "device": core.facts()},
        default=space.config(space.default),
        settings={"seed": job.seed, "sampler": job.sampler, ENDS: _ends(job)}
        | repeat_settings(job, backend),
        command=_command(job, workload),
        roofline_us=core.roofline_us(flops, moved, DTYPE_BYTES[workload.dtype]),
    )
    return Prepared(job, definition, workload, space, problem, info)


def fingerprint(job: Job) -> dict[str, Any]:
    """Returns the fingerprint that a job's study would have now.

    Raises:
        TunerError: A name or file in the job is wrong; its sizes are not looked at.
    """
    definition = find(job.kernel)
    return _fingerprint(make_backend(_problem(job, definition, (), {})), definition)


def _fingerprint(backend: Backend, definition: Definition) -> dict[str, Any]:
    return {**backend.fingerprint(), "space_hash": definition.space_hash}


def _problem(
    job: Job,
    definition: Definition,
    arguments: tuple[Argument, ...],
    variants: Mapping[str, str],
) -> Problem:
    return Problem(
        kernel=read_kernel(definition.kernel_file, definition.entry, definition.reference),
        arguments=arguments,
        **on_device(job.device),  # type: ignore[arg-type]
        backend=job.backend,
        reference=definition.reference,
        roundings=definition.roundings,
        variants=variants,
        options={
            "policy": job.policy,
            "cores_busy": job.cores_busy,
            "on_overflow": job.on_overflow,
            **noise_options(job),
        },
    )


def _ends(job: Job) -> dict[str, Any]:
    return {
        name: getattr(job, name) for name in ("trials", "max_s", "target_us", "patience", "verify")
    }


def noise_options(job: Job) -> dict[str, Any]:
    """Returns the options of a problem that add noise to exact times."""
    return {"noise": job.noise, "noise_seed": job.seed} if job.noise else {}


def repeat_settings(job: Job, backend: Backend) -> dict[str, Any]:
    """Returns the settings of a study whose times vary."""
    if not backend.capabilities().noisy:
        return {}
    return {"repeats": job.repeats, "remeasure": job.remeasure}


def _command(job: Job, workload: Workload) -> str:
    words = ["nki-tuner", "tune", job.kernel, "--shape", workload.shape, "--dtype", workload.dtype]
    words += ["--device", job.device, "--trials", str(job.trials)]
    stated = ("kernel", "shape", "dtype", "device", "trials", "resume")
    return shlex.join([*words, *other_options(job, stated)])


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
