"""The neuron backend: AWS's compiler, and a Trainium machine's cores.

Built to the documentation of AWS's SDK 2.32 and tested only against a fake of what that says:
neither the packages nor a device were at hand.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np

from tuner.backends.base import (
    Candidate,
    CandidateError,
    Capabilities,
    Mismatch,
    Problem,
    Stage,
    Status,
)
from tuner.backends.checking import called, compare, random_values
from tuner.backends.children import dtype_named
from tuner.backends.neuron.compiling.artifact import Artifact
from tuner.backends.neuron.compiling.cache import open_cache
from tuner.backends.neuron.compiling.compiler import Compiler
from tuner.backends.neuron.compiling.routes import (
    DOCUMENTED,
    HIDDEN,
    TIMED_WITH,
    Route,
    choose_route,
    stages,
)
from tuner.backends.neuron.failures import REFUSED
from tuner.backends.neuron.machine.cores import Cores
from tuner.backends.neuron.probe import Probed, probe
from tuner.backends.neuron.settings import BETA1, EXPLORER, NRTPY, SPIKE, Settings
from tuner.backends.neuron.timing.beta1 import Beta1
from tuner.backends.neuron.timing.explorer import Explorer
from tuner.backends.neuron.timing.runtime import Runtime
from tuner.backends.neuron.tools import Tool, check_device, choose_tool, usable_nki
from tuner.kernel import LoadedKernel, load_kernel
from tuner.nki.record.tracing import trace
from tuner.runtime.errors import TunerError
from tuner.space import Argument

__all__ = ["NeuronBackend", "pinned"]

_NO_OUTPUTS = "neuron-explorer gives times, no outputs"
_TARGETS = {"NeuronCore-v2": "trn1", "NeuronCore-v3": "trn2", "NeuronCore-v4": "trn3"}


class NeuronBackend:
    """Compiles kernels with AWS's `nki` and times them on a NeuronCore.

    A sample is the median duration of one benchmark of `iterations` calls, the steadiest of at most
    three; each is taken in a process of its own, which loads the kernel anew.

    Options: those of `Settings.of`; `route`, how the driver compiles (see `routes`).

    Raises:
        TunerError: An option is none that there is.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._settings = Settings.of(problem.options)
        self._target = _TARGETS[problem.core.core]
        self._first: dict[bytes, tuple[float, dict[str, Any]]] = {}

    @cached_property
    def _probed(self) -> Probed:
        given = self._settings
        pythons = (given.nki_python, given.nrtpy_python, given.beta1_python)
        return probe(*pythons, lnc=given.lnc)

    @cached_property
    def _tool(self) -> Tool:
        """What times; raises TunerError where nothing can, or not for this device."""
        tool = choose_tool(self._probed, self._settings)
        check_device(self._probed, tool, self._target)
        return tool

    @cached_property
    def _cores(self) -> Cores:
        return Cores(self._probed.cores, self._settings)

    @cached_property
    def versions(self) -> dict[str, str]:
        """Versions of what takes part."""
        tool = self._tool
        found = {tool.name: tool.version}
        if tool.name != BETA1:
            assert self._probed.neuronx_cc is not None
            found["nki"] = usable_nki(self._probed).version
            found["neuronx-cc"] = self._probed.neuronx_cc.version
        return found

    @cached_property
    def _compiler(self) -> Compiler:
        compilers = {name: v for name, v in self.versions.items() if name != self._tool.name}
        return Compiler(
            usable_nki(self._probed).python,
            compilers,
            self._target,
            self._settings,
            self._cores,
            self._probed.runtime_library,
            open_cache(self._settings.neff_cache),
        )

    @cached_property
    def route(self) -> Route:
        """How kernels are compiled on this machine."""
        if self._tool.name == BETA1:
            return Route(BETA1, True, "Beta-1 compiles and times in one call")
        compiler = self._compiler
        return choose_route(
            len(self._cores.visible),
            compiler.facts(),
            compiler.private_routes,
            compiler.works,
            self._problem.options.get("route"),
        )

    @cached_property
    def _kernel(self) -> LoadedKernel:
        return load_kernel(self._problem.kernel)

    @cached_property
    def _runtime(self) -> Runtime | Explorer:
        made = Explorer if self._tool.name == EXPLORER else Runtime
        return made(self._tool, self._settings, self._cores, self._probed.runtime_library)

    @cached_property
    def _checker(self) -> Runtime:
        """What runs kernels for their numbers."""
        found = self._find_checker()
        if found is None:
            raise CandidateError(Status.RUNTIME, f"numbers cannot be checked: {_NO_OUTPUTS}")
        return found

    def _find_checker(self) -> Runtime | None:
        if isinstance(self._runtime, Runtime):
            return self._runtime
        for name, package in ((NRTPY, self._probed.nrtpy), (SPIKE, self._probed.spike)):
            if package is not None and not package.problem:
                tool = Tool(name, package.python, package.version, "device")
                return Runtime(tool, self._settings, self._cores, self._probed.runtime_library)
        return None

    @cached_property
    def _beta1(self) -> Beta1:
        library = self._probed.runtime_library
        return Beta1(self._tool, self._target, self._settings, self._cores, library)

    def prepare(self) -> None:
        """Compares what is installed here with what the driver has, and loads the kernel's file,
        whose reference runs here; raises whatever the file raises.
        """
        theirs = self._settings.versions
        if theirs is not None and dict(theirs) != self.versions:
            raise TunerError(
                f"this machine has {_listed(self.versions)}, the driver {_listed(dict(theirs))}: "
                "install the same of AWS's packages on every machine"
            )
        if self._tool.name != BETA1:  # whose files can only be imported by its own interpreter
            self._kernel.attribute(self._problem.kernel.entry)

    def compile(self, candidate: Candidate) -> bytes:
        """Compiles to a NEFF, or finds the one that was made before of the same."""
        config = self._problem.keywords(candidate.config)
        if self._tool.name != BETA1:
            return self._compiled(self._problem.arguments, config).packed()
        sample = self._beta1.time(self._problem, config)
        arguments = [(a.name, a.shape, a.dtype) for a in self._problem.arguments]
        artifact = Artifact(
            neff=b"", config=config, arguments=arguments, route=BETA1, compile_s=0.0
        ).packed()
        self._first = {artifact: sample}
        return artifact

    def _compiled(self, arguments: tuple[Argument, ...], config: dict[str, Any]) -> Artifact:
        return self._compiler.compile(self._problem.kernel, arguments, config, self.route)

    def measure(self, artifact: bytes) -> tuple[float, dict[str, Any]]:
        """Takes one sample: the median of a benchmark."""
        if artifact in self._first:
            return self._first.pop(artifact)
        compiled = Artifact.unpacked(artifact)
        if compiled.route == BETA1:
            return self._beta1.time(self._problem, compiled.config)
        with self._forgetting(compiled):
            latency_us, figures = self._runtime.time(compiled)
        told = {"compile_s": compiled.compile_s, "compiled_by": compiled.route}
        return latency_us, {**figures, **told}

    @contextmanager
    def _forgetting(self, artifact: Artifact) -> Iterator[None]:
        """Drops a compiled kernel from the cache that the runtime cannot load: it may be damaged,
        and whoever asks next compiles it anew.
        """
        try:
            yield
        except CandidateError as error:
            if str(error).startswith(REFUSED):
                self._compiler.forget(self._problem.kernel, artifact)
            raise

    def verify(self, candidate: Candidate) -> Mismatch | None:
        """Runs the kernel on random numbers on a core and compares what it returns with its numpy
        reference.
        """
        if self._problem.reference is None:
            raise TunerError("there is no reference to check against")
        arguments = candidate.verify_with or self._problem.arguments
        config = self._problem.keywords(candidate.config)
        if self._tool.name == BETA1:
            return self._beta1.verify(self._problem, arguments, config)
        checker = self._checker
        values = random_values(arguments)
        expected = called(
            self._kernel.attribute(self._problem.reference),
            {**self._problem.variants, **values},
        )
        compiled = self._compiled(arguments, config)
        with self._forgetting(compiled):
            outputs = checker.run(compiled, values)
        dtypes = self._output_dtypes(arguments, config, [dtype for dtype, _ in outputs])
        found = [
            array.view(dtype_named(dtype)).astype(np.float32)
            for dtype, (_, array) in zip(dtypes, outputs, strict=True)
        ]
        given = [argument.dtype for argument in arguments]
        return compare(expected, found, dtypes, given, self._problem.roundings)

    def _output_dtypes(
        self, arguments: tuple[Argument, ...], config: dict[str, Any], told: list[str]
    ) -> list[str]:
        """Returns the outputs' dtypes: the runtime tells some as void, float8 as int8."""
        if not any(dtype.startswith("void") or dtype in ("int8", "uint8") for dtype in told):
            return told
        try:
            with self._kernel.lent():
                traced = trace(self._kernel.function, arguments, config, self._problem.core)
            ours = [dtype for _, dtype in traced.outputs]
        except Exception:  # a kernel of what the simulated NKI lacks: then it is the inputs' dtype
            ours = []
        if len(ours) == len(told):
            return ours
        lost = next((a.dtype for a in arguments if a.dtype.startswith("float8")), None)
        ours = [arguments[0].dtype if dtype.startswith("void") else dtype for dtype in told]
        return [lost if lost and dtype in ("int8", "uint8") else dtype for dtype in ours]

    def fingerprint(self) -> dict[str, Any]:
        """Names the packages, how they compile and time, and the kernel's source."""
        given = self._settings
        return {
            "backend": "neuron",
            "device": self._problem.device,
            "target": self._target,
            "lnc": given.lnc,
            "exclusive_hbm": given.exclusive_hbm,
            "versions": self.versions,
            "compiled_by": self.route.pipeline,
            "timing": self._tool.name,
            "metric": self._tool.metric,
            "warmup": given.warmup,
            "iterations": given.iterations,
            "variables": dict(given.variables),
            "kernel_hash": self._problem.kernel.kernel_hash,
        }

    def capabilities(self) -> Capabilities:
        """Measured times, which vary; compiling overlaps timing where it needs no core."""
        beta1 = self._tool.name == BETA1
        return Capabilities(
            "measured",
            1,
            noisy=True,
            stages=(Stage(resources=TIMED_WITH),) if beta1 else stages(self.route),
            available={name: float(self._cores.at_once) for name in TIMED_WITH},
        )


