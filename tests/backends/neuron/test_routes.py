from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tuner.backends.neuron.probe import Package, Probed
from tuner.backends.neuron.routes import TIMINGS, choose_route, mismatch, routes
from tuner.neuroncore import device
from tuner.runtime.errors import TunerError

NOTHING = Probed(None, None, None, None, None)
WHOLE = Probed(
    nki=Package("nki", "0.6.0", "a"),
    neuronx_cc=Package("neuronx-cc", "2.27.5334.0", "a"),
    nrtpy=Package("nrtpy", "2.34.10", "b"),
    spike=Package("spike", "0.1", "b"),
    beta1=Package("neuronx-cc", "2.23.6484.0", "c"),
    explorer="/bin/neuron-explorer",
    cores=4,
    cores_problem="",
    family="trn2",
)


def test_everything_can_be_taken_where_everything_is() -> None:
    assert routes(WHOLE) == dict.fromkeys(TIMINGS, "")
    assert choose_route(WHOLE) == "nrtpy"
    assert [choose_route(WHOLE, name) for name in TIMINGS] == list(TIMINGS)


@pytest.mark.parametrize(
    ("missing", "route"),
    [
        ({"nrtpy": None}, "spike"),
        ({"nrtpy": Package("nrtpy", "2.34.10", "b", "cannot be imported: x")}, "spike"),
        ({"nrtpy": None, "spike": None}, "explorer"),
        ({"nki": None}, "beta1"),
        ({"neuronx_cc": Package("neuronx-cc", "1.0.post1", "a", "a placeholder")}, "beta1"),
    ],
)
def test_the_best_that_can_be_taken_is(missing: dict[str, Any], route: str) -> None:
    assert choose_route(replace(WHOLE, **missing)) == route


def test_nothing_can_be_timed_without_packages_or_cores() -> None:
    told = routes(NOTHING)
    assert (
        told["nrtpy"] == "nki is not installed: name an interpreter that has it with --nki-python"
    )
    assert told["beta1"].endswith("--beta1-python")
    without = replace(WHOLE, cores=0, cores_problem="neuron-ls lists none")
    assert routes(without) == dict.fromkeys(TIMINGS, "no NeuronCore: neuron-ls lists none")
    with pytest.raises(TunerError, match=r"^nothing can be timed here: nki is not installed: "):
        choose_route(NOTHING)


def test_what_is_asked_for_is_not_replaced() -> None:
    with pytest.raises(TunerError, match="timing spike cannot be used: spike is not installed"):
        choose_route(replace(WHOLE, spike=None), "spike")
    with pytest.raises(TunerError, match="unknown timing 'nrtp'; did you mean nrtpy"):
        choose_route(WHOLE, "nrtp")


@pytest.mark.parametrize("family", ["trn1", "inf2"])
def test_the_new_compiler_is_refused_on_the_first_generation(family: str) -> None:
    old = replace(WHOLE, family=family)
    told = routes(old)
    for name in ("nrtpy", "spike", "explorer"):
        assert told[name].startswith(f"nki 0.6.0 does not support {family}: ")
        assert "SDK 2.28" in told[name]
    assert choose_route(old) == "beta1"
    assert choose_route(replace(old, nki=Package("nki", "0.2.0", "a"))) == "nrtpy"


@pytest.mark.parametrize(
    ("name", "family", "told"),
    [
        ("trn2", "trn2", ""),
        ("trn2", None, ""),
        ("trn1", "inf2", ""),
        ("trn3", "trn3", ""),
        ("trn2", "trn1", "device trn2 does not agree with this machine, of family trn1: use "),
        ("trn2", "inf2", "of family inf2: use --device trn1"),
        ("trn1", "trn2", "of family trn2: use --device trn2"),
        ("trn3", "inf1", "of family inf1"),
    ],
)
def test_a_device_must_be_that_of_the_machine(name: str, family: str | None, told: str) -> None:
    found = mismatch(name, device(name).core, replace(WHOLE, family=family))
    assert told in found
    assert bool(found) == bool(told)
