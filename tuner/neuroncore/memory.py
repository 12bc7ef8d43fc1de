"""Gives every tensor of a program its memory, or says why there is not enough.

Verdict: the live tensors (from first to last access, in program order) must fit at every instant.
Rotation: an allocation inside a loop gets up to `Policy.rotation_depth` times the buffers that are
live at once, then reuses the oldest; an allocation outside all loops is one buffer. Who takes over
whose memory is the result.
"""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tuner.neuroncore.device import Device
from tuner.neuroncore.policy import Policy
from tuner.neuroncore.program import Program, Space, TensorInfo

__all__ = ["CapacityError", "MemoryPlan", "plan_memory"]

SBUF_ALIGNMENT = 4


class CapacityError(Exception):
    """A program needs more memory than the core has.

    Attributes:
        space: SBUF or PSUM.
        asked_bytes: Bytes per partition that are live at once.
        available_bytes: Bytes per partition there are.
    """

    def __init__(self, space: Space, asked_bytes: int, available_bytes: int, largest: str) -> None:
        super().__init__(
            f"out of memory in {space.name}: {asked_bytes} bytes per partition asked, "
            f"{available_bytes} available; largest: {largest}"
        )
        self.space = space
        self.asked_bytes = asked_bytes
        self.available_bytes = available_bytes


@dataclass(frozen=True)
class MemoryPlan:
    """Where tensors take over memory from others.

    Attributes:
        first_heir: Shape (tensors + 1,): tensor t takes over from
            `bequeathers[first_heir[t]:first_heir[t+1]]`.
        bequeathers: Tensors whose memory is taken over.
        sbuf_peak_bytes: Most bytes per partition live at once in SBUF.
        psum_peak_bytes: The same in PSUM, in whole banks.
    """

    first_heir: npt.NDArray[np.int64]
    bequeathers: npt.NDArray[np.int64]
    sbuf_peak_bytes: int
    psum_peak_bytes: int


def live_ranges(program: Program) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Returns the first and last instruction that touch each tensor; untouched ones get (n, -1)."""
    count = len(program)
    first = np.full(len(program.tensors), count, np.int64)
    last = np.full(len(program.tensors), -1, np.int64)
    instruction, column = np.nonzero(program.operands >= 0)
    tensor = program.ranges[program.operands[instruction, column], 0]
    np.minimum.at(first, tensor, instruction)
    np.maximum.at(last, tensor, instruction)
    return first, last


def plan_memory(program: Program, device: Device, policy: Policy) -> MemoryPlan:
    """Allocates the tensors of a program.

    Raises:
        CapacityError: What is live at once does not fit; names the numbers and the largest tensors.
    """
    first, last = live_ranges(program)
    pools = {
        Space.SBUF: _Pool(Space.SBUF, device.sbuf.usable_bytes_per_partition, SBUF_ALIGNMENT),
        Space.PSUM: _Pool(
            Space.PSUM, device.psum.bytes_per_partition, device.psum.bank_bytes_per_partition
        ),
    }
    touched = [t for t in np.argsort(first, kind="stable").tolist() if last[t] >= 0]
    on_chip = [t for t in touched if program.tensors[t].space in pools]
    slots = _slots(program.tensors, on_chip, first, last, policy.rotation_depth)
    heirs: list[list[int]] = [[] for _ in program.tensors]
    ending: list[tuple[int, int]] = []
    for t in on_chip:
        while ending and ending[0][0] < first[t]:
            _, over = heapq.heappop(ending)
            pools[program.tensors[over].space].release(over, program.tensors[over])
        info = program.tensors[t]
        heirs[t] = pools[info.space].take(t, info, slots[info.site])
        heapq.heappush(ending, (int(last[t]), t))
    lengths = [0, *(len(h) for h in heirs)]
    return MemoryPlan(
        first_heir=np.cumsum(lengths, dtype=np.int64),
        bequeathers=np.array([b for h in heirs for b in h], np.int64),
        sbuf_peak_bytes=pools[Space.SBUF].peak,
        psum_peak_bytes=pools[Space.PSUM].peak,
    )


def _slots(
    tensors: tuple[TensorInfo, ...],
    on_chip: list[int],
    first: npt.NDArray[np.int64],
    last: npt.NDArray[np.int64],
    depth: int,
) -> dict[str, int]:
    """How many buffers each place of allocation may use: `depth` times what is live of it at
    once.
    """
    live: dict[str, list[int]] = defaultdict(list)
    most: dict[str, int] = defaultdict(int)
    for t in on_chip:
        ends = live[tensors[t].site]
        while ends and ends[0] < first[t]:
            heapq.heappop(ends)
        heapq.heappush(ends, int(last[t]))
        most[tensors[t].site] = max(most[tensors[t].site], len(ends))
    return {site: count * depth for site, count in most.items()}


@dataclass
class _Freed:
    """Memory that a finished tensor left; consumed piece by piece."""

    bytes: int
    tensor: int


@dataclass
class _Pool:
    space: Space
    capacity: int
    alignment: int
    peak: int = 0
    live: dict[int, tuple[int, TensorInfo]] = field(default_factory=dict)
    fresh: int = field(init=False)
    created: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    freed: deque[_Freed] = field(default_factory=deque)
    freed_at: dict[str, deque[_Freed]] = field(default_factory=lambda: defaultdict(deque))

    def __post_init__(self) -> None:
        self.fresh = self.capacity

    def take(self, tensor: int, info: TensorInfo, slots: int) -> list[int]:
        """Gives memory to a tensor; returns the tensors it takes over from."""
        need = -(-info.bytes // self.alignment) * self.alignment
        self.live[tensor] = (need, info)
        asked = sum(size for size, _ in self.live.values())
        if asked > self.capacity:
            raise CapacityError(self.space, asked, self.capacity, self._largest())
        self.peak = max(self.peak, asked)
        own = self.freed_at[info.site]
        heirs: list[int] = []
        if self.created[info.site] < slots and self.fresh >= need:
            self.created[info.site] += 1
            self.fresh -= need
            return heirs
        need = self._consume(own, need, heirs)
        given = min(need, self.fresh)
        self.fresh -= given
        self._consume(self.freed, need - given, heirs)
        return heirs

    def release(self, tensor: int, info: TensorInfo) -> None:
        """Takes a finished tensor's memory back."""
        size, _ = self.live.pop(tensor)
        piece = _Freed(size, tensor)
        self.freed.append(piece)
        self.freed_at[info.site].append(piece)

    @staticmethod
    def _consume(pieces: deque[_Freed], need: int, heirs: list[int]) -> int:
        while need and pieces:
            piece = pieces[0]
            if piece.bytes:
                heirs.append(piece.tensor)
            used = min(piece.bytes, need)
            piece.bytes -= used
            need -= used
            if not piece.bytes:
                pieces.popleft()
        return need

    def _largest(self) -> str:
        biggest = sorted(self.live.values(), key=lambda entry: -entry[0])[:3]
        return ", ".join(f"{info.name or 'tensor'} {size} ({info.site})" for size, info in biggest)
