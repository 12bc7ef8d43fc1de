"""What the decode model gives for each published result, under one reading of the paper.

Readings differ in the bandwidth of the GPUs' memory, which the paper does not state for its
evaluation, and in whether the requests of a batch have its mean length or their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise

import msgspec
import numpy as np

from tuner.papi.closed_form import crossing_alpha
from tuner.papi.costs import Costs, attention_intensity, fc_intensity
from tuner.papi.decode import Decoded, decode, steps_of
from tuner.papi.design import banks_that_fit, die, power_w
from tuner.papi.hardware import Gpu, Pim, hardware
from tuner.papi.models import model
from tuner.papi.policies import Policy
from tuner.papi.systems import requests_that_fit, system
from tuner.papi.traces import trace

__all__ = ["GRID", "Reading", "values"]

GRID = [(batch, tlp) for batch in (4, 16, 64) for tlp in (1, 2, 4)]
MODELS = ("llama-65b", "gpt-3-66b", "gpt-3-175b")
LLAMA, GPT = "llama-65b", "gpt-3-175b"
PAPI, PIM_ONLY = "papi", "pim_only_papi"
OTHERS = {
    "A100+AttAcc": "a100_attacc",
    "A100+HBM-PIM": "a100_hbm_pim",
    "AttAcc-only": "attacc_only",
}
BATCHES, SEED = 8, 1


@dataclass(frozen=True)
class Reading:
    """One reading of what the paper does not state.

    Attributes:
        gpu: The unit that is in the systems.
        equal: Whether all requests of a batch have its mean response length.
    """

    gpu: str = "a100_hbm3"
    equal: bool = True

    def costs(self, name: str, of: str) -> Costs:
        """Returns the costs of a model on a system with this reading's GPUs."""
        there = system(name)
        if there.gpu is not None:
            there = msgspec.structs.replace(there, gpu=hardware(self.gpu))
        return Costs(there, model(of))

    @cached_property
    def alpha(self) -> int:
        """Where the two units of PAPI take as long."""
        return crossing_alpha(self.costs(PAPI, LLAMA))

    def decoded(
        self, name: str, of: str, batch: int, tlp: int, category: str = "creative_writing"
    ) -> Decoded:
        """Returns what decoding the same batches takes."""
        batches = trace(category).batches(batch, BATCHES, SEED, self.equal)
        policy = Policy(self.alpha, self.alpha)
        return decode(self.costs(name, of), steps_of(batches, lambda _: tlp), policy)

    def mean(
        self,
        ratio: Callable[[str, int, int], float],
        models: Sequence[str] = MODELS,
        grid: Sequence[tuple[int, int]] = tuple(GRID),
    ) -> float:
        """Returns the arithmetic mean of a ratio over models, batches and tokens to try."""
        return float(np.mean([ratio(of, *point) for of in models for point in grid]))

    def speedup(self, other: str, category: str, of: str, batch: int, tlp: int) -> float:
        """Returns the time of another system over PAPI's, prompts included."""
        mine, theirs = (self.decoded(each, of, batch, tlp, category) for each in (PAPI, other))
        return theirs.total_ns / mine.total_ns

    def saving(self, other: str, category: str, of: str, batch: int, tlp: int) -> float:
        """Returns the energy of another system over PAPI's."""
        mine, theirs = (self.decoded(each, of, batch, tlp, category) for each in (PAPI, other))
        return theirs.energy_pj / mine.energy_pj


def values(reading: Reading) -> Mapping[str, float]:
    """Returns our value for each published result that the model has one for, by its id."""
    return {
        **_intensities(),
        **_designs(),
        **_fig_4(reading),
        **_fig_8_and_9(reading),
        **_fig_10(reading),
        **_fig_11_and_12(reading),
    }


def _intensities() -> dict[str, float]:
    hidden = model("opt-30b").hidden
    a100 = hardware("a100")
    assert isinstance(a100, Gpu)
    gpt = model(GPT)

    def fit(gib: float, tokens: int) -> float:
        return requests_that_fit(gib - gpt.weight_bytes / 2**30, gpt, tokens)

    return {
        "f2_fc_ai": float(fc_intensity(4 * 8, hidden)),
        "f2_attn_ai": float(attention_intensity(8, 100, 128)),
        "f2_peak": a100.flops_per_ns / 1e3,
        "f2_bw": a100.bytes_per_ns,
        "f2a_mem16": float(fc_intensity(16 * 8, hidden)),
        "f2a_cmp32": float(fc_intensity(32 * 8, hidden)),
        "f2b_cmp6": float(fc_intensity(32 * 6, hidden)),
        "s32_cap282": fit(640, 128 + 128 - 1),
        "s32_cap18": fit(640, 2048 + 2048 - 1),
        "s32_cap854": fit(1280, 128 + 128 - 1),
        "f6_est": 128 / float(fc_intensity(128, model("gpt-3-66b").hidden)),
    }


