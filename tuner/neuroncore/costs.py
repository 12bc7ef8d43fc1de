"""What a piece of work costs on a device, in picoseconds. The formulas are AWS's where it gives
one.

Times are whole picoseconds so that every implementation of the schedule agrees to the last digit.
"""

from __future__ import annotations

from typing import NamedTuple

from tuner.neuroncore.device import Device
from tuner.neuroncore.policy import Policy
from tuner.neuroncore.program import (
    DmaWork,
    ElementwiseWork,
    Engine,
    MatmulWork,
    Program,
    Space,
    Work,
)
from tuner.neuroncore.schedule.queues import engine_of, trigger_of

__all__ = ["Cost", "cost", "costs", "picoseconds"]

COMPUTE, DMA, MATMUL = 0, 1, 2

SIDE = 4
"""The array of TensorE is told apart by quarters of its rows and of its columns."""

QUARTERS = SIDE * SIDE
WHOLE_ARRAY = (1 << QUARTERS) - 1

_INDICES = {"iota", "affine_select", "range_select", "select"}


class Cost(NamedTuple):
    """Cost of one instruction.

    Attributes:
        kind: COMPUTE, DMA or MATMUL.
        issue_ps: COMPUTE: until the engine takes the next instruction. DMA: service time on each
            engine. MATMUL: time to load the stationary operand, per instruction.
        latency_ps: COMPUTE: until the result may be read. DMA: from the ring to the first byte.
            MATMUL: time of the moving operand, per instruction.
        parts: DMA: engines it is spread over. MATMUL: instructions a call.
        hold_ps: COMPUTE: how long it holds the ports it shares. DMA: how long the stream is taken.
        tile: MATMUL: the quarters of the array that it occupies, a bit each.
        delay_ps: DMA: from its start until it is in the ring.
    """

    kind: int
    issue_ps: int
    latency_ps: int
    parts: int
    hold_ps: int = 0
    tile: int = WHOLE_ARRAY
    delay_ps: int = 0


KIND, ISSUE, LATENCY, PARTS, HOLD, TILE, DELAY = range(7)
"""Columns of a table of costs."""


def picoseconds(nanoseconds: float) -> int:
    """Rounds to whole picoseconds."""
    return round(nanoseconds * 1000)


def costs(program: Program, device: Device, policy: Policy, cores_busy: int = 1) -> list[Cost]:
    """Returns the cost of each of a program's works."""
    return [cost(work, device, policy, cores_busy) for work in program.works]


def cost(work: Work, device: Device, policy: Policy, cores_busy: int = 1) -> Cost:
    """Returns the cost of a piece of work on a device whose cores share HBM."""
    if isinstance(work, MatmulWork):
        return _matmul(work, device)
    if isinstance(work, DmaWork):
        return _dma(work, device, policy, cores_busy)
    engine = engine_of(work, policy)
    if engine == Engine.VECTOR:
        return _vector(work, device)
    return _scalar(work, device) if engine == Engine.SCALAR else _gpsimd(work, device)


