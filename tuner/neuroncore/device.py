"""Devices: the constants of one NeuronCore, read from `devices/*.toml` or a user's own file."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from tuner.neuroncore.device_files import (
    TAGS,
    Constant,
    DeviceFile,
    device_names,
    is_file,
    parse,
    read,
    text_of,
)
from tuner.runtime.errors import TunerError, unknown

__all__ = [
    "TAGS",
    "Constant",
    "Device",
    "constants",
    "device",
    "device_from_source",
    "device_names",
    "device_source",
]

GENERATIONS = {"NeuronCore-v2": 2, "NeuronCore-v3": 3, "NeuronCore-v4": 4}


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Values of one table of a device file."""


class Clock(_Section, frozen=True):
    """Engine clocks."""

    tensor_ghz: float
    vector_ghz: float
    scalar_ghz: float
    gpsimd_ghz: float


class Tensor(_Section, frozen=True):
    """TensorE: array size, operand limits, matmul cost, clock ramp."""

    rows: int
    columns: int
    contraction_max: int
    stationary_free_max: int
    moving_free_max: int
    matmul_banks_max: int
    moving_min_cycles: int
    matmul_extra_cycles: int
    matmul_tail_cycles: int
    stationary_load_speedup: int
    stationary_load_min_cycles: int
    fp32_passes: int
    fp32_instructions: int
    fp32_onezero_passes: int
    fp32_transpose_passes: int
    transpose_overlap: float
    tile_issue_gap_cycles: int
    clock_ramp: bool
    ramp_start_fraction: float
    ramp_hold_ns: float
    ramp_rise_ns: float
    ramp_window_ns: float
    ramp_threshold: float
    sustained_factor: float


class Psum(_Section, frozen=True):
    """PSUM: size, banks, who may reach it."""

    bytes_per_partition: int
    bank_bytes_per_partition: int
    vector_scalar_exclusive: bool
    same_bank_exclusive: bool
    gpsimd_reads: bool

    @property
    def banks(self) -> int:
        """Banks of a partition."""
        return self.bytes_per_partition // self.bank_bytes_per_partition


class Sbuf(_Section, frozen=True):
    """SBUF: size and access rules."""

    partitions: int
    bytes_per_partition: int
    usable_bytes_per_partition: int
    strided_bytes: int
    vector_gpsimd_exclusive: bool


class Vector(_Section, frozen=True):
    """VectorE: fixed cost and cycles per element by operand class."""

    fixed_cycles: int
    latency_cycles: int
    copy_16bit_cycles: float
    copy_16bit_psum_cycles: float
    copy_32bit_cycles: float
    copy_32bit_psum_cycles: float
    two_inputs_16bit_cycles: float
    two_inputs_cycles: float
    two_inputs_psum_cycles: float
    three_inputs_16bit_cycles: float
    three_inputs_cycles: float
    predicated_cycles: float
    predicated_psum_cycles: float
    reduce_16bit_cycles: float
    scan_cycles: float
    reciprocal_cycles: float
    aggregate_cycles: float
    other_cycles: float
    memset_16bit_zero_cycles: float
    memset_cycles: float
    register_cycles: int


class Scalar(_Section, frozen=True):
    """ScalarE: fixed cost, cycles per element, activation tables."""

    fixed_cycles: int
    latency_cycles: int
    activation_cycles: float
    copy_16bit_cycles: float
    register_cycles: int
    table_load_ns: float
    tensor_copy: bool


class Gpsimd(_Section, frozen=True):
    """GpSimdE: fixed cost and cycles per element."""

    fixed_cycles: int
    latency_cycles: int
    elementwise_cycles: float
    index_cycles: float
    memset_cycles: float


class Sync(_Section, frozen=True):
    """Semaphores."""

    cross_engine_ns: float
    same_engine_ns: float


class Dma(_Section, frozen=True):
    """DMA engines and queues."""

    engines: int
    partitions_per_engine: int
    bytes_per_ns: float
    run_overhead_ns: float
    run_bytes_min: int
    tiny_run_bytes: int
    tiny_run_ns: float
    dynamic: bool
    transpose_hbm_factor: float
    transpose_sbuf_factor: float
    start_ns: float
    store_skew_ns: float
    done_ns: float
    issue_interval_ns: float
    hwdge_busy_ns: float
    swdge_busy_ns: float
    swdge_latency_ns: float


class Hbm(_Section, frozen=True):
    """HBM bandwidth of one core, alone and with all cores busy."""

    alone_bytes_per_ns: float
    shared_bytes_per_ns: float
    cores: int


class Kernel(_Section, frozen=True):
    """Whole-kernel terms."""

    launch_us: float


class Error(_Section, frozen=True):
    """How far predicted times are off, of kernels that multiply on TensorE and of others."""

    matmul_percent: float
    elementwise_percent: float


