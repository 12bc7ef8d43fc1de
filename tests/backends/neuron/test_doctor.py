from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tuner.backends.neuron.doctor import BROKEN, MISSING, OK, neuron_findings, usable_timings
from tuner.backends.neuron.placeholders import placeholder
from tuner.backends.neuron.probe import Package, Probed

NOTHING = Probed(None, None, None, None, None)
WHOLE = Probed(
    nki=Package("nki", "0.6.0", "a"),
    neuronx_cc=Package("neuronx-cc", "2.27.5334.0", "a"),
    nrtpy=Package("nrtpy", "2.34.10", "b"),
    spike=Package("spike", "0.1", "b"),
    beta1=Package("neuronx-cc", "2.23.6484.0", "c"),
    explorer="/opt/aws/neuron/bin/neuron-explorer",
    cores=4,
    cores_problem="",
    family="trn2",
    runtime_library="/opt/aws/neuron/lib/libnrt.so.1",
)


def told(probed: Probed) -> dict[str, tuple[str, str, str]]:
    return {f"{f.topic}/{f.name}": (f.state, f.told, f.mend) for f in neuron_findings(probed)}


def test_a_machine_that_has_everything() -> None:
    found = told(WHOLE)
    assert {state for state, _, _ in found.values()} == {OK}
    assert found["Neuron packages/nki"][1] == "0.6.0 (SDK 2.32) of a"
    assert found["Neuron packages/neuronxcc.nki"][1] == "2.23.6484.0 (SDK 2.28) of c"
    assert found["Neuron versions/belong together"][1] == "of one SDK release"
    assert usable_timings(WHOLE) == ["nrtpy", "spike", "explorer", "beta1"]


def test_a_machine_that_has_nothing() -> None:
    found = told(NOTHING)
    assert {state for state, _, _ in found.values()} == {MISSING}
    without = {name for name, (_, _, mend) in found.items() if not mend}
    assert without == {f"Neuron timing/{n}" for n in ("nrtpy", "spike", "explorer", "beta1")}
    assert usable_timings(NOTHING) == []


@pytest.mark.parametrize(
    ("changes", "name", "state", "text"),
    [
        ({"nrtpy": None}, "Neuron timing/nrtpy", MISSING, "nrtpy is not installed"),
        ({"nki": None}, "Neuron timing/spike", MISSING, "nki is not installed"),
        ({"cores": 0, "cores_problem": "x"}, "Neuron timing/beta1", MISSING, "no NeuronCore: x"),
        ({"explorer": None}, "Neuron machine/profiler", MISSING, "neither neuron-explorer nor"),
        (
            {"nki": Package("nki", "0.0.1", "a", placeholder("nki", "0.0.1"))},
            "Neuron packages/nki",
            BROKEN,
            "nki 0.0.1 of a: a placeholder from the public package index",
        ),
        (
            {"nki": Package("nki", "0.5.0", "a")},
            "Neuron versions/belong together",
            "note",
            "of several releases: nki 0.5.0 of SDK 2.31, neuronx-cc 2.27.5334.0 of SDK 2.32",
        ),
        ({"nki": Package("nki", "0.7.0", "a")}, "Neuron versions/supported", "note", "nki 0.7.0"),
        (
            {"nki": Package("nki", "0.7.0", "a")},
            "Neuron versions/belong together",
            "note",
            "of no release that is known here: nki 0.7.0",
        ),
        (
            {"nrtpy": Package("nrtpy", "2.33.1", "b")},
            "Neuron timing/nrtpy",
            MISSING,
            "2.34 is the first",
        ),
        ({"family": "inf1"}, "Neuron timing/nrtpy", MISSING, "inf1, which NKI does not serve"),
        ({"runtime_library": None}, "Neuron timing/nrtpy", MISSING, "no libnrt in"),
        (
            {"nrtpy": Package("nrtpy", "2.33.1", "b")},
            "Neuron versions/device times",
            BROKEN,
            "2.34 is the first",
        ),
        (
            {"family": "inf2"},
            "Neuron timing/nrtpy",
            MISSING,
            "nki 0.6.0 does not support trn1 and inf2",
        ),
    ],
)
def test_what_stands_in_the_way(changes: dict[str, Any], name: str, state: str, text: str) -> None:
    found = told(replace(WHOLE, **changes))
    assert found[name][0] == state
    assert text in found[name][1]


def test_a_placeholder_is_to_be_uninstalled() -> None:
    stub = Package("libneuronxla", "1.0", "/x/python", placeholder("libneuronxla", "1.0"))
    _, _, mend = told(replace(WHOLE, placeholders=(stub,)))["Neuron packages/libneuronxla"]
    assert mend == "/x/python -m pip uninstall libneuronxla"


def test_the_first_generation_is_left_with_beta1() -> None:
    assert usable_timings(replace(WHOLE, family="trn1")) == ["beta1"]
