"""Compiles kernels to NEFFs: a fresh process of the interpreter with `nki` for each."""

from __future__ import annotations

import ast
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.backends.base import CandidateError, Status
from tuner.backends.children import ask, write_kernel
from tuner.backends.neuron.compiling.artifact import FORMAT, Artifact
from tuner.backends.neuron.compiling.cache import NeffCache, key_of
from tuner.backends.neuron.compiling.routes import DOCUMENTED, HIDDEN, Route
from tuner.backends.neuron.failures import COMPILE, failure
from tuner.backends.neuron.machine import environment
from tuner.backends.neuron.machine.cores import Cores
from tuner.backends.neuron.machine.leases import NoCoreError
from tuner.backends.neuron.settings import Settings
from tuner.kernel import MODULE, KernelSource
from tuner.runtime.errors import TunerError
from tuner.space import Argument

__all__ = ["Compiler", "job_of"]

SCRIPT = Path(__file__).with_name("compile_child.py")
LIST_S = 120.0
_NO_CORES = {environment.CORES: "65535"}
"""A core that no machine has; 0 of NEURON_RT_NUM_CORES would be all of them."""
_TAKEN = re.compile(r"NRT_RESOURCE|\bbusy\b|\bin use\b|\bheld\b", re.IGNORECASE)
TINY = KernelSource(
    "tiny.py",
    "tiny",
    (
        (
            MODULE,
            "tiny.py",
            """\
import nki
import nki.isa as nisa
import nki.language as nl


@nki.jit
def tiny(x):
    out = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm)
    tile = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.sbuf)
    nisa.dma_copy(dst=tile, src=x)
    nisa.dma_copy(dst=out, src=tile)
    return out
""",
        ),
    ),
)
_TINY_TENSORS = (Argument("x", (128, 64), "float32"),)


