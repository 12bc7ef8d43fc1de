"""The settings of backend "neuron" that a job hands to it."""

from __future__ import annotations

from typing import Any

from tuner.backends.neuron.probe import interpreter, probe
from tuner.backends.neuron.routes import choose_route, mismatch
from tuner.execution import LOCAL
from tuner.job.settings import NEURON, NEURON_OPTIONS, SERIAL, Job
from tuner.neuroncore import Device
from tuner.runtime.errors import TunerError

__all__ = ["neuron_options"]

GENERATION_2 = "NeuronCore-v2"


def neuron_options(job: Job, core: Device) -> dict[str, Any]:
    """Returns the options of a problem that only backend "neuron" has; none of another backend.

    Interpreters become paths that hold in any folder. Of a job on this machine the way of timing is
    settled here; on a cluster the driver's machine says nothing of it.

    Raises:
        TunerError: The job is for this machine, and its kernels cannot be timed here.
    """
    if job.backend != NEURON:
        return {}
    options = {name: getattr(job, name) for name in NEURON_OPTIONS}
    for name in ("nki_python", "nrtpy_python", "beta1_python"):
        options[name] = options[name] and interpreter(options[name])
    if job.lnc > 1 and core.core == GENERATION_2:
        raise TunerError(f"lnc={job.lnc}: {core.name} has no logical cores of several; expected 1")
    if job.ray in (LOCAL, SERIAL):
        probed = probe(options["nki_python"], options["nrtpy_python"], options["beta1_python"])
        other = mismatch(core.name, core.core, probed)
        if other:
            raise TunerError(other)
        options["timing"] = choose_route(probed, job.timing)
    return options