class _Device(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    core: str
    clock: Clock
    tensor: Tensor
    psum: Psum
    sbuf: Sbuf
    vector: Vector
    scalar: Scalar
    gpsimd: Gpsimd
    sync: Sync
    dma: Dma
    hbm: Hbm
    kernel: Kernel
    error: Error
    note: str = ""


class Device(_Device, frozen=True, forbid_unknown_fields=True):
    """One NeuronCore: `device("trn2").tensor.contraction_max` and so on, units in the names.

    Attributes:
        note: What to know of its times, a sentence without its dot; may be empty.
        constants: The same values with tag, source and range, as its file gives them.
    """

    constants: tuple[Constant, ...] = ()

    @property
    def bytes_per_ns(self) -> float:
        """Peak HBM bandwidth one core can use: what its DMA engines or its HBM stack allow."""
        return self.share_bytes_per_ns(1)

    def share_bytes_per_ns(self, cores_busy: int) -> float:
        """HBM bandwidth of one core while so many cores of the chip are equally busy.

        Together they get what all of them get; alone or spread over the HBM stacks each gets no
        more than a stack gives one core.

        Raises:
            TunerError: There are not so many cores.
        """
        if not 1 <= cores_busy <= self.hbm.cores:
            raise TunerError(f"{self.name} has 1 to {self.hbm.cores} busy cores, got {cores_busy}")
        together = self.hbm.shared_bytes_per_ns * self.hbm.cores
        share = min(self.hbm.alone_bytes_per_ns, together / cores_busy)
        return min(self.dma.engines * self.dma.bytes_per_ns, share)

    def peak_flops_per_ns(self, dtype_bytes: int) -> float:
        """Peak TensorE rate, in floating-point operations a nanosecond."""
        passes = self.tensor.fp32_passes if dtype_bytes == 4 else 1.0
        if dtype_bytes == 1 and self.generation >= 3:
            passes = 0.5  # two rows of float8 a cycle
        return 2 * self.tensor.rows * self.tensor.columns * self.clock.tensor_ghz / passes

    def roofline_us(self, flops: float, moved_bytes: float, dtype_bytes: int) -> float:
        """The time no kernel can beat: arithmetic at the rate that TensorE sustains or bytes at
        peak bandwidth, in microseconds.
        """
        sustained = self.tensor.sustained_factor * self.peak_flops_per_ns(dtype_bytes)
        arithmetic = flops / sustained
        return max(arithmetic, moved_bytes / self.bytes_per_ns) / 1000

    @property
    def generation(self) -> int:
        """Which NeuronCore it is: 2, 3 and 4 on trn1, trn2 and trn3."""
        return GENERATIONS[self.core]

    def facts(self) -> dict[str, int | float | bool | str]:
        """The values that search spaces may use as `device.<name>`; tables carry them, with the
        note where there is one.
        """
        note = {"note": self.note} if self.note else {}
        return {
            "name": self.name,
            "generation": self.generation,
            "partitions": self.sbuf.partitions,
            "sbuf_bytes_per_partition": self.sbuf.bytes_per_partition,
            "sbuf_usable_bytes_per_partition": self.sbuf.usable_bytes_per_partition,
            "psum_banks": self.psum.banks,
            "psum_bank_bytes_per_partition": self.psum.bank_bytes_per_partition,
            "moving_free_max": self.tensor.moving_free_max,
            **note,
        }


def device(name: str) -> Device:
    """Returns a device: a shipped one by its name, one of the user's by the path of its file.

    A file states `inherits = "trn2"` (a shipped name, or a path from the file's folder) and the
    constants that differ, each with value, tag, source and, where calibration may look, range. It
    may have a `note`.

    Raises:
        TunerError: There is no such device, or something in its file is wrong.
    """
    return _device(read(name, _names()), name) if is_file(name) else _shipped(name)


@cache
def _shipped(name: str) -> Device:
    return _device(read(name, _names()), name)


def constants(name: str) -> list[Constant]:
    """Returns every constant of a device, named as for `device`, in the order of its file; those
    inherited from another core count as assumed.
    """
    return list(device(name).constants)


def device_source(name: str) -> str:
    """Returns the text of a device file with all constants of a device, named as for `device`.

    It inherits nothing, so that it can be read where the device's own files are not.
    """
    return text_of(read(name, _names()))


def device_from_source(text: str, name: str) -> Device:
    """Returns the device of a text from `device_source`.

    Args:
        text: The content of a device file; it may inherit from a shipped device only.
        name: The device's name, or the path that it was read from.

    Raises:
        TunerError: Something in the text is wrong.
    """
    return _device(parse(text, name, _names()), name)


@cache
def _device(file: DeviceFile, label: str) -> Device:
    if file.core not in GENERATIONS:
        raise unknown(f"core in device file {label}:", file.core, GENERATIONS)
    data: dict[str, Any] = {"name": file.name, "core": file.core, "note": file.note}
    for constant in file.constants:
        section, _, key = constant.name.partition(".")
        data.setdefault(section, {})[key] = constant.value
    try:
        core = msgspec.convert(data, Device)
    except msgspec.ValidationError as error:
        raise TunerError(f"device file {label}: {error}") from None
    for part, whole in (
        ("sbuf.usable_bytes_per_partition", "sbuf.bytes_per_partition"),
        ("psum.bank_bytes_per_partition", "psum.bytes_per_partition"),
    ):
        if data[part[:4]][part[5:]] > data[whole[:4]][whole[5:]]:
            raise TunerError(f"device file {label}: {part} is more than {whole}")
    return msgspec.structs.replace(core, constants=file.constants)


@cache
def _names() -> tuple[str, ...]:
    """Returns the names that constants have, "tensor.rows" and so on."""
    sections = {
        field.name: field.type
        for field in msgspec.structs.fields(Device)
        if isinstance(field.type, type) and issubclass(field.type, _Section)
    }
    return tuple(
        f"{name}.{field.name}"
        for name, section in sections.items()
        for field in msgspec.structs.fields(section)
    )