def _matmul(work: MatmulWork, device: Device) -> Cost:
    """LoadStationary then MultiplyMoving; float32 takes several passes over several
    instructions.
    """
    t = device.tensor
    instructions, passes = 1, 1
    if work.itemsize == 4:
        passes = t.fp32_passes
        if work.transpose:
            passes = t.fp32_transpose_passes
        elif work.onezero:
            passes = t.fp32_onezero_passes
        instructions = min(t.fp32_instructions, passes)
    passes = -(-passes // instructions)
    load = max(-(-work.stationary_free // t.stationary_load_speedup), t.stationary_load_min_cycles)
    columns = max(min(t.moving_min_cycles, work.stationary_free), work.moving_free)
    move = passes * columns / (t.transpose_overlap if work.transpose else 1)
    ghz = device.clock.tensor_ghz
    return Cost(
        MATMUL,
        picoseconds(passes * load / ghz),
        picoseconds((move + t.matmul_extra_cycles) / ghz / t.sustained_factor),
        instructions,
        tile=_tile(work.tile, device),
    )


def _tile(tile: tuple[int, int, int, int], device: Device) -> int:
    """Returns the quarters of the array that a tile touches."""
    high, wide = device.tensor.rows // SIDE, device.tensor.columns // SIDE
    row, rows, column, columns = tile
    return sum(
        1 << (SIDE * r + c)
        for r in range(row // high, -(-(row + rows) // high))
        for c in range(column // wide, -(-(column + columns) // wide))
    )


def _dma(work: DmaWork, device: Device, policy: Policy, cores_busy: int) -> Cost:
    """Rows are dealt to the DMA engines; each pays per byte and per run of bytes contiguous in
    HBM. Rows next to each other are one run, unless they are shorter than the shortest run.
    """
    dma = device.dma
    engines = min(dma.engines, -(-work.partitions // dma.partitions_per_engine))
    rows = -(-work.partitions // engines)
    rate = device.share_bytes_per_ns(cores_busy) / dma.engines
    if work.transpose:
        hbm = work.transpose == "hbm"
        rate *= dma.transpose_hbm_factor if hbm else dma.transpose_sbuf_factor
    static = work.dge == "none" or (work.dge == "unknown" and not dma.dynamic)
    if work.rows_contiguous and work.runs * work.run_bytes >= dma.run_bytes_min:
        serve = _run_ns(rows * work.runs * work.run_bytes, device, policy, rate)
    elif static and work.runs > 1 and work.run_bytes < dma.tiny_run_bytes:
        serve = rows * work.runs * dma.tiny_run_ns  # elements of strided rows
    else:
        serve = rows * work.runs * _run_ns(work.run_bytes, device, policy, rate)
    start = dma.start_ns + (dma.store_skew_ns if work.engine == Engine.STORE else 0)
    trigger = trigger_of(work)
    busy = {Engine.SCALAR: dma.hwdge_busy_ns, Engine.GPSIMD: dma.swdge_busy_ns}
    return Cost(
        DMA,
        picoseconds(serve),
        picoseconds(start),
        engines,
        hold_ps=picoseconds(dma.issue_interval_ns if trigger is None else busy[trigger]),
        delay_ps=picoseconds(dma.swdge_latency_ns if trigger == Engine.GPSIMD else 0),
    )


def _run_ns(run_bytes: int, device: Device, policy: Policy, rate: float) -> float:
    """Time of one DMA engine for a run of contiguous bytes."""
    slow = 0.0
    if run_bytes < policy.slow_row_bytes:
        slow = policy.slow_row_ns + run_bytes / policy.slow_row_bytes_per_ns
    dma = device.dma
    return max(slow, dma.run_overhead_ns + max(run_bytes, dma.run_bytes_min) / rate)


def _vector(work: ElementwiseWork, device: Device) -> Cost:
    v = device.vector
    register = v.register_cycles if work.reduces else 0
    cycles = work.elements * _vector_cycles(work, device) * _strided(work, device)
    return _compute(cycles, v.fixed_cycles + register, v.latency_cycles + register,
                    device.clock.vector_ghz)  # fmt: skip


def _scalar(work: ElementwiseWork, device: Device) -> Cost:
    s = device.scalar
    register = s.register_cycles if work.reduces else 0
    narrow = all(operand.itemsize <= 2 for operand in work.operands)
    copies = work.opcode in ("tensor_copy", "tensor_scalar") and narrow and s.tensor_copy
    per_element = s.copy_16bit_cycles if copies else s.activation_cycles
    cycles = work.elements * per_element * _strided(work, device)
    return _compute(cycles, s.fixed_cycles + register, s.latency_cycles + register,
                    device.clock.scalar_ghz)  # fmt: skip


def _gpsimd(work: ElementwiseWork, device: Device) -> Cost:
    g = device.gpsimd
    per_element = g.elementwise_cycles
    if work.opcode == "memset":
        per_element = g.memset_cycles
    elif work.opcode in _INDICES:
        per_element = g.index_cycles
    cycles = work.elements * per_element * _strided(work, device)
    return _compute(cycles, g.fixed_cycles, g.latency_cycles, device.clock.gpsimd_ghz)


def _compute(moving: float, fixed: int, latency: int, ghz: float) -> Cost:
    """Fixed cycles plus cycles of moving data; the latency also counts the pipeline's drain."""
    return Cost(
        COMPUTE,
        picoseconds((moving + fixed) / ghz),
        picoseconds((moving + latency) / ghz),
        1,
        hold_ps=picoseconds(moving / ghz),
    )


def _strided(work: ElementwiseWork, device: Device) -> int:
    """Elements far apart take half the bandwidth of SBUF and PSUM."""
    far = device.sbuf.strided_bytes
    return 2 if any(abs(o.inner_stride) * o.itemsize >= far for o in work.operands) else 1


def _vector_cycles(work: ElementwiseWork, device: Device) -> float:
    """Cycles an element. The 16-bit rate of two inputs is documented for add, subtract and
    multiply; every operation gets it.
    """
    v = device.vector
    psum = sum(operand.space == Space.PSUM for operand in work.operands)
    narrow = all(operand.itemsize <= 2 for operand in work.operands)
    unit = all(abs(operand.inner_stride) <= 1 for operand in work.operands)
    from_psum = any(operand.space == Space.PSUM for operand in work.operands[1:])
    match work.opcode:
        case "memset":
            return v.memset_16bit_zero_cycles if narrow and work.zero else v.memset_cycles
        case "tensor_tensor":
            if from_psum:
                return v.two_inputs_psum_cycles
            fast = narrow and unit and not psum
            return v.two_inputs_16bit_cycles if fast else v.two_inputs_cycles
        case "scalar_tensor_tensor":
            even = narrow and work.elements % 2 == 0
            return v.three_inputs_16bit_cycles if even else v.three_inputs_cycles
        case "tensor_copy_predicated":
            return v.predicated_psum_cycles if psum else v.predicated_cycles
        case "tensor_reduce":
            return v.reduce_16bit_cycles if narrow else v.other_cycles
        case "tensor_tensor_scan":
            return v.scan_cycles
        case "reciprocal":
            return v.reciprocal_cycles
        case "bn_aggr":
            return v.aggregate_cycles
        case "tensor_copy" | "tensor_scalar":
            if narrow:  # the fastest wants unit stride and SBUF on both sides
                return v.copy_16bit_cycles if unit and not psum else v.copy_16bit_psum_cycles
            return v.copy_32bit_psum_cycles if psum else v.copy_32bit_cycles
    return v.other_cycles
