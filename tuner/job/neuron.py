"""What a job hands to the neuron backend."""

from __future__ import annotations

from typing import Any

from tuner.backends import NEURON, Problem
from tuner.backends.neuron.probe import interpreter, probe
from tuner.backends.neuron.settings import AUTO, BETA1
from tuner.execution import LOCAL
from tuner.job.settings import NEURON_OPTIONS, SERIAL, Job
from tuner.runtime.errors import TunerError

__all__ = ["deadlines", "neuron_options", "pinned"]

COMPILE_S = 600.0
"""Compiling takes minutes."""
MARGIN_S = 30.0
GENERATION_2 = "NeuronCore-v2"
_PYTHONS = ("nki_python", "nrtpy_python", "beta1_python")


def neuron_options(job: Job) -> dict[str, Any]:
    """Returns the options of a problem that only the neuron backend has; none of another backend.

    Interpreters become paths that hold in any folder.
    """
    if job.backend != NEURON:
        return {}
    options = {name: getattr(job, name) for name in NEURON_OPTIONS}
    for name in _PYTHONS:
        options[name] = options[name] and interpreter(options[name])
    limits = {"compile_timeout_s": job.compile_timeout_s or COMPILE_S, "timeout_s": job.timeout_s}
    return {**options, **limits, "memory_gb": job.memory_gb}


def deadlines(job: Job) -> tuple[float, float | None]:
    """Returns the seconds that a phase may take, and those of compiling where they are others.

    The neuron backend ends its programs itself: one that compiles, one for each sample. A phase has
    room for all of them; a check compiles too, and Beta-1 kernels are compiled and timed at once.
    """
    if job.backend != NEURON:
        return job.timeout_s, job.compile_timeout_s
    compiling_s = job.compile_timeout_s or COMPILE_S
    wait_s = compiling_s + job.timeout_s  # for a core, once for compiling and once for running
    sample_s = 3 * job.timeout_s + (compiling_s if job.timing in (AUTO, BETA1) else 0.0)
    compile_s = compiling_s + 2 * job.timeout_s + 2 * wait_s + MARGIN_S
    return max(compile_s, job.repeats * sample_s + wait_s + MARGIN_S), compile_s


def pinned(job: Job, problem: Problem) -> Problem:
    """Returns a problem that says what is installed here, which workers compare with what they
    have; of another backend the problem itself.

    Raises:
        TunerError: What compiles or times is missing, or the device is not that of this machine.
    """
    if job.backend != NEURON:
        return problem
    if job.lnc > 1 and problem.core.core == GENERATION_2:
        raise TunerError(f"lnc={job.lnc}: the cores of {problem.device} are not paired; expected 1")
    nki, nrtpy, beta1 = (problem.options[name] for name in _PYTHONS)
    probed = probe(nki, nrtpy, beta1, lnc=job.lnc)
    for package in (probed.nki, probed.neuronx_cc):
        if package is not None and package.is_placeholder and job.timing != BETA1:
            raise TunerError(f"{package}: {package.problem}")
    from tuner.backends.neuron.backend import pinned as with_versions

    return with_versions(problem, job.ray in (LOCAL, SERIAL), job.verify == "all")
