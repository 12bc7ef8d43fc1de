from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.papi.closed_form import closed_form_alpha, crossing_alpha
from tuner.papi.costs import Costs, active_copies, attention_intensity, fc_intensity
from tuner.papi.hardware import Pim, hardware, hardware_names
from tuner.papi.models import model, model_names
from tuner.papi.systems import requests_that_fit, system, system_names
from tuner.runtime.errors import TunerError

RIDGE = 312e3 / 1935


def costs(name: str = "papi", of: str = "llama-65b") -> Costs:
    return Costs(system(name), model(of))


def test_arithmetic_intensity_of_opt_30b_is_as_published() -> None:
    hidden = model("opt-30b").hidden
    assert fc_intensity(4 * 8, hidden) == pytest.approx(31.7, rel=0.01)
    assert attention_intensity(8, 100, 128) == pytest.approx(7.0, rel=0.01)
    assert fc_intensity(16 * 8, hidden) < RIDGE < fc_intensity(32 * 8, hidden)
    assert fc_intensity(32 * 5, hidden) < RIDGE < fc_intensity(32 * 6, hidden)


@pytest.mark.parametrize(
    ("gib", "tokens", "published"), [(640, 255, 282), (640, 4095, 18), (1280, 255, 854)]
)
def test_requests_of_gpt_3_that_fit_are_as_published(gib: int, tokens: int, published: int) -> None:
    gpt = model("gpt-3-175b")
    free_gib = gib - gpt.weight_bytes / 2**30
    assert requests_that_fit(free_gib, gpt, tokens) == pytest.approx(published, rel=0.03)


def test_the_model_s_sizes_are_those_in_its_name() -> None:
    billions = {name: model(name).weight_bytes / 2e9 for name in model_names()}
    assert billions == pytest.approx(
        {
            "gpt-3-175b": 175,
            "gpt-3-66b": 66,
            "llama-3.1-70b": 70,
            "llama-65b": 65,
            "mixtral-8x7b": 46.7,
            "opt-30b": 30,
        },
        rel=0.04,
    )


def test_fc_pim_is_faster_than_attacc_as_published() -> None:
    ratio = costs("attacc_only").fc_ns("pim", 16) / costs("pim_only_papi").fc_ns("pim", 16)
    assert ratio == pytest.approx(2.9, rel=0.05)


def test_communication_has_its_published_share() -> None:
    of = costs("pim_only_papi")
    link, attention = of.communication_ns(16), of.attention_ns(4, 4, 140)
    assert link / (link + attention + of.fc_ns("pim", 16)) == pytest.approx(0.282, rel=0.02)


@pytest.mark.parametrize(("reuse", "share"), [(1, 0.967), (64, 0.331)])
def test_energy_goes_into_dram_as_published(reuse: int, share: float) -> None:
    pim = hardware("fc_pim")
    assert isinstance(pim, Pim)
    dram = 1 / (1 + reuse * pim.compute_energy_share)
    assert dram == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("name", model_names())
def test_closed_form_bisection_and_looking_at_all_rows_agree(name: str) -> None:
    of = costs("papi", name)
    rows = np.arange(1, 513)
    slower = of.fc_ns("pim", rows) > of.fc_ns("gpu", rows)
    first = int(rows[np.argmax(slower)])
    if model(name).experts == 1:
        assert slower[first - 1 :].all(), "they cross once"
        assert closed_form_alpha(of.system) == crossing_alpha(of) == first - 1
    else:
        assert crossing_alpha(of) >= first - 1 >= closed_form_alpha(of.system)


def test_where_one_unit_always_wins_it_is_never_left() -> None:
    papi = system("papi")
    assert papi.gpu is not None
    slow = msgspec.structs.replace(
        papi, gpu=msgspec.structs.replace(papi.gpu, bytes_per_ns=1.0, flops_per_ns=1.0)
    )
    assert crossing_alpha(Costs(slow, model("llama-65b")), most=100) == 100
    with pytest.raises(TunerError, match="on pim alone: there is nothing to choose"):
        closed_form_alpha(system("attacc_only"))


def test_experts_have_all_tokens_when_there_are_many_and_two_of_eight_when_there_is_one() -> None:
    up = model("mixtral-8x7b").kernels[2]
    assert (up.copies, up.used) == (8, 2)
    assert active_copies(up, np.array([1.0, 1e6])) == pytest.approx([2, 8])


def test_heads_that_share_keys_read_them_each() -> None:
    many, few = costs("papi", "llama-65b"), costs("papi", "llama-3.1-70b")
    assert model("llama-3.1-70b").kv_bytes_per_token * 8 == model("llama-65b").kv_bytes_per_token
    assert few.attention_pj(1, 1, 100) == many.attention_pj(1, 1, 100)
    assert few.attention_ns(4, 1, 1000) >= many.attention_ns(4, 1, 1000) / 8


@given(st.sampled_from(system_names()), st.sampled_from(model_names()), st.integers(1, 2000))
def test_more_rows_never_cost_less(name: str, of: str, rows: int) -> None:
    here = costs(name, of)
    for unit in here.system.fc_runs_on:
        one, more = here.fc_ns(unit, np.array([rows, rows + 1]))
        assert 0 < one <= more * (1 + 1e-12)
        assert 0 < here.fc_pj(unit, rows) < here.fc_pj(unit, rows + 1)
    assert here.communication_ns(rows) < here.communication_ns(rows + 1)
    assert here.attention_ns(rows, 1, 100) <= here.attention_ns(rows + 1, 1, 100)


def test_weights_that_do_not_fit_are_told() -> None:
    small = msgspec.structs.replace(system("papi"), fc_stacks=5)
    with pytest.raises(TunerError, match=r"llama-65b take 120.6 GiB, there is room for 60 GiB"):
        Costs(small, model("llama-65b"))


def test_every_constant_has_a_source_and_lies_in_its_range() -> None:
    for name in hardware_names():
        for constant in hardware(name).constants:
            assert constant.source.strip()
            if constant.range is not None:
                assert constant.range[0] <= constant.value <= constant.range[1]
