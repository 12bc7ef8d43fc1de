"""The Ray actor: a process on some node that has candidates answered in a child of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["start_actor"]


def start_actor(resources: Mapping[str, float]) -> Any:
    """Starts an actor, as soon as the cluster has room for it.

    Its class is made here so that Ray sends it by value: a worker has no `tuner` yet.

    Args:
        resources: What it needs besides a CPU; where it needs some, the CPUs are for others.
    """
    import ray

    @ray.remote(max_restarts=0, max_task_retries=0)
    class Evaluator:
        def where(self) -> str:
            """Returns the node on which it is."""
            import ray

            return str(ray.get_runtime_context().get_node_id())

        def start(self, folder: str, service: str, memory_bytes: int | None) -> tuple[str, ...]:
            """Loads the driver's package and starts a child; returns (folder of the package, its
            hash, why it does not work).
            """
            import importlib.util
            import sys
            from pathlib import Path

            init = Path(folder) / "__init__.py"
            if "tuner" not in sys.modules and init.is_file():
                spec = importlib.util.spec_from_file_location(
                    "tuner", init, submodule_search_locations=[folder]
                )
                assert spec is not None
                assert spec.loader is not None
                module = importlib.util.module_from_spec(spec)
                sys.modules["tuner"] = module
                spec.loader.exec_module(module)
            try:
                from tuner.process import Worker
                from tuner.process.code import code_hash, package_folder
                from tuner.process.memory import machine_bytes
            except ImportError as error:
                return "none", "none", str(error)
            self.worker = Worker(service, memory_bytes or machine_bytes() // 2)
            self.problems: dict[bytes, bytes] = {}
            failure = self.worker.start()
            if failure is not None and (failure.code or 0) < 0:  # somebody killed it
                raise ChildProcessError(failure.said)
            why = "" if failure is None else failure.said
            return str(package_folder()), code_hash(), why

        def load(self, key: bytes, problem: bytes) -> Any:
            """Learns a problem; returns the failure of a child to load it, or None."""
            self.problems[key] = problem
            failure = self.worker.load(problem)
            if failure is not None and failure.kind == "start":
                raise ChildProcessError(failure.said)
            return failure

        def run(
            self,
            key: bytes,
            candidates: list[tuple[int, bytes]],
            deadlines: dict[str, float],
        ) -> list[Any]:
            """Returns the answer to each candidate of a problem, or the failure to answer it."""
            from tuner.process import Failure

            problem, answers = self.problems[key], []
            for number, candidate in candidates:
                answer = self.worker.answer(problem, number, candidate, deadlines)
                if (
                    isinstance(answer, Failure) and answer.kind == "start"
                ):  # this machine is to blame
                    raise ChildProcessError(answer.said)
                answers.append(answer)
            return answers

    cpus = 0 if resources else 1
    return Evaluator.options(num_cpus=cpus, resources=dict(resources)).remote()  # type: ignore[attr-defined]
