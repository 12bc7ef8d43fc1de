"""Beta-1 kernels (`neuronxcc.nki` of SDK 2.28 and before): compiled and timed in one call."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tuner.backends.base import Mismatch, Problem
from tuner.backends.checking import compare, random_values
from tuner.backends.children import ask, dtype_named, load_arrays, save_arrays
from tuner.backends.neuron.compiling.compiler import job_of
from tuner.backends.neuron.failures import COMPILE, VERIFY, failure
from tuner.backends.neuron.machine import environment
from tuner.backends.neuron.machine.cores import Cores
from tuner.backends.neuron.settings import Settings
from tuner.backends.neuron.tools import Tool
from tuner.space import Argument

__all__ = ["Beta1"]

SCRIPT = Path(__file__).with_name("beta1_child.py")


@dataclass(frozen=True)
class Beta1:
    """`neuronxcc.nki`.

    Attributes:
        tool: Its interpreter.
        target: "trn1" or "trn2".
        settings: The options.
        cores: Where it may run.
        library: Path of the runtime's library.
    """

    tool: Tool
    target: str
    settings: Settings
    cores: Cores
    library: str | None

    def time(self, problem: Problem, config: Mapping[str, Any]) -> tuple[float, dict[str, Any]]:
        """Compiles and times; returns the median in microseconds, and figures.

        Raises:
            CandidateError: It fails.
        """
        job = {
            "what": "time",
            "warmup": self.settings.warmup,
            "iterations": self.settings.iterations,
        }
        with tempfile.TemporaryDirectory(prefix="nki-tuner-") as name:
            answer, core = self._ask(Path(name), problem, problem.arguments, config, job, COMPILE)
        p50, p90, p99 = (float(answer["percentiles_us"][each]) for each in ("50", "90", "99"))
        return p50, {
            "metric": self.tool.metric,
            "p50_us": p50,
            "p90_us": p90,
            "p99_us": p99,
            "iterations": self.settings.iterations,
            "core": core,
        }

    def verify(
        self, problem: Problem, arguments: Sequence[Argument], config: Mapping[str, Any]
    ) -> Mismatch | None:
        """Compares the kernel with its reference, which that interpreter runs too: a Beta-1 kernel
        file can be imported nowhere else.

        Raises:
            CandidateError: It fails.
        """
        dtypes = {argument.name: argument.dtype for argument in arguments}
        values = random_values(arguments)
        inputs = {name: values[name].astype(dtype_named(d)) for name, d in dtypes.items()}
        job = {
            "what": "run",
            "reference": problem.reference,
            "variants": dict(problem.variants),
            "dtypes": dtypes,
        }
        with tempfile.TemporaryDirectory(prefix="nki-tuner-") as name:
            save_arrays(Path(name, "inputs.npz"), inputs)
            answer, _ = self._ask(Path(name), problem, arguments, config, job, VERIFY)
            outputs = load_arrays(Path(name, "outputs.npz"), len(answer["dtypes"]))
            expected = load_arrays(Path(name, "expected.npz"), int(answer["expected"]))
        found = [
            array.view(dtype_named(dtype)).astype(np.float32)
            for dtype, array in zip(answer["dtypes"], outputs, strict=True)
        ]
        return compare(
            tuple(expected), found, answer["dtypes"], list(dtypes.values()), problem.roundings
        )

    def _ask(
        self,
        folder: Path,
        problem: Problem,
        arguments: Sequence[Argument],
        config: Mapping[str, Any],
        job: Mapping[str, Any],
        phase: str,
    ) -> tuple[dict[str, Any], int]:
        limits: Mapping[str, Any] = {
            "deadline_s": self.settings.compile_s + self.settings.run_s,
            "memory_bytes": self.settings.memory_bytes,
        }
        with self.cores.held() as core:
            variables = environment.compiling(
                self.settings, self.tool.program, folder, self.target, str(core), self.library
            )
            finished, answer = ask(
                [self.tool.program],
                SCRIPT,
                folder,
                {**job_of(problem.kernel, arguments, config, folder), **job},
                environment=variables,
                **limits,
            )
        if answer is None or (finished.ended, finished.code) != ("exit", 0):
            compile_s, run_s = self.settings.compile_s, self.settings.run_s
            limit = f"{compile_s:g} s to compile and {run_s:g} s to run"
            raise failure(phase, finished, answer, limit=limit, **limits)
        return answer, core
