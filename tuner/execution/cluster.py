"""The Ray executor: one actor a worker, a batch in flight on each, deadlines kept by the driver.

Workers run the driver's own `tuner`, whatever the working directory holds: the worker loads the
package from the driver's folder where it can see that folder, and both compare a hash of their
source before any work.
"""

from __future__ import annotations

import pickle
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from tuner.backends import Candidate, Measurement, Problem, Status, make_backend
from tuner.execution.code import code_hash, package_folder
from tuner.execution.session import LOCAL, Session, first_line
from tuner.runtime.errors import TunerError

__all__ = ["RayExecutor"]

MAX_RETRIES = 2
STARTUP_TIMEOUT_S = 120


@dataclass
class _Worker:
    """An actor with what it was given and has not answered yet, oldest first."""

    actor: Any
    stream: Any = None
    outstanding: deque[Candidate] = field(default_factory=deque)
    since: float = 0.0


class RayExecutor:
    """Spreads candidates over Ray actors, on this machine or on a running cluster.

    A worker that exceeds the time for one candidate, or dies, is replaced; the rest of its batch is
    queued again, one by one where any of them may have killed it.

    Args:
        problem: What the workers load.
        workers: Number of actors.
        address: "local" starts Ray on this machine; else the address of a cluster ("auto" finds
            one), which then runs the kernel's code.
        timeout_s: Wall-clock seconds that one candidate may take.
        session: Ray as several executors use it, one after the other; then `address` means nothing,
            and idle workers are left to the next executor instead of being ended.

    Raises:
        TunerError: Ray cannot be reached, or a worker runs other code than this process.
    """

    def __init__(
        self,
        problem: Problem,
        workers: int = 2,
        address: str = LOCAL,
        timeout_s: float = 60.0,
        session: Session | None = None,
    ) -> None:
        capabilities = make_backend(problem).capabilities()
        self._batch, self._kind = capabilities.batch, capabilities.kind
        self._timeout_s = timeout_s
        self._problem = pickle.dumps(problem)
        self._backlog: deque[Candidate] = deque()
        self._deaths: Counter[int] = Counter()
        self._ready: list[Measurement] = []
        self._workers: list[_Worker] = []
        self._shared = session is not None
        self._session = session or Session(address, workers)
        try:
            for _ in range(workers):
                idle = self._session.idle
                self._workers.append(_Worker(idle.pop() if idle else _actor()))
            for worker in self._workers:
                self._greet(worker.actor)
        except BaseException:
            self._end(reuse=False)
            raise

    @property
    def capacity(self) -> int:
        """A batch for each worker."""
        return self._batch * len(self._workers)

    def submit(self, candidate: Candidate) -> None:
        """Queues a candidate; it is sent when somebody waits."""
        self._backlog.append(candidate)

    def wait(self, timeout_s: float | None = None) -> list[Measurement]:
        """Hands out what is queued and returns what has come back."""
        import ray

        until = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._ready:
            self._dispatch()
            busy = {worker.stream: worker for worker in self._workers if worker.stream is not None}
            if not busy:
                break
            left = (
                min(worker.since for worker in busy.values()) + self._timeout_s - time.monotonic()
            )
            if until is not None:
                left = min(left, until - time.monotonic())
            streams, _ = ray.wait(list(busy), timeout=max(left, 0), fetch_local=False)
            for stream in streams:
                self._receive(busy[stream])
            self._enforce_deadlines()
            if until is not None and time.monotonic() >= until:
                break
        done, self._ready = self._ready, []
        return done

    def close(self) -> None:
        """Ends the workers, and Ray where this started it; idle ones of a shared session stay."""
        self._end(reuse=self._shared)

    def _end(self, reuse: bool) -> None:
        self._backlog.clear()
        for worker in self._workers:
            if reuse and not worker.outstanding:
                self._session.idle.append(worker.actor)
            else:
                _kill(worker.actor)
        self._workers = []
        if not self._shared:
            self._session.close()

    def _greet(self, actor: Any) -> None:
        import ray

        try:
            greeting = actor.start.remote(str(package_folder()), self._problem)
            folder, their_hash, error = ray.get(greeting, timeout=STARTUP_TIMEOUT_S)
        except ray.exceptions.RayError as failure:
            raise TunerError(f"a Ray worker did not start: {first_line(failure)}") from None
        if their_hash != code_hash():
            raise TunerError(
                f"a Ray worker runs other code: {folder} ({their_hash}), this process "
                f"{package_folder()} ({code_hash()}); install the same nki-tuner on every node"
            )
        if error:
            raise TunerError(error)

    def _dispatch(self) -> None:
        idle = [worker for worker in self._workers if worker.stream is None]
        for position, worker in enumerate(idle):
            share = -(-len(self._backlog) // (len(idle) - position))
            batch = self._next_batch(min(share, self._batch))
            if batch:
                worker.outstanding.extend(batch)
                worker.stream = worker.actor.run.remote(pickle.dumps(batch))
                worker.since = time.monotonic()

    def _next_batch(self, size: int) -> list[Candidate]:
        """Takes candidates from the backlog; one that a worker may have died of goes alone."""
        batch: list[Candidate] = []
        while self._backlog and len(batch) < size:
            suspect = self._backlog[0].number in self._deaths
            if suspect and batch:
                break
            batch.append(self._backlog.popleft())
            if suspect:
                break
        return batch

    def _receive(self, worker: _Worker) -> None:
        import ray

        try:
            measurement = pickle.loads(ray.get(next(worker.stream)))
        except StopIteration:
            worker.stream = None
            return
        except ray.exceptions.RayError as error:
            self._replace(worker, first_line(error))
            return
        worker.outstanding.popleft()
        worker.since = time.monotonic()
        self._ready.append(measurement)

    def _enforce_deadlines(self) -> None:
        """Replaces workers whose time is over and of whom no answer waits to be read."""
        import ray

        for worker in self._workers:
            while self._is_late(worker) and ray.wait([worker.stream], timeout=0)[0]:
                self._receive(worker)
            if self._is_late(worker):
                late = worker.outstanding.popleft()
                reason = f"took longer than {self._timeout_s:g} s"
                self._ready.append(
                    Measurement(late.number, Status.TIMEOUT, self._kind, reason=reason)
                )
                self._replace(worker, None)

    def _is_late(self, worker: _Worker) -> bool:
        busy = worker.stream is not None and bool(worker.outstanding)
        return busy and time.monotonic() - worker.since > self._timeout_s

    def _replace(self, worker: _Worker, died_of: str | None) -> None:
        """Starts another actor; what a worker may have died of is tried again, at most twice.

        An answer may be lost on its way when the next candidate kills the worker, so all that are
        outstanding are suspects; each is then sent alone.
        """
        if died_of is not None:
            for suspect in list(worker.outstanding):
                self._deaths[suspect.number] += 1
                if self._deaths[suspect.number] > MAX_RETRIES:
                    worker.outstanding.remove(suspect)
                    reason = f"the worker died {MAX_RETRIES + 1} times: {died_of}"
                    self._ready.append(
                        Measurement(suspect.number, Status.RUNTIME, self._kind, reason=reason)
                    )
        self._backlog.extendleft(reversed(worker.outstanding))
        worker.outstanding.clear()
        _kill(worker.actor)
        worker.actor, worker.stream = _actor(), None
        self._greet(worker.actor)


def _kill(actor: Any) -> None:
    import ray

    if ray.is_initialized():
        ray.kill(actor, no_restart=True)


def _actor() -> Any:
    """Starts an actor. Its class is made here so that Ray sends it by value: a worker has no
    `tuner` yet.
    """
    import ray

    @ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)
    class Worker:
        def start(self, folder: str, problem: bytes) -> tuple[str, str, str]:
            """Loads the driver's package and the problem; returns (folder, code hash, error)."""
            import importlib.util
            import pickle
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
                import tuner
                from tuner.execution import code
            except ImportError as error:
                return "none", "none", str(error)
            hashed = code.code_hash()
            try:
                from tuner.backends import evaluate, load_backend

                self.backend = load_backend(pickle.loads(problem))
                self.evaluate = evaluate
            except Exception as error:
                return str(tuner.__file__), hashed, str(error)
            return str(tuner.__file__), hashed, ""

        @ray.method(num_returns="streaming")  # type: ignore[untyped-decorator]
        def run(self, candidates: bytes) -> Any:
            """Evaluates a batch, streaming one answer a candidate."""
            import pickle

            for candidate in pickle.loads(candidates):
                yield pickle.dumps(self.evaluate(self.backend, candidate))

    return Worker.remote()  # type: ignore[attr-defined]