@dataclass(frozen=True)
class Compiler:
    """AWS's compiler for one target.

    Attributes:
        python: The interpreter.
        versions: Of what takes part.
        target: "trn1", "trn2" or "trn3".
        settings: The options.
        cores: For a route that runs what it compiles.
        library: Path of the runtime's library.
        cache: Where what was compiled is kept; None for nowhere.
    """

    python: str
    versions: Mapping[str, str]
    target: str
    settings: Settings
    cores: Cores
    library: str | None
    cache: NeffCache | None

    def compile(
        self,
        kernel: KernelSource,
        arguments: Sequence[Argument],
        config: Mapping[str, Any],
        route: Route,
    ) -> Artifact:
        """Compiles, or takes what was compiled before of the same.

        Raises:
            CandidateError: The compiler refuses it, crashes, or takes too long or too much memory.
        """
        key = key_of(self._facts(kernel, arguments, config, route.pipeline))
        found = self.cache.get(key) if self.cache is not None else None
        if found is not None:
            with suppress(TunerError):
                return Artifact.unpacked(found)
        neff, compile_s = self._compile(kernel, arguments, config, route)
        artifact = Artifact(
            neff=neff,
            config=dict(config),
            arguments=[(a.name, a.shape, a.dtype) for a in arguments],
            route=route.pipeline,
            compile_s=round(compile_s, 3),
        )
        if self.cache is not None:
            self.cache.put(key, artifact.packed())
        return artifact

    def forget(self, kernel: KernelSource, artifact: Artifact) -> None:
        """Removes what was kept of a compiled kernel that turned out to be damaged."""
        if self.cache is not None:
            facts = self._facts(kernel, artifact.tensors, artifact.config, artifact.route)
            self.cache.remove(key_of(facts))

    def private_routes(self) -> list[str]:
        """Returns the private interfaces that can be imported; imports `nki` in a child."""
        with tempfile.TemporaryDirectory(prefix="nki-tuner-") as name:
            finished, answer = ask(
                [self.python],
                SCRIPT,
                Path(name),
                {"route": "list"},
                deadline_s=LIST_S,
                environment=self._environment(Path(name), None),
            )
        routes = answer.get("routes", []) if answer and finished.code == 0 else []
        return [str(route) for route in routes]

    def works(self, route: str) -> bool | None:
        """Whether a route makes a NEFF of a tiny kernel, without running it; None where that cannot
        be said, as the trial was ended from outside or a core was taken.

        All cores are held meanwhile: a route that does run would fail for want of one that another
        process has, and would look as if it ran nothing.
        """
        try:
            with (
                self.cores.all_held(),
                tempfile.TemporaryDirectory(prefix="nki-tuner-") as name,
            ):
                finished, answer = self._ask(
                    Path(name), TINY, _TINY_TENSORS, {}, Route(route, False, ""), None
                )
                made = Path(name, "kernel.neff").is_file()
        except NoCoreError:
            return None
        if finished.ended != "exit" or _TAKEN.search(str((answer or {}).get("error", ""))):
            return None
        return made and answer is not None and answer.get("ran") is False

    def facts(self) -> dict[str, Any]:
        """Returns what the outcome of `works` depends on."""
        return {
            "python": self.python,
            "target": self.target,
            "lnc": self.settings.lnc,
            "library": self.library,
            "variables": dict(self.settings.variables),
            **self.versions,
        }

    def _facts(
        self,
        kernel: KernelSource,
        arguments: Sequence[Argument],
        config: Mapping[str, Any],
        pipeline: str,
    ) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "kernel": kernel.kernel_hash,
            "entry": kernel.entry,
            "config": dict(config),
            "arguments": [[a.name, list(a.shape), a.dtype] for a in arguments],
            "target": self.target,
            "lnc": self.settings.lnc,
            "versions": dict(self.versions),
            "pipeline": pipeline,
            "variables": dict(self.settings.variables),
        }

    def _compile(
        self,
        kernel: KernelSource,
        arguments: Sequence[Argument],
        config: Mapping[str, Any],
        route: Route,
    ) -> tuple[bytes, float]:
        """Returns the NEFF and the seconds that it took."""
        lease = self.cores.held() if route.runs else nullcontext()
        with tempfile.TemporaryDirectory(prefix="nki-tuner-") as name, lease as core:
            finished, answer = self._ask(Path(name), kernel, arguments, config, route, core)
            neff = Path(name, "kernel.neff")
            # The NEFF is the verdict, though the runtime may have aborted after it; but of one that
            # we ended ourselves it may be half of it.
            ended = finished.ended in ("exit", "signal")
            data = neff.read_bytes() if ended and neff.is_file() else b""
        if not data:
            raise failure(
                COMPILE,
                finished,
                answer,
                deadline_s=self.settings.compile_s,
                memory_bytes=self.settings.memory_bytes,
            )
        return data, finished.elapsed_s

    def _ask(
        self,
        folder: Path,
        kernel: KernelSource,
        arguments: Sequence[Argument],
        config: Mapping[str, Any],
        route: Route,
        core: int | None,
    ) -> Any:
        job = {
            **job_of(kernel, arguments, config, folder),
            "route": DOCUMENTED if route.name == HIDDEN else route.name,
            "target": self.target,
            "lnc": self.settings.lnc,
        }
        hidden = _NO_CORES if route.name == HIDDEN else {}
        return ask(
            [self.python],
            SCRIPT,
            folder,
            job,
            deadline_s=self.settings.compile_s,
            environment={**self._environment(folder, core), **hidden},
            memory_bytes=self.settings.memory_bytes,
        )

    def _environment(self, folder: Path, core: int | None) -> dict[str, str]:
        named = None if core is None else str(core)
        return environment.compiling(
            self.settings, self.python, folder, self.target, named, self.library
        )


def job_of(
    kernel: KernelSource,
    arguments: Sequence[Argument],
    config: Mapping[str, Any],
    folder: Path,
) -> dict[str, Any]:
    """Writes a kernel's files and returns what a script needs to call it."""
    return {
        "file": write_kernel(kernel, folder / "kernel"),
        "entry": kernel.entry,
        "positional": _leading(kernel, {argument.name for argument in arguments}),
        "arguments": [[a.name, list(a.shape), a.dtype] for a in arguments],
        "config": dict(config),
    }


def _leading(kernel: KernelSource, tensors: set[str]) -> list[str]:
    """Returns the kernel's first parameters that are tensors: they go by position."""
    text = next(text for name, _, text in kernel.modules if name == MODULE)
    entry = next(
        (
            node
            for node in ast.parse(text).body
            if isinstance(node, ast.FunctionDef) and node.name == kernel.entry
        ),
        None,
    )
    if entry is None:
        raise CandidateError(Status.COMPILE, f"there is no function {kernel.entry!r}")
    leading = []
    for parameter in [*entry.args.posonlyargs, *entry.args.args]:
        if parameter.arg not in tensors:
            break
        leading.append(parameter.arg)
    return leading
