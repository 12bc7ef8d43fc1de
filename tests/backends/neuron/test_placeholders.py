from __future__ import annotations

import pytest

from tuner.backends.neuron.placeholders import numbers, placeholder


@pytest.mark.parametrize(
    ("name", "version"),
    [("nki", "0.0.1"), ("neuronx-cc", "1.0.post1"), ("libneuronxla", "1.0"), ("nkipy", "0.0.2")],
)
def test_the_public_index_placeholders_are_known_by_version(name: str, version: str) -> None:
    told = placeholder(name, version)
    assert told.startswith("a placeholder from the public package index; ")
    assert f"the real {name} comes only from " in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("nki", "0.1.0"),
        ("nki", "0.6.0+1234"),
        ("neuronx-cc", "2.15.128.0"),
        ("neuronx-cc", "2.27.5334.0"),
        ("libneuronxla", "3.0.5356.0"),
        ("nkipy", "0.1.0"),
        ("nrtpy", "0.0.1"),
        ("nki", ""),
    ],
)
def test_a_real_package_is_none(name: str, version: str) -> None:
    expected = "" if version else placeholder("nki", "0.0.1")
    assert placeholder(name, version) == expected


def test_any_version_is_one_that_says_so() -> None:
    assert placeholder("nki", "9.9", "WRONG PACKAGE: this is not it").startswith("a placeholder")
    assert placeholder("spike", "9.9", "WRONG PACKAGE").startswith("a placeholder")
    assert placeholder("nki", "9.9", "No module named 'neuronxcc'") == ""


@pytest.mark.parametrize(
    ("version", "expected"),
    [("2.27.5334.0+abc", (2, 27, 5334, 0)), ("1.0.post1", (1, 0)), ("0.6", (0, 6)), ("dev", ())],
)
def test_numbers(version: str, expected: tuple[int, ...]) -> None:
    assert numbers(version) == expected