def pinned(problem: Problem, here: bool = True, check_all: bool = False) -> Problem:
    """Returns a problem that says what its driver found installed, which its workers compare with
    what they have.

    Args:
        problem: Of the neuron backend.
        here: Whether kernels run on this machine.
        check_all: Whether the numbers of every config are to be checked.

    Raises:
        TunerError: What compiles or times is missing, or checks, or there is no core here.
    """
    backend = NeuronBackend(problem)
    if check_all and backend._tool.name == EXPLORER and backend._find_checker() is None:
        raise TunerError(
            f"--verify all: {_NO_OUTPUTS}: install nrtpy or spike, or leave it at --verify best, "
            "with which the winner stays unverified"
        )
    versions, route = backend.versions, backend.route
    if here and not backend._cores.visible:
        told = f" ({backend._probed.cores_problem})" if backend._probed.cores_problem else ""
        raise TunerError(
            f"there is no NeuronCore on this machine{told}: name a Ray cluster that has some "
            "(--ray ADDRESS), or use --backend simulator"
        )
    # A machine with cores is not to run what the driver, which may have none, only compiles.
    only_compiles = route.name == DOCUMENTED and not route.runs
    options = {
        **problem.options,
        "versions": versions,
        "route": HIDDEN if only_compiles else route.name,
        "variables": dict(backend._settings.variables),
    }
    return dataclasses.replace(problem, options=options)


def _listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
