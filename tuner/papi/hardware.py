"""What decoding runs on: GPUs, memory that computes (PIM), and the links between them.

Names carry units; `hardware/*.toml` has every value with its source.
"""

from __future__ import annotations

import msgspec

from tuner.neuroncore.device_files import Constant
from tuner.papi.files import (
    Count,
    Positive,
    Share,
    ZeroOrMore,
    facts_of,
    kept,
    names,
    to_struct,
)
from tuner.runtime.errors import TunerError

__all__ = ["Gpu", "Link", "Pim", "Unit", "hardware", "hardware_names"]

FOLDER = "hardware"


class _Unit(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    constants: tuple[Constant, ...] = ()


class Gpu(_Unit, frozen=True, kw_only=True):
    """One GPU.

    Attributes:
        flops_per_ns: Peak of dense FP16.
        compute_share: Part of that which a large product reaches.
        bandwidth_share: The same of the memory's bandwidth.
        launch_us: Of each kernel.
        elementwise_us: Norms and activations of a layer.
        cache_pj_per_byte: Of L2, L1 and registers together.
    """

    flops_per_ns: Positive
    bytes_per_ns: Positive
    compute_share: Share
    bandwidth_share: Share
    memory_gib: Positive
    multiprocessors: Count
    launch_us: ZeroOrMore
    elementwise_us: ZeroOrMore
    memory_pj_per_byte: Positive
    cache_pj_per_byte: Positive
    mac_pj_per_mac: Positive
    static_w: ZeroOrMore


class Pim(_Unit, frozen=True, kw_only=True):
    """One stack of memory with floating-point units (FPUs) at its banks.

    One command has every bank give `command_bytes` to its FPUs; each FPU multiplies them with
    numbers of one row of the input.

    Attributes:
        fpus_per_bank: Rows that one read serves; 0.5 where two banks share an FPU, and each row
            takes two commands.
        command_cycles: Between two commands, as power allows.
        fc_scale: What a fully-connected kernel takes over that.
        attention_cycles: Between two commands of attention, row openings included.
        attention_overhead_cycles: Of each head.
        compute_energy_share: Energy of computing with what was read, over that of reading it.
        full_power_w: Of a stack of 1024 banks with one FPU each that reads for every row.
    """

    banks: Count
    fpus_per_bank: Positive
    stack_gib: Positive
    channels: Count
    command_bytes: Count
    clock_ns: Positive
    command_cycles: Positive
    fc_scale: Positive
    attention_cycles: Positive
    attention_overhead_cycles: ZeroOrMore
    attention_scale: Positive
    read_pj_per_byte: Positive
    compute_energy_share: ZeroOrMore
    full_power_w: Positive
    static_w: ZeroOrMore

    @property
    def rows_per_read(self) -> float:
        """Rows of the input that one pass over the weights serves."""
        return max(self.fpus_per_bank, 1.0)

    @property
    def commands_per_read(self) -> float:
        """Commands that one such pass takes for each chunk of the weights."""
        return max(1.0 / self.fpus_per_bank, 1.0)

    @property
    def command_ns(self) -> float:
        """Nanoseconds from a command to the next."""
        return self.command_cycles * self.clock_ns


class Link(_Unit, frozen=True, kw_only=True):
    """What connects the units.

    Attributes:
        hop_us: Latency that a layer's transfers add.
    """

    hop_us: ZeroOrMore
    bytes_per_ns: Positive
    pj_per_byte: ZeroOrMore


Unit = Gpu | Pim | Link
KINDS: dict[str, type[Unit]] = {"gpu": Gpu, "pim": Pim, "link": Link}


def hardware_names() -> list[str]:
    """Returns the names of the shipped units."""
    return names(FOLDER)


@kept
def hardware(name: str) -> Unit:
    """Returns a unit: a shipped one by its name, one of the user's by the path of its file.

    Raises:
        TunerError: There is none, or something in its file is wrong.
    """
    facts = facts_of("hardware", name, FOLDER)
    if facts.kind not in KINDS:
        raise TunerError(f"{facts.label}: kind = {facts.kind!r}: expected {', '.join(KINDS)}")
    return to_struct(facts, KINDS[facts.kind])
