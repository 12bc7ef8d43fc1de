"""Devices: the constants of one NeuronCore, read from `devices/*.toml`, each with its source."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from tuner.runtime.errors import TunerError, unknown

__all__ = ["TAGS", "Constant", "Device", "constants", "device", "device_names"]

_FOLDER = Path(__file__).resolve().parent / "devices"
TAGS = {"D": "documented", "M": "measured", "R": "derived", "A": "assumed"}


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


class Device(_Device, frozen=True, forbid_unknown_fields=True):
    """One NeuronCore: `device("trn2").tensor.contraction_max` and so on, units in the names."""

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
        passes = self.tensor.fp32_passes if dtype_bytes == 4 else 1
        return 2 * self.tensor.rows * self.tensor.columns * self.clock.tensor_ghz / passes

    def roofline_us(self, flops: float, moved_bytes: float, dtype_bytes: int) -> float:
        """The time no kernel can beat: arithmetic at peak or bytes at peak bandwidth, in
        microseconds.
        """
        arithmetic = flops / self.peak_flops_per_ns(dtype_bytes)
        return max(arithmetic, moved_bytes / self.bytes_per_ns) / 1000

    def facts(self) -> dict[str, int | float | bool | str]:
        """The values that search spaces may use as `device.<name>`."""
        return {
            "name": self.name,
            "partitions": self.sbuf.partitions,
            "sbuf_bytes_per_partition": self.sbuf.bytes_per_partition,
            "sbuf_usable_bytes_per_partition": self.sbuf.usable_bytes_per_partition,
            "psum_banks": self.psum.banks,
            "psum_bank_bytes_per_partition": self.psum.bank_bytes_per_partition,
            "moving_free_max": self.tensor.moving_free_max,
        }


@dataclass(frozen=True)
class Constant:
    """One constant with where it comes from; `range` is where calibration may look."""

    name: str
    value: float | bool
    tag: str
    source: str
    range: tuple[float, float] | None


def device_names() -> list[str]:
    """Returns the names of the devices there are."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


@cache
def device(name: str) -> Device:
    """Returns a device by name.

    Raises:
        TunerError: There is no such device.
    """
    if name not in device_names():
        raise unknown("device", name, device_names())
    data: dict[str, Any] = {"name": name, "core": _read(name)["core"]}
    for constant in constants(name):
        section, _, key = constant.name.partition(".")
        data.setdefault(section, {})[key] = constant.value
    try:
        return msgspec.convert(data, Device)
    except msgspec.ValidationError as error:
        raise TunerError(f"device file {name}.toml: {error}") from None


def constants(name: str) -> list[Constant]:
    """Returns every constant of a device in the order of its file; inherited ones count as
    assumed.
    """
    data = _read(name)
    found: dict[str, Constant] = {}
    if "inherits" in data:
        parent = data["inherits"]
        for constant in constants(parent):
            taken = f"as on {parent}: {constant.source}"
            found[constant.name] = Constant(
                constant.name, constant.value, "A", taken, constant.range
            )
    for section, entries in data.items():
        if isinstance(entries, dict):
            for key, entry in entries.items():
                found[f"{section}.{key}"] = _constant(f"{section}.{key}", entry, name)
    return list(found.values())


def _constant(name: str, entry: Mapping[str, Any], device_name: str) -> Constant:
    if entry["tag"] not in TAGS or not entry["source"]:
        raise TunerError(
            f"device file {device_name}.toml: {name} needs a tag ({', '.join(TAGS)}) and a source"
        )
    span = entry.get("range")
    return Constant(
        name,
        entry["value"],
        entry["tag"],
        entry["source"],
        None if span is None else (span[0], span[1]),
    )


@cache
def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((_FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
