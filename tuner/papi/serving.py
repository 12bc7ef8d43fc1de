"""Continuous batching: requests arrive, wait for room, are prefilled in chunks beside those that
decode, and leave when their responses end.

Each iteration takes the live requests' rows and a chunk of prompt tokens through the FC kernels
together. Unlike a batch that begins and ends as one, the rows rise and fall, and so does the unit
that is the quicker: here hysteresis and dwell may be worth their while.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tuner.neuroncore.compiled import compiled
from tuner.papi.costs import PJ_PER_W_NS, Costs
from tuner.papi.decode import CERTAIN, FINEST, NS_PER_S, NS_PER_US, Speculation
from tuner.papi.policies import Policy
from tuner.papi.systems import GPU, kv_tokens
from tuner.papi.tables import tables_of
from tuner.papi.traces import Trace
from tuner.runtime.errors import TunerError

__all__ = ["Arrivals", "Served", "Server", "arrivals", "serve"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Arrivals:
    """Requests in the order of their arrival.

    Attributes:
        at_ns: When each arrives, rising.
        lin: Tokens of each prompt.
        lout: Tokens of each response.
    """

    at_ns: Floats
    lin: Ints
    lout: Ints


def arrivals(trace: Trace, count: int, per_s: float, seed: int = 0) -> Arrivals:
    """Draws requests that arrive at random (Poisson), the same ones for the same numbers.

    Raises:
        TunerError: The rate is no positive number.
    """
    if not 0 < per_s < 1e9:
        raise TunerError(f"arrivals a second = {per_s!r}: expected more than 0")
    generator = np.random.default_rng(seed)
    rows = generator.integers(0, len(trace.lin), count)
    at_ns = np.cumsum(generator.exponential(NS_PER_S / per_s, count))
    return Arrivals(at_ns, trace.lin[rows], trace.lout[rows])


@dataclass(frozen=True)
class Server:
    """How requests are admitted.

    Attributes:
        slots: Requests that are live at most.
        chunk: Prompt tokens of an iteration at most.
    """

    slots: int
    chunk: int = 512

    def __post_init__(self) -> None:
        for name, value, most in (("slots", self.slots, 4096), ("chunk", self.chunk, 16384)):
            if not 1 <= value <= most:
                raise TunerError(f"{name} = {value}: expected 1 to {most}")


@dataclass(frozen=True)
class Served:
    """What came of requests.

    Attributes:
        iteration_ns: Of each iteration, change of unit included.
        rows: Of each iteration.
        on_gpu: Whether the GPU ran its FC kernels.
        latency_ns: From each request's arrival to its last token.
        changes: Changes from one unit to the other.
        energy_pj: Of all iterations, prompts included.
        tokens: Of all responses.
        end_ns: When the last response ended.
    """

    iteration_ns: Floats
    rows: Ints
    on_gpu: npt.NDArray[np.bool_]
    latency_ns: Floats
    changes: int
    energy_pj: float
    tokens: int
    end_ns: float

    @property
    def busy_ns(self) -> float:
        """Time in iterations; the rest nobody was there."""
        return float(self.iteration_ns.sum())


def serve(
    costs: Costs,
    requests: Arrivals,
    server: Server,
    policy: Policy,
    speculation: Speculation = CERTAIN,
) -> Served:
    """Serves requests to the last.

    Args:
        costs: Of the model on the system.
        requests: Who come when.
        server: Who is admitted.
        policy: Which unit runs the FC kernels, and how many tokens to try.
        speculation: What comes of them.

    Raises:
        TunerError: A request has no room for its keys and values even alone.
    """
    room = kv_tokens(costs.system, costs.model)
    if (longest := int((requests.lin + requests.lout).max())) > room:
        raise TunerError(
            f"system {costs.system.name}: a request has {longest:,} tokens, there is room for the "
            f"keys and values of {room:,}"
        )
    tries = np.array([1, *(policy.tlp(live) for live in range(1, server.slots + 1))])
    advance = np.array([speculation.parts(int(each)) for each in tries])
    tables = tables_of(costs, server.slots * int(tries.max()) + server.chunk, server.slots)
    live = np.arange(server.slots + 1)
    drafts = (tries - 1) * speculation.draft_share * tables.quickest_ns()[live]
    units = costs.system.fc_runs_on
    rules = _Rules(
        slots=server.slots,
        chunk=server.chunk,
        room=room,
        alpha_up=policy.alpha_up,
        alpha_down=policy.alpha_down,
        dwell=policy.dwell,
        choice=len(units) == 2,
        switch_ns=costs.system.reschedule_us * NS_PER_US,
    )
    asked = _Requests(requests.at_ns, requests.lin, requests.lout * FINEST)
    found = _serve(asked, rules, tables, tries, advance, drafts, FINEST)
    iterations, count, latency_ns, energy_pj, changes, end_ns = found
    taken, rows, on_gpu = iterations[:count].T
    return Served(
        iteration_ns=taken,
        rows=rows.astype(np.int64),
        on_gpu=on_gpu.astype(bool) if rules.choice else np.full(count, units[0] == GPU),
        latency_ns=latency_ns,
        changes=int(changes),
        energy_pj=float(energy_pj) + costs.static_w * PJ_PER_W_NS * float(end_ns),
        tokens=int(requests.lout.sum()),
        end_ns=float(end_ns),
    )


class _Requests(NamedTuple):
    at_ns: Floats
    lin: Ints
    parts: Ints


class _Rules(NamedTuple):
    slots: int
    chunk: int
    room: int
    alpha_up: int
    alpha_down: int
    dwell: int
    choice: bool
    switch_ns: float


@compiled
def _chosen(rules: Any, unit: int, kept: int, rows: int) -> int:
    """Returns the unit of an iteration, 0 or 1, given that of the last; -1 where there is none."""
    if not rules.choice:
        return 0
    if unit < 0:
        return 1 if rows > rules.alpha_up else 0
    if kept < rules.dwell:
        return unit
    if unit == 1:
        return 0 if rows <= rules.alpha_down else 1
    return 1 if rows > rules.alpha_up else 0


@compiled
def _advanced(who: Ints, left: Ints, context: Floats, step: int, finest: int) -> Any:
    """Has all live requests go on by so many parts of a token; returns the slots of those that
    have ended.
    """
    for slot in range(len(who)):
        if who[slot] >= 0:
            left[slot] -= step
            context[slot] += step / finest
    return np.flatnonzero((who >= 0) & (left <= 0))


@compiled
def _serve(
    asked: Any,
    rules: Any,
    tables: Any,
    tries: Ints,
    advance: Ints,
    drafts: Floats,
    finest: int,
) -> Any:
    """Returns (time, rows and unit of each iteration, their number, latencies, energy, changes, end
    of the last).

    A request that is admitted waits for its prompt to be prefilled, one after the other, and then
    decodes in its slot; its room for keys and values is taken from the first.
    """
    count = len(asked.at_ns)
    latency_ns = np.zeros(count)
    who = np.full(rules.slots, -1)
    left = np.zeros(rules.slots, dtype=np.int64)
    context = np.zeros(rules.slots)
    iterations = np.empty((1024, 3))
    done = live = admitted = prefilled = number = changes = kept = 0
    prompt = asked.lin[0] if count else 0
    used = 0.0
    clock = energy = 0.0
    unit = -1
    while done < count:
        while (
            admitted < count
            and asked.at_ns[admitted] <= clock
            and admitted - done < rules.slots
            and used + asked.lin[admitted] + asked.parts[admitted] / finest <= rules.room
        ):
            used += asked.lin[admitted] + asked.parts[admitted] / finest
            admitted += 1
        if live == 0 and prefilled == admitted:
            clock = asked.at_ns[admitted]
            continue
        chunk = 0
        begin = prefilled
        while prefilled < admitted and chunk < rules.chunk:
            part = min(prompt, rules.chunk - chunk)
            chunk += part
            prompt -= part
            if prompt > 0:
                break
            prefilled += 1
            prompt = asked.lin[prefilled] if prefilled < count else 0
        tried = tries[live] if live else 0
        rows = live * tried + chunk
        taken = 0.0
        before, unit = unit, _chosen(rules, unit, kept, rows)
        if before >= 0 and unit != before:
            kept, changes = 0, changes + 1
            taken += rules.switch_ns
        length = context.sum()
        taken += tables.fc_ns[unit, rows] + tables.others_ns[rows]
        pj = tables.fc_pj[unit, rows] + tables.others_pj[rows]
        if live:
            reads = np.ceil(length / live / tables.tokens_per_read)
            taken += (tables.attention_ns[live] + tables.read_ns[live] * reads) * tried
            taken += drafts[live]
            pj += tables.attention_pj[live] * tried * length / live
        clock += taken
        energy += pj
        kept += 1
        if number == len(iterations):
            iterations = np.concatenate((iterations, np.empty_like(iterations)))
        iterations[number, 0] = taken
        iterations[number, 1] = rows
        iterations[number, 2] = unit
        number += 1
        if live:
            for slot in _advanced(who, left, context, advance[live], finest):
                each = who[slot]
                latency_ns[each] = clock - asked.at_ns[each]
                used -= asked.lin[each] + asked.parts[each] / finest
                who[slot], context[slot] = -1, 0.0
                live, done = live - 1, done + 1
        for slot in np.flatnonzero(who < 0)[: prefilled - begin]:
            who[slot], left[slot], context[slot] = begin, asked.parts[begin], asked.lin[begin]
            begin, live = begin + 1, live + 1
    return iterations, number, latency_ns, energy, changes, clock
