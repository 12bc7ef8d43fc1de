"""Where every instruction is issued and where it completes.

A stream issues instructions: the four compute engines, then the load queues, then the store queues.
Most complete on the lane of the same number; a DMA transfer that an engine triggers itself is
issued by that engine's stream and completes on a lane of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.neuroncore.compiled import compiled
from tuner.neuroncore.policy import Policy
from tuner.neuroncore.program import DmaWork, ElementwiseWork, Engine, Program, Space, Work

__all__ = ["Queues", "engine_of", "engines_of", "queues", "trigger_of"]


@dataclass(frozen=True)
class Queues:
    """Streams and lanes of a program.

    Attributes:
        lane: Shape (instructions,): where each completes.
        stream_of: Shape (lanes,): the stream that issues a lane's instructions; the last two lanes
            hold transfers that ScalarE and GpSimdE trigger.
        window: Shape (streams,): of so many instructions in order the first that can starts.
    """

    lane: npt.NDArray[np.int8]
    stream_of: npt.NDArray[np.int8]
    window: npt.NDArray[np.int32]


def engine_of(work: Work, policy: Policy) -> Engine:
    """Returns the engine of a piece of work; the policy settles Engine.ANY."""
    if isinstance(work, DmaWork):
        return work.engine
    if not isinstance(work, ElementwiseWork):
        return Engine.TENSOR
    if work.engine != Engine.ANY:
        return work.engine
    if work.opcode == "memset":
        return Engine[policy.memset_engine.upper()]
    if work.opcode == "tensor_copy":
        from_psum = work.operands[1].space == Space.PSUM
        return Engine[(policy.copy_engine if from_psum else policy.move_engine).upper()]
    if work.opcode == "tensor_scalar" and work.table:  # ScalarE could do it: it scales its input
        return Engine[policy.scale_engine.upper()]
    return Engine.VECTOR


def engines_of(program: Program, policy: Policy) -> tuple[Engine, ...]:
    """Returns the engine of each of `program.works`."""
    return tuple(engine_of(work, policy) for work in program.works)


def trigger_of(work: Work) -> Engine | None:
    """Returns the engine whose time a DMA transfer takes to be triggered, if any.

    Descriptors made by software keep GpSimdE busy, those of the hardware generator the engine that
    asks; only of ScalarE is the cost known. Whatever else triggers transfers is taken to be free.
    """
    if not isinstance(work, DmaWork):
        return None
    if work.dge == "swdge" and work.trigger == Engine.GPSIMD:
        return Engine.GPSIMD
    if work.dge == "hwdge" and work.trigger == Engine.SCALAR:
        return Engine.SCALAR
    return None


def queues(program: Program, policy: Policy) -> Queues:
    """Deals the instructions out: transfers take the queues of their direction in turn."""
    streams = Engine.LOAD + policy.load_queues + policy.store_queues
    by_scalar, by_gpsimd = streams, streams + 1
    triggered = {Engine.SCALAR: by_scalar, Engine.GPSIMD: by_gpsimd}
    engines = engines_of(program, policy)
    first, count = [], []
    for work, engine in zip(program.works, engines, strict=True):
        trigger = trigger_of(work)
        if trigger is not None:
            turn = (triggered[trigger], 1)
        elif engine == Engine.LOAD:
            turn = (int(Engine.LOAD), policy.load_queues)
        elif engine == Engine.STORE:
            turn = (Engine.LOAD + policy.load_queues, policy.store_queues)
        else:
            turn = (int(engine), 1)
        first.append(turn[0])
        count.append(turn[1])
    lane = _deal(program.work_of, np.array(first, np.int8), np.array(count, np.int8), streams + 2)
    stream_of = np.array([*range(streams), Engine.SCALAR, Engine.GPSIMD], np.int8)
    window = np.ones(streams, np.int32)
    window[Engine.TENSOR] = policy.tensor_window
    window[[Engine.VECTOR, Engine.SCALAR]] = policy.vector_window
    return Queues(lane, stream_of, window)


@compiled
def _deal(work_of: Any, first: Any, count: Any, lanes: Any) -> Any:
    turn = np.zeros(lanes, np.int64)
    lane = np.empty(len(work_of), np.int8)
    for i in range(len(work_of)):
        work = work_of[i]
        q = first[work]
        if count[work] > 1:
            lane[i] = q + turn[q]
            turn[q] += 1
            if turn[q] == count[work]:
                turn[q] = 0
        else:
            lane[i] = q
    return lane
