"""The Ray executor: one problem's candidates on the workers of a session.

Workers run the driver's own `tuner`, whatever the working directory holds: the worker loads the
package from the driver's folder where it can see that folder, and both compare a hash of their
source before any work.
"""

from __future__ import annotations

import dataclasses
import pickle
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from tuner.backends import Candidate, Measurement, Problem, Status, make_backend
from tuner.execution.calls import Call, Kind
from tuner.execution.outcomes import from_outside, hit, told, verdict
from tuner.execution.serving import read_answer
from tuner.execution.session import LOCAL, Session
from tuner.process import START, START_S, Failure
from tuner.process.worker import problem_key
from tuner.runtime.errors import TunerError

__all__ = ["RayExecutor"]

MAX_RETRIES = 2
DIED = "the worker died"
SERVICE = "tuner.execution.serving"


@dataclass
class _Task:
    """A candidate on its way through the stages.

    Attributes:
        deaths: Workers that died with it, having begun with it or with one sent along, or lacked
            what it needs.
        made: What its earlier stages brought.
    """

    candidate: Candidate
    stage: int = 0
    deaths: int = 0
    made: Measurement | None = None


class RayExecutor:
    """Spreads candidates over Ray actors, on this machine or on a running cluster.

    A candidate that takes too long, crashes or wants too much memory is the only one to suffer: it
    runs in a child of the worker, which is replaced. One whose worker was killed from outside is
    tried again, at most twice, alone; so is one whose machine lacked what it needed.

    Args:
        problem: What the workers load.
        workers: Number of actors; where the cluster has no room for all, the others start as soon
            as it has.
        address: "local" starts Ray on this machine; else the address of a cluster ("auto" finds
            one), which then runs the kernel's code.
        timeout_s: Wall-clock seconds that each phase of a candidate may take.
        compile_timeout_s: The same for compiling alone; None for no other.
        memory_bytes: What a child may have; None for half of its machine.
        session: Ray and its workers as several executors use them, even at the same time: then
            `workers`, `address` and `memory_bytes` are those of the session.
        service: What answers candidates in the children: a module, or the path of a file.
        stopped: Asked while the first worker starts, which may take minutes: whether to give up.
            There is nothing to do with the executor then but to close it.

    Raises:
        TunerError: Ray cannot be reached, or a worker runs other code than this process, or the
            kernel's file cannot be loaded.
    """

    def __init__(
        self,
        problem: Problem,
        workers: int = 2,
        address: str = LOCAL,
        timeout_s: float = 60.0,
        compile_timeout_s: float | None = None,
        memory_bytes: int | None = None,
        session: Session | None = None,
        service: str = SERVICE,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        capabilities = make_backend(problem).capabilities()
        self._batch, self._kind = capabilities.batch, capabilities.kind
        self._deadlines = {"": timeout_s, "compile": compile_timeout_s or timeout_s}
        self._problem = pickle.dumps(problem)
        self._key = problem_key(self._problem)
        self._stages = capabilities.stages
        self._kinds = [
            Kind(service, tuple(sorted(stage.resources.items()))) for stage in self._stages
        ]
        self._backlog: list[deque[_Task]] = [deque() for _ in self._stages]
        self._ready: list[Measurement] = []
        self._in_flight = 0
        self._to_load, self._loaded = True, False
        self._refused: Failure | None = None
        self._load_deaths = 0
        self.running = 0
        self._shared = session is not None
        self._session = session or Session(
            address, workers, memory_bytes, resources=capabilities.available
        )
        self._pool = self._session.pool
        self._size = self._session.workers
        try:
            self._pool.join(self, list(dict.fromkeys(self._kinds)))
            self._pool.wait(self, lambda: self._loaded or stopped())
            refused = self._refused
            if refused is not None and refused.kind == "problem":
                raise TunerError(refused.said)
            if refused is not None:
                limits = {**self._deadlines, START: START_S}
                raise TunerError(f"{problem.kernel.file}: at its loading: {told(refused, limits)}")
        except BaseException:
            self.close()
            raise

    @property
    def capacity(self) -> int:
        """One for each worker of each stage and a quarter more, so that none waits for the next to
        be chosen.
        """
        workers = self._size * len(self._stages)
        return workers + max(1, workers // 4)

    @property
    def capacity_ahead(self) -> int:
        """A batch for each worker of each stage, where the backend has batches."""
        return max(self.capacity, self._batch * self._size * len(self._stages))

    def submit(self, candidate: Candidate) -> None:
        """Queues a candidate; it is sent when somebody waits."""
        with self._pool.locked():
            self._in_flight += 1
            stage = self._stages[0].name
            self._backlog[0].append(_Task(dataclasses.replace(candidate, stage=stage)))

    def wait(self, timeout_s: float | None = None) -> list[Measurement]:
        """Hands out what is queued and returns what has come back."""
        self._pool.wait(self, lambda: bool(self._ready) or not self._in_flight, timeout_s)
        with self._pool.locked():
            done, self._ready = self._ready, []
            self._in_flight -= len(done)
        return done

    def close(self) -> None:
        """Drops what is in flight; ends the workers, and Ray, where no session was given."""
        with self._pool.locked():
            self._pool.leave(self)
            for backlog in self._backlog:
                backlog.clear()
            self._ready, self._in_flight = [], 0
        if not self._shared:
            self._session.close()

    def next_call(self, kind: Kind, free: int, busy: bool) -> Call | None:
        """Takes candidates of one stage for a worker, as a client of the pool.

        One whose worker has died goes alone. A batch is halved, so that a worker has one half to
        work on while the other is on its way; where so few are in flight that there is no batch
        for each, they wait for whoever is free first.
        """
        if busy and (self._batch == 1 or self._in_flight <= self.capacity):
            return None
        if not self._loaded:
            if not self._to_load or kind != self._kinds[0]:
                return None
            self._to_load = False
            return Call(self._problem, self._key, [], self._deadlines)
        for stage in reversed(range(len(self._stages))):
            backlog = self._backlog[stage]
            if self._kinds[stage] != kind or not backlog:
                continue
            most = max(self._batch // 2, 1)
            size = min(most, -(-len(backlog) // free))
            tasks: list[_Task] = []
            while backlog and len(tasks) < size and not (tasks and backlog[0].deaths):
                tasks.append(backlog.popleft())
                if tasks[0].deaths:
                    break
            sent = [(task.candidate.number, pickle.dumps(task.candidate)) for task in tasks]
            return Call(self._problem, self._key, sent, self._deadlines, tasks)
        return None

    def take(self, call: Call, answers: list[bytes | Failure]) -> None:
        """Takes what came of a call, as a client of the pool."""
        if not call.candidates:
            refused = answers[0] if isinstance(answers[0], Failure) else None
            self._load_deaths += 1
            if refused is None or not hit(refused) or self._load_deaths > MAX_RETRIES:
                self._loaded, self._refused = True, refused
            self._to_load = not self._loaded
            return
        for task, answer in zip(call.tag, answers, strict=True):
            if not isinstance(answer, Failure):
                self._take_answer(task, answer)
            elif from_outside(answer):
                self._try_again(task, told(answer, self._deadlines), DIED)
            else:
                self._finish(
                    task, verdict(task.candidate.number, answer, self._kind, self._deadlines)
                )

    def lose(self, call: Call, begun: bool, why: str) -> None:
        """Queues the candidates of a lost worker again, as a client of the pool."""
        if not call.candidates:
            self._to_load = True
            return
        for task in reversed(call.tag):
            if begun:
                self._try_again(task, why, DIED)
            else:
                self._backlog[task.stage].appendleft(task)

    def _try_again(self, task: _Task, why: str, what: str) -> None:
        task.deaths += 1
        if task.deaths <= MAX_RETRIES:
            self._backlog[task.stage].appendleft(task)
            return
        reason = f"{what} {task.deaths} times: {why}"
        number = task.candidate.number
        self._finish(task, Measurement(number, Status.RUNTIME, self._kind, reason=reason))

    def _take_answer(self, task: _Task, answer: bytes) -> None:
        number = task.candidate.number
        try:
            found = read_answer(answer)
        except (msgspec.DecodeError, ValueError) as error:
            reason = f"its worker answered what is no measurement: {error}"
            found = Measurement(number, Status.RUNTIME, self._kind, reason=reason)
        if found.number != number:
            reason = f"its worker answered for candidate {found.number}"
            found = Measurement(number, Status.RUNTIME, self._kind, reason=reason)
        if found.again:
            self._try_again(task, found.reason, "tried")
            return
        if found.status != Status.CORRECT or task.stage == len(self._stages) - 1:
            self._finish(task, found)
            return
        candidate = dataclasses.replace(
            task.candidate, stage=self._stages[task.stage + 1].name, artifact=found.artifact
        )
        self._backlog[task.stage + 1].append(_Task(candidate, task.stage + 1, 0, found))

    def _finish(self, task: _Task, found: Measurement) -> None:
        if task.made is not None:
            host_s = {**found.host_s, **task.made.host_s}
            found = dataclasses.replace(found, host_s=host_s, artifact=None)
        self._ready.append(found)
