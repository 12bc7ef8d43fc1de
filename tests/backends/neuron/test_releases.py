from __future__ import annotations

import pytest

from tuner.backends.neuron.releases import mixed, sdk_of


@pytest.mark.parametrize(
    ("name", "version", "sdk"),
    [
        ("nki", "0.6.0+abc", "2.32"),
        ("nki", "0.6.7", "2.32"),
        ("neuronx-cc", "2.24.8799.0", "2.29"),
        ("nrtpy", "2.34.10", "2.32"),
        ("runtime-lib", "2.30.51", "2.28"),
        ("nki", "0.0.1", None),
        ("neuronx-cc", "2.99", None),
        ("spike", "0.1", None),
    ],
)
def test_the_release_of_a_package(name: str, version: str, sdk: str | None) -> None:
    assert sdk_of(name, version) == sdk


def test_packages_of_several_releases() -> None:
    same = {"nki": "0.6.0", "neuronx-cc": "2.27.5334.0", "nrtpy": "2.34.10", "spike": "0.1"}
    assert mixed(same) == ""
    assert mixed({}) == ""
    assert mixed({"nki": "0.5.0", "nrtpy": "2.34.10"}) == (
        "of several releases: nki 0.5.0 of SDK 2.31, nrtpy 2.34.10 of SDK 2.32"
    )
