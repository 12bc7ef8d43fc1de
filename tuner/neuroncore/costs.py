"""What a piece of work costs on a device, in picoseconds. The formulas are AWS's where it gives
one.

Times are whole picoseconds so that every implementation of the schedule agrees to the last digit.
"""

from __future__ import annotations

from typing import NamedTuple

from tuner.neuroncore.device import Device
from tuner.neuroncore.program import DmaWork, ElementwiseWork, Engine, MatmulWork, Space, Work

__all__ = ["Cost", "cost", "picoseconds"]

COMPUTE, DMA, MATMUL = 0, 1, 2


class Cost(NamedTuple):
    """Cost of one instruction.

    Attributes:
        kind: COMPUTE, DMA or MATMUL.
        issue_ps: COMPUTE: until the engine takes the next instruction. DMA: service time on each
            engine.
            MATMUL: time to load the stationary operand, per instruction.
        latency_ps: COMPUTE: until the result may be read. MATMUL: time of the moving operand, per
            instruction.
        parts: DMA: engines it is spread over. MATMUL: instructions a call.
        psum_ps: COMPUTE: how long it holds PSUM where VectorE and ScalarE exclude each other.
    """

    kind: int
    issue_ps: int
    latency_ps: int
    parts: int
    psum_ps: int


def picoseconds(nanoseconds: float) -> int:
    """Rounds to whole picoseconds."""
    return round(nanoseconds * 1000)


def cost(work: Work, device: Device) -> Cost:
    """Returns the cost of a piece of work on a device."""
    if isinstance(work, MatmulWork):
        return _matmul(work, device)
    if isinstance(work, DmaWork):
        return _dma(work, device)
    return _elementwise(work, device)


def _matmul(work: MatmulWork, device: Device) -> Cost:
    """LoadStationary then MultiplyMoving; float32 takes several passes over several
    instructions.
    """
    t = device.tensor
    instructions = t.fp32_instructions if work.fp32 else 1
    passes = t.fp32_passes // instructions if work.fp32 else 1
    load = max(-(-work.stationary_free // t.stationary_load_speedup), t.stationary_load_min_cycles)
    move = max(min(t.moving_min_cycles, work.stationary_free), work.moving_free)
    ghz = device.clock.tensor_ghz
    return Cost(
        MATMUL,
        picoseconds(passes * load / ghz),
        picoseconds((passes * move + t.matmul_extra_cycles) / ghz / t.sustained_factor),
        instructions,
        0,
    )


def _dma(work: DmaWork, device: Device) -> Cost:
    """Rows are dealt to the DMA engines; each pays per byte and per run of bytes contiguous in
    HBM.
    """
    dma = device.dma
    engines = min(dma.engines, -(-work.partitions // dma.partitions_per_engine))
    rows = -(-work.partitions // engines)
    bytes_per_ns = device.bytes_per_ns / dma.engines
    if work.rows_contiguous:
        run = max(rows * work.runs * work.run_bytes, dma.run_bytes_min)
        serve = dma.run_overhead_ns + run / bytes_per_ns
    else:
        run = max(work.run_bytes, dma.run_bytes_min)
        serve = rows * work.runs * (dma.run_overhead_ns + run / bytes_per_ns)
    return Cost(DMA, picoseconds(serve), 0, engines, 0)


def _elementwise(work: ElementwiseWork, device: Device) -> Cost:
    """Fixed cycles plus cycles per element; the latency also counts the pipeline's drain."""
    if work.engine == Engine.VECTOR:
        ghz, fixed, latency = (
            device.clock.vector_ghz,
            device.vector.fixed_cycles,
            device.vector.latency_cycles,
        )
        per_element = _vector_cycles(work, device)
    elif work.engine == Engine.SCALAR:
        ghz, fixed, latency = (
            device.clock.scalar_ghz,
            device.scalar.fixed_cycles,
            device.scalar.latency_cycles,
        )
        narrow = all(operand.itemsize <= 2 for operand in work.operands)
        copies = work.opcode == "tensor_copy" and narrow
        per_element = device.scalar.copy_16bit_cycles if copies else device.scalar.activation_cycles
    else:
        ghz, fixed, latency = (
            device.clock.gpsimd_ghz,
            device.gpsimd.fixed_cycles,
            device.gpsimd.latency_cycles,
        )
        memset = work.opcode == "memset"
        per_element = device.gpsimd.memset_cycles if memset else device.gpsimd.elementwise_cycles
    if any(abs(o.inner_stride) * o.itemsize >= device.sbuf.strided_bytes for o in work.operands):
        per_element *= 2  # half the bandwidth of SBUF and PSUM
    table = device.scalar.table_load_ns if work.loads_table else 0.0
    moving = work.elements * per_element / ghz
    touches_psum = work.engine != Engine.GPSIMD and any(
        o.space == Space.PSUM for o in work.operands
    )
    return Cost(
        COMPUTE,
        picoseconds(moving + fixed / ghz + table),
        picoseconds(moving + latency / ghz + table),
        1,
        picoseconds(moving) if touches_psum else 0,
    )


def _vector_cycles(work: ElementwiseWork, device: Device) -> float:
    v = device.vector
    psum = sum(operand.space == Space.PSUM for operand in work.operands)
    narrow = all(operand.itemsize <= 2 for operand in work.operands)
    unit = all(abs(operand.inner_stride) <= 1 for operand in work.operands)
    if work.opcode == "memset":
        return v.memset_16bit_zero_cycles if narrow and work.zero else v.memset_cycles
    if work.opcode == "tensor_tensor":
        if any(operand.space == Space.PSUM for operand in work.operands[1:]):
            return v.two_inputs_psum_cycles
        return v.two_inputs_16bit_cycles if narrow and unit and not psum else v.two_inputs_cycles
    if narrow:  # the fastest copies want 16-bit operands, unit stride and SBUF on both sides
        return v.copy_16bit_cycles if unit and not psum else v.copy_16bit_psum_cycles
    return v.copy_32bit_psum_cycles if psum else v.copy_32bit_cycles
