"""What one decoding iteration costs: time and energy of its parts, for any number of rows.

An iteration takes `n` rows through every fully-connected (FC) kernel: the live requests (RLP) times
the tokens that each tries at once (TLP). Attention looks at each request's own keys and values.
Equations and their sources: docs/papi.md. All functions take arrays and give arrays; times are in
nanoseconds, energies in picojoules, of all layers together.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tuner.papi.hardware import Gpu, Pim
from tuner.papi.models import BYTES, Layer, Model
from tuner.papi.systems import GPU, PIM, System

__all__ = ["Costs", "active_copies", "attention_intensity", "fc_intensity"]

Floats = npt.NDArray[np.float64]
NS_PER_US = 1000.0
PJ_PER_W_NS = 1000.0


def fc_intensity(rows: npt.ArrayLike, hidden: int) -> Floats:
    """Returns FLOP a byte of a square FC kernel (PAPI Eq 1)."""
    n = _floats(rows)
    return n / (1 + 2 * n / hidden)


def attention_intensity(queries: npt.ArrayLike, length: float, head_dim: int) -> Floats:
    """Returns FLOP a byte of the scores of so many query tokens against a cache of a length."""
    s = _floats(queries)
    return s / (1 + s / length + s / head_dim)


def active_copies(layer: Layer, rows: Floats) -> Floats:
    """Returns how many of a kernel's experts have a row, as expected of tokens that choose theirs
    evenly.
    """
    if layer.copies == 1:
        return np.ones_like(rows)
    idle: Floats = np.exp(rows * np.log1p(-layer.used / layer.copies))
    return layer.copies * (1 - idle)


def _floats(values: npt.ArrayLike) -> Floats:
    return np.asarray(values, dtype=np.float64)


@dataclass(frozen=True)
class Costs:
    """The costs of a model on a system.

    Raises:
        TunerError: The model's weights do not fit.
    """

    system: System
    model: Model

    def __post_init__(self) -> None:
        self.system.check_fits(self.model)

    def fc_ns(self, unit: str, rows: npt.ArrayLike) -> Floats:
        """Returns the time of all FC kernels on "gpu" or "pim"."""
        total: Floats = np.sum(list(self.kernels_ns(unit, rows).values()), axis=0)
        return self.model.layers * total

    def kernels_ns(self, unit: str, rows: npt.ArrayLike) -> dict[str, Floats]:
        """Returns the time of each FC kernel of one layer."""
        n = _floats(rows)
        of = self._gpu_ns if unit == GPU else self._pim_ns
        return {layer.name: of(layer, n) for layer in self.model.kernels}

    def _gpu_ns(self, layer: Layer, n: Floats) -> Floats:
        gpu, count = self._gpu, self.system.gpus
        flops = 2.0 * n * layer.used * layer.inputs * layer.outputs
        moved = active_copies(layer, n) * layer.weight_bytes
        compute = flops / (count * gpu.flops_per_ns * gpu.compute_share)
        memory = moved / (count * gpu.bytes_per_ns * gpu.bandwidth_share)
        return np.maximum(compute, memory) + gpu.launch_us * NS_PER_US

    def _pim_ns(self, layer: Layer, n: Floats) -> Floats:
        pim = self._fc_pim
        at_once = pim.command_bytes * pim.banks * self.system.fc_stacks
        commands = self._reads(pim, layer, n) * pim.commands_per_read
        return layer.weight_bytes / at_once * commands * pim.command_ns * pim.fc_scale

    @staticmethod
    def _reads(pim: Pim, layer: Layer, n: Floats) -> Floats:
        """Passes over one copy's worth of weights."""
        active = active_copies(layer, n)
        each = n * layer.used / np.maximum(active, 1e-300)
        return active * np.ceil(each / pim.rows_per_read - 1e-9)

    def attention_ns(self, rlp: npt.ArrayLike, tlp: npt.ArrayLike, length: npt.ArrayLike) -> Floats:
        """Returns the time of attention.

        Args:
            rlp: Live requests.
            tlp: Tokens that each tries.
            length: Tokens in the cache of a request, on average.
        """
        pim, model = self.system.attention_pim, self.model
        heads = np.ceil(model.kv_heads * _floats(rlp) / self.system.attention_stacks)
        rounds = np.ceil(heads / pim.channels)
        reads = np.ceil(_floats(length) / self.attention_tokens_per_read)
        cycles = reads * pim.attention_cycles + pim.attention_overhead_cycles
        queries = _floats(tlp) * (model.heads // model.kv_heads)
        return model.layers * rounds * cycles * queries * pim.clock_ns * pim.attention_scale

    @cached_property
    def attention_tokens_per_read(self) -> float:
        """Tokens whose keys and values of one head a command reads, all banks of a channel
        together.
        """
        pim = self.system.attention_pim
        at_once = pim.command_bytes * pim.banks / pim.channels
        return at_once / (2 * self.model.head_dim * BYTES)

    def communication_ns(self, rows: npt.ArrayLike) -> Floats:
        """Returns the time between the units that run FC kernels and those of attention."""
        link, layers = self.system.link, self.model.layers
        moved = _floats(rows) * self._bytes_per_row
        return layers * (link.hop_us * NS_PER_US + moved / link.bytes_per_ns)

    @cached_property
    def elementwise_ns(self) -> float:
        """Norms and activations, which are the GPUs' where there are any."""
        gpu = self.system.gpu
        return 0.0 if gpu is None else self.model.layers * gpu.elementwise_us * NS_PER_US

    def prefill_ns(self, tokens: npt.ArrayLike) -> Floats:
        """Returns the time to take so many tokens of prompts through all layers."""
        taken = self.fc_ns(self._prefills, tokens) + self.communication_ns(tokens)
        return taken + self.elementwise_ns

    def prefill_pj(self, tokens: npt.ArrayLike) -> Floats:
        """Returns the dynamic energy of the same."""
        return self.fc_pj(self._prefills, tokens) + self.communication_pj(tokens)

    @property
    def _prefills(self) -> str:
        return GPU if self.system.gpu is not None else PIM

    def fc_pj(self, unit: str, rows: npt.ArrayLike) -> Floats:
        """Returns the dynamic energy of all FC kernels on "gpu" or "pim"."""
        n = _floats(rows)
        total = np.zeros_like(n)
        for layer in self.model.kernels:
            if unit == GPU:
                gpu = self._gpu
                moved = active_copies(layer, n) * layer.weight_bytes
                macs = n * layer.used * layer.inputs * layer.outputs
                total += moved * (gpu.memory_pj_per_byte + gpu.cache_pj_per_byte)
                total += macs * gpu.mac_pj_per_mac
            else:
                pim = self._fc_pim
                reads = self._reads(pim, layer, n)
                computes = pim.compute_energy_share * n * layer.used
                total += layer.weight_bytes * pim.read_pj_per_byte * (reads + computes)
        return self.model.layers * total

    def attention_pj(self, rlp: npt.ArrayLike, tlp: npt.ArrayLike, length: npt.ArrayLike) -> Floats:
        """Returns the dynamic energy of attention: each query reads all keys and values."""
        pim, model = self.system.attention_pim, self.model
        queries = _floats(tlp) * (model.heads // model.kv_heads)
        read = _floats(rlp) * _floats(length) * model.kv_bytes_per_token
        return read * queries * pim.read_pj_per_byte * (1 + pim.compute_energy_share)

    def communication_pj(self, rows: npt.ArrayLike) -> Floats:
        """Returns the energy of the link."""
        moved = _floats(rows) * self._bytes_per_row * self.model.layers
        return moved * self.system.link.pj_per_byte

    @cached_property
    def static_w(self) -> float:
        """Power of all units that does not depend on what they do."""
        system = self.system
        total = system.attention_stacks * system.attention_pim.static_w
        if system.gpu is not None:
            total += system.gpus * system.gpu.static_w
        if system.fc_pim is not None:
            total += system.fc_stacks * system.fc_pim.static_w
        return total

    @property
    def _bytes_per_row(self) -> int:
        """Queries, keys and values to attention, its result back, of one layer."""
        model = self.model
        return (2 * model.heads + 2 * model.kv_heads) * model.head_dim * BYTES

    @property
    def _gpu(self) -> Gpu:
        assert self.system.gpu is not None
        return self.system.gpu

    @property
    def _fc_pim(self) -> Pim:
        assert self.system.fc_pim is not None
        return self.system.fc_pim