def _designs() -> dict[str, float]:
    hbm, fc_pim, attacc = die(), hardware("fc_pim"), hardware("attacc")
    assert isinstance(fc_pim, Pim)
    assert isinstance(attacc, Pim)
    share = fc_pim.compute_energy_share
    return {
        "f7a_dram": 1 / (1 + share),
        "f7b_dram": 1 / (1 + 64 * share),
        "f7c_4p1b": power_w(hbm, fc_pim, reuse=4),
        "f7c_1p1b": power_w(hbm, attacc, reuse=1),
        "eq4_banks": banks_that_fit(hbm, 4),
    }


def _fig_4(reading: Reading) -> dict[str, float]:
    """FC kernels of AttAcc and HBM-PIM over those of the GPUs."""
    gpu = reading.costs("a100_attacc", LLAMA)
    attacc = system("attacc_only")
    pims = {"A": attacc, "H": msgspec.structs.replace(attacc, fc_pim=hardware("hbm_pim"))}
    return {
        f"f4_b{batch}s{tlp}_{word}": float(
            Costs(pim, gpu.model).fc_ns("pim", batch * tlp) / gpu.fc_ns("gpu", batch * tlp)
        )
        for batch, tlp in ((1, 8), (4, 2), (16, 2), (16, 4), (16, 8))
        for word, pim in pims.items()
    }


def _fig_8_and_9(reading: Reading) -> dict[str, float]:
    found = {}
    for figure, models, category in (
        ("f8", MODELS, "creative_writing"),
        ("f9", (GPT,), "open_qa"),
    ):
        for word, other in OTHERS.items():
            ratio = partial(reading.speedup, other, category)
            found[f"{figure}_{word}"] = reading.mean(ratio, models)
        for word, other in (("A100+AttAcc", "a100_attacc"), ("AttAcc", "attacc_only")):
            ratio = partial(reading.saving, other, category)
            found[f"{figure}e_{word}"] = reading.mean(ratio, models)
    return found


def _fig_10(reading: Reading) -> dict[str, float]:
    def over_gpu(name: str, batch: int) -> float:
        mine, gpu = (reading.decoded(n, LLAMA, batch, 1) for n in (name, "a100_attacc"))
        return gpu.total_ns / mine.total_ns

    found = {f"f10a_b{batch}": over_gpu("attacc_only", batch) for batch in (4, 128)}
    for batch in (4, 8, 16, 32, 64, 128):
        others = max(1.0, over_gpu("attacc_only", batch))
        found[f"f10a_b{batch}_papi"] = over_gpu(PAPI, batch) / others
    lengths = (1, 2, 4, 8)
    for word in ("A100+AttAcc", "AttAcc-only"):
        ratios = [
            reading.speedup(OTHERS[word], "creative_writing", LLAMA, 4, tlp) for tlp in lengths
        ]
        found[f"f10b_{word}"] = float(np.mean(ratios))
        if word == "A100+AttAcc":
            falls = all(a >= b for a, b in pairwise(ratios))
            found["f10b_trend"] = -1.0 if falls else 1.0
    return found


def _fig_11_and_12(reading: Reading) -> dict[str, float]:
    def decodes(batch: int, tlp: int) -> tuple[Decoded, Decoded]:
        attacc, papi = (reading.decoded(n, LLAMA, batch, tlp) for n in ("attacc_only", PIM_ONLY))
        return attacc, papi

    pairs = {at: decodes(*at) for at in GRID}
    ratios = {at: attacc.decode_ns / papi.decode_ns for at, (attacc, papi) in pairs.items()}
    attacc, papi = pairs[4, 4]
    found = {
        "f11_b4s1": ratios[4, 1],
        "f11_b64s4": ratios[64, 4],
        "f11_avg": float(np.mean(list(ratios.values()))),
        "f12_fc": attacc.fc_ns / papi.fc_ns,
        "f12_attn": papi.attention_ns / attacc.attention_ns,
        "f12_comm": papi.communication_ns / papi.decode_ns,
    }
    for word, of in (("AttAcc-only", attacc), ("PIM-only_PAPI", papi)):
        count = len(of.iteration_ns) * 1e6
        found[f"f12ms_{word}_FC"] = of.fc_ns / count
        found[f"f12ms_{word}_attention"] = of.attention_ns / count
        found[f"f12ms_{word}_communication"] = of.communication_ns / count
    return found
