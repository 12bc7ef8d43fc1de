"""AWS's own `nki`, where it is installed, as the oracle for what a kernel computes.

`nki.simulate` runs a kernel in numpy: results, no time. It runs in a Python process of its own,
which may be another environment's: the package never enters this process, and what is installed is
asked of its metadata, for the public index has a placeholder of the same name.
"""

from __future__ import annotations

import inspect
import math
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.backends import children
from tuner.backends.base import Candidate, Mismatch, Problem
from tuner.backends.checking import compare, random_values
from tuner.backends.neuron.probe import ask, signal_name
from tuner.kernel import KernelSource, load_kernel
from tuner.nki.record.tracing import trace
from tuner.runtime.errors import TunerError

__all__ = ["Oracle", "OracleError", "check"]

DEADLINE_S = 600.0
SCRIPT = Path(__file__).with_name("oracle_child.py")
_PLATFORMS = {"NeuronCore-v2": "trn1", "NeuronCore-v3": "trn2", "NeuronCore-v4": "trn3"}


class OracleError(Exception):
    """The oracle could not run the kernel: it raised, crashed, or took too long."""


@dataclass(frozen=True)
class Oracle:
    """An interpreter that has AWS's `nki`.

    Attributes:
        python: The interpreter.
        deadline_s: Seconds that one kernel may take.
    """

    python: str = sys.executable
    deadline_s: float = DEADLINE_S

    def version(self) -> str:
        """Returns the version of `nki`.

        Raises:
            TunerError: It is not installed there, is the placeholder, or has no simulator.
        """
        nki = ask(self.python, "nki", "nki", "simulate")
        if nki is None:
            raise TunerError(
                f"nki is not installed for {self.python}: name an interpreter that has AWS's "
                "package, or leave the oracle out"
            )
        if nki.problem:
            raise TunerError(f"{nki}: {nki.problem}")
        return nki.version

    def outputs(
        self,
        kernel: KernelSource,
        positional: Sequence[str],
        inputs: Mapping[str, npt.NDArray[Any]],
        config: Mapping[str, Any],
        device_name: str,
    ) -> list[tuple[str, npt.NDArray[Any]]]:
        """Runs a kernel.

        Args:
            kernel: Its text and that of the files beside it.
            positional: Names of the inputs to hand over by position; the others go by keyword.
            inputs: The tensors, in the dtypes of the workload.
            config: The kernel's other keywords.
            device_name: "trn1", "trn2" or "trn3".

        Returns:
            (dtype, array) of each output; dtypes that numpy lacks come as unsigned integers.

        Raises:
            OracleError: It raised, crashed, took too long, or left no result.
        """
        with tempfile.TemporaryDirectory(prefix="nki-tuner-") as name:
            folder = Path(name)
            job = {
                "file": children.write_kernel(kernel, folder / "kernel"),
                "entry": kernel.entry,
                "positional": list(positional),
                "dtypes": {name: array.dtype.name for name, array in inputs.items()},
                "config": dict(config),
            }
            children.save_arrays(folder / "inputs.npz", inputs)
            settings = {"NEURON_PLATFORM_TARGET_OVERRIDE": device_name}
            answer = self._ask(folder, job, settings)
            try:
                arrays = children.load_arrays(folder / "outputs.npz", len(answer["dtypes"]))
            except ValueError as error:
                raise OracleError(str(error)) from None
        return list(zip(answer["dtypes"], arrays, strict=True))

    def _ask(self, folder: Path, job: dict[str, Any], settings: dict[str, str]) -> dict[str, Any]:
        """Runs the child in a folder and returns its answer."""
        finished, answer = children.ask(
            [self.python],
            SCRIPT,
            folder,
            job,
            deadline_s=self.deadline_s,
            environment={**os.environ, **settings},
        )
        said = children.tail(finished.stderr)
        tail = f": {said}" if said else ""
        if finished.ended == "timeout":
            raise OracleError(f"no answer within {self.deadline_s:g} s{tail}")
        if finished.ended == "signal":
            raise OracleError(f"killed by {signal_name(finished.code or 0)}{tail}")
        if finished.code:
            raise OracleError(f"exit code {finished.code}{tail}")
        if answer is None:
            raise OracleError(f"ended without an answer{tail}")
        return answer


def check(problem: Problem, candidate: Candidate, oracle: Oracle) -> Mismatch | None:
    """Compares our outputs with the oracle's on the same random numbers; None means they agree.

    The tolerance is that of the comparison with a reference: a few roundings of the output's dtype.

    Raises:
        OracleError: The oracle could not run the kernel.
        Exception: Whatever the kernel raises on our simulator.
    """
    arguments = candidate.verify_with or problem.arguments
    values = random_values(arguments)
    kernel = load_kernel(problem.kernel)
    keywords = problem.keywords(candidate.config)
    with kernel.lent():
        core = problem.core
        traced = trace(kernel.function, arguments, keywords, core, values)
        parameters = list(inspect.signature(kernel.function).parameters)
    assert traced.values is not None
    inputs = {a.name: values[a.name].astype(children.dtype_named(a.dtype)) for a in arguments}
    leading = next((i for i, name in enumerate(parameters) if name not in inputs), len(parameters))
    theirs = oracle.outputs(
        problem.kernel, parameters[:leading], inputs, keywords, _PLATFORMS[core.core]
    )
    dtypes = [dtype for _, dtype in traced.outputs]
    expected = []
    for index, (named, array) in enumerate(theirs):
        ours = dtypes[index] if index < len(dtypes) else named
        dtype = ours if named.startswith("void") else named  # void: an array that lost its dtype
        if dtype != ours:
            return Mismatch(math.inf, 0.0, f"output {index} is {ours}, expected {dtype}")
        expected.append(array.view(children.dtype_named(dtype)).astype(np.float64))
    given = [a.dtype for a in arguments]
    return compare(tuple(expected), traced.values, dtypes, given, problem.roundings)
