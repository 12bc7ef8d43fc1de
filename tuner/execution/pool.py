"""The workers of a Ray session, shared by those who have candidates for them.

Each worker is an actor with a child of its own. Nodes may come and go: a worker that is lost is
replaced, and the new one starts when the cluster has room for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tuner.execution.actor import start_actor
from tuner.execution.calls import Call, Client, Kind
from tuner.process.code import code_hash, package_folder
from tuner.runtime.errors import TunerError

__all__ = ["Pool", "first_line"]

PLACE_S, SLOWLY_S = 120.0, 600.0
"""How long the cluster may take to place the first worker: it may lack what that needs, or be
slow.
"""
START_S = 900.0
"""The first start on a machine compiles the simulator, in one of its workers for all."""
MAX_FAILED_STARTS = 5
RETRY_STARTS_S = 30.0
"""Workers that fail to start for so long, and so often, with none that runs, are given up."""
TURN_S = 0.02
"""How soon a thread notices what another has submitted while it waits for both."""

_log = logging.getLogger("nki_tuner")


@dataclass(eq=False)
class _Worker:
    """An actor, with the calls that it has.

    Attributes:
        placing: Its first answer, once the cluster has room for it.
        starting: Its second, once it is ready; None afterwards.
        since: When what it is busy with began.
    """

    kind: Kind
    actor: Any
    placing: Any
    starting: Any
    calls: deque[tuple[Client, Call, Any]] = field(default_factory=deque)
    since: float = 0.0
    known: set[bytes] = field(default_factory=set)


class Pool:
    """Workers of the kinds that were asked for, so many of each, and their calls.

    Whoever waits does the work of the pool for all; its lock makes that one at a time.

    Args:
        workers: Of each kind, as far as the cluster has room.
        memory_bytes: What a child may have; None for half of its machine.
    """

    def __init__(self, workers: int, memory_bytes: int | None = None) -> None:
        self._size, self._memory_bytes = workers, memory_bytes
        self._workers: list[_Worker] = []
        self._clients: dict[Client, list[Kind]] = {}
        self._broken: dict[Kind, str] = {}  # why there are no workers of a kind
        self._closed = False
        self._condition = threading.Condition(threading.RLock())
        self._pumping = False
        self._failed_starts, self._failing_since = 0, 0.0
        self._opened: dict[Kind, float] = {}  # when it was opened, or had a worker somewhere

    def join(self, client: Client, kinds: list[Kind]) -> None:
        """Takes a client, and has workers of the kinds that it needs."""
        with self._condition:
            if self._closed:
                raise TunerError("its session of Ray has ended")
            self._clients[client] = kinds
            for kind in kinds:
                if kind not in self._opened:
                    self._opened[kind] = time.monotonic()
                    self._workers += [self._new(kind) for _ in range(self._size)]

    def leave(self, client: Client) -> None:
        """Drops a client; workers that are still busy with its calls are replaced."""
        with self._condition:
            if client not in self._clients:
                return
            del self._clients[client]
            for worker in list(self._workers):
                if any(mine is client for mine, _, _ in worker.calls):
                    worker.calls = deque(c for c in worker.calls if c[0] is not client)
                    self._replace(worker, "", blamed=False)
            self._condition.notify_all()

    def close(self) -> None:
        """Ends all workers."""
        with self._condition:
            workers, self._workers = self._workers, []
            self._opened.clear()
            self._closed = True
            for worker in workers:
                _kill(worker.actor)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps the pool as it is."""
        with self._condition:
            yield

    def wait(
        self, client: Client, done: Callable[[], bool], timeout_s: float | None = None
    ) -> None:
        """Works until `done`, which is asked under the lock, or the time is over.

        Raises:
            TunerError: No worker of a kind that the client needs can be started.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        with self._condition:
            while not done():
                self._check(client)
                left = 1.0 if until is None else until - time.monotonic()
                if not self._pumping:
                    self._pump(max(left, 0.0))
                else:
                    self._condition.wait(max(min(left, 1.0), 0.0))
                if until is not None and time.monotonic() >= until:
                    return

    def _check(self, client: Client) -> None:
        if self._closed:
            raise TunerError("its session of Ray has ended")
        for kind in self._clients.get(client, ()):
            if kind in self._broken:
                raise TunerError(self._broken[kind])

    def _pump(self, left_s: float) -> None:
        """Hands out calls, waits for the first to come back, and takes all that have."""
        import ray

        self._pumping = True
        try:
            self._dispatch()
            waited: dict[Any, _Worker] = {}
            for worker in self._workers:
                if worker.starting is not None:
                    waited[worker.placing or worker.starting] = worker
                elif worker.calls:
                    waited[worker.calls[0][2]] = worker
            timeout_s = min(left_s, TURN_S if len(self._clients) > 1 else 1.0)
            self._condition.release()
            try:
                ready: list[Any] = []
                if waited:
                    ready, others = ray.wait(list(waited), timeout=timeout_s)
                    if ready and others:
                        more, _ = ray.wait(others, num_returns=len(others), timeout=0)
                        ready += more
                else:
                    time.sleep(timeout_s)
            finally:
                self._condition.acquire()
            for ref in ready:
                if waited[ref] in self._workers:
                    self._receive(waited[ref], ref)
            self._check_deadlines()
            self._dispatch()  # whoever is free now need not wait for what is done with the answers
        finally:
            self._pumping = False
            self._condition.notify_all()

    def _dispatch(self) -> None:
        """Gives calls to workers, those first that have the fewest, of the client that has the
        fewest calls with them.
        """
        for kind in self._opened:
            mine = [w for w in self._workers if w.kind == kind and w.starting is None]
            for calls in (0, 1):
                free = [worker for worker in mine if len(worker.calls) == calls]
                while free:
                    found = self._next_call(kind, len(free), busy=calls > 0)
                    if found is None:
                        break
                    self._send(free.pop(0), *found)

    def _next_call(self, kind: Kind, free: int, busy: bool) -> tuple[Client, Call] | None:
        for client in sorted(self._clients, key=lambda each: each.running):
            call = client.next_call(kind, free, busy)
            if call is not None:
                return client, call
        return None

    def _send(self, worker: _Worker, client: Client, call: Call) -> None:
        if call.key not in worker.known or not call.candidates:
            ref = worker.actor.load.remote(call.key, call.problem)
            worker.known.add(call.key)
        if call.candidates:
            ref = worker.actor.run.remote(call.key, call.candidates, dict(call.deadlines))
        if not worker.calls:
            worker.since = time.monotonic()
        worker.calls.append((client, call, ref))
        client.running += 1

    def _receive(self, worker: _Worker, ref: Any) -> None:
        import ray

        try:
            answer = ray.get(ref)
        except ray.exceptions.RayError as error:
            if worker.starting is not None:
                self._count_failed_start(worker.kind, _why(error))
            self._replace(worker, _why(error))
            return
        if worker.placing is not None:
            worker.placing, worker.since = None, time.monotonic()
            return
        if worker.starting is not None:
            worker.starting = None
            self._greet(worker, *answer)
            return
        client, call, _ = worker.calls.popleft()
        worker.since = time.monotonic()
        client.running -= 1
        client.take(call, [answer] if not call.candidates else answer)

    def _count_failed_start(self, kind: Kind, why: str) -> None:
        """Gives up where none has started for long."""
        now = time.monotonic()
        self._failed_starts += 1
        if self._failed_starts == 1:
            self._failing_since = now
        alive = any(worker.kind == kind and worker.starting is None for worker in self._workers)
        for_long = now - self._failing_since > RETRY_STARTS_S
        if self._failed_starts >= MAX_FAILED_STARTS and for_long and not alive:
            self._broken[kind] = f"Ray workers do not start: {why}"

    def _greet(self, worker: _Worker, folder: str, their_hash: str, why: str) -> None:
        """Takes a worker that has started; one that runs other code is left out."""
        wrong = ""
        if their_hash != code_hash():
            wrong = (
                f"a Ray worker runs other code: {folder} ({their_hash}), this process "
                f"{package_folder()} ({code_hash()}); install the same nki-tuner on every node"
            )
        elif why:
            wrong = f"a Ray worker did not start: {why}"
        if not wrong:
            self._failed_starts = 0
            return
        self._workers.remove(worker)
        _kill(worker.actor)
        if any(each.kind == worker.kind for each in self._workers):
            _log.warning("%s", wrong)  # the others go on without it
        else:
            self._broken[worker.kind] = wrong

    def _check_deadlines(self) -> None:
        """Replaces workers that are stuck themselves: their children have deadlines of their
        own.
        """
        now = time.monotonic()
        for worker in list(self._workers):
            if worker.calls and now - worker.since > worker.calls[0][1].longest_s:
                self._replace(worker, "its worker did not answer any more")
            starts = worker.starting is not None and worker.placing is None
            if starts and now - worker.since > START_S:
                self._count_failed_start(worker.kind, f"not ready within {START_S:g} s")
                self._replace(worker, "")
        wanted = {kind for kinds in self._clients.values() for kind in kinds}
        for kind, opened in self._opened.items():
            if kind not in wanted or any(
                w.kind == kind and w.placing is None for w in self._workers
            ):
                self._opened[kind] = now
            elif now - opened > PLACE_S:
                needs = dict(kind.resources) or {"CPU": 1.0}
                if now - opened > SLOWLY_S or not _has(needs):
                    self._broken[kind] = (
                        f"no Ray worker found room within {now - opened:.0f} s: each needs {needs} "
                        "of the cluster"
                    )

    def _replace(self, worker: _Worker, why: str, blamed: bool = True) -> None:
        """Starts another worker and tells whose calls are lost; the first of them had begun, and
        may be to blame.
        """
        self._workers.remove(worker)
        _kill(worker.actor)
        self._workers.append(self._new(worker.kind))
        begun = blamed
        for client, call, _ in worker.calls:
            client.running -= 1
            client.lose(call, begun, why)
            begun = False

    def _new(self, kind: Kind) -> _Worker:
        actor = start_actor(dict(kind.resources))
        placing = actor.where.remote()
        starting = actor.start.remote(str(package_folder()), kind.service, self._memory_bytes)
        return _Worker(kind, actor, placing, starting)


def _has(needs: Mapping[str, float]) -> bool:
    """Whether the cluster has, free or not, what a worker needs."""
    import ray

    there = ray.cluster_resources()
    return all(there.get(name, 0.0) >= amount for name, amount in needs.items())


def _kill(actor: Any) -> None:
    import ray

    if ray.is_initialized():
        ray.kill(actor, no_restart=True)


def _why(error: BaseException) -> str:
    """Says in a line why Ray lost a worker."""
    import ray

    if isinstance(error, ray.exceptions.OutOfMemoryError):  # every death's text mentions that
        return "memory: Ray ended the worker, as its node ran low"
    return first_line(error)


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's text, or its name."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
