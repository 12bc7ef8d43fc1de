"""Looks up everything that a job names: kernel, space, device, backend."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.backends import REPLAY, Backend, Problem, make_backend, on_device
from tuner.database import StudyInfo, table_kernel
from tuner.job.neuron import neuron_options, pinned
from tuner.job.settings import Job, other_options
from tuner.kernel import read_kernel
from tuner.neuroncore import device
from tuner.runtime.errors import TunerError
from tuner.runtime.rules import DTYPE_BYTES, Config
from tuner.space import Argument, Definition, SearchSpace, Workload, find, parse_sizes

__all__ = ["ENDS", "Prepared", "fingerprint", "noise_options", "prepare", "repeat_settings"]

ENDS = "ends"
"""Setting of a study: what ends it; it goes on with other ones."""


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
    arguments, variants = definition.arguments(workload), definition.variants_of(workload)
    problem = pinned(job, _problem(job, definition, arguments, variants))
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
            **neuron_options(job),
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
