"""Faults on purpose: how many these tests inject, and what is said of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

SOAK_FACTOR = 10
_INJECTED = pytest.StashKey[dict[str, Counter[str]]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Gives these tests more time where they inject more."""
    if config.getoption("soak"):
        for item in items:
            if item.get_closest_marker("faults"):
                limit_s = SOAK_FACTOR * float(config.getini("timeout"))
                item.add_marker(pytest.mark.timeout(limit_s))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Says what each test injected, and all of them together."""
    injected = config.stash.get(_INJECTED, {})
    for test, counts in injected.items():
        terminalreporter.write_line(f"faults injected by {test}: {_listed(counts)}")
    if injected:
        total = sum(injected.values(), Counter[str]())
        terminalreporter.write_line(f"faults injected: {_listed(total)}")


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in counts.items()) or "none"


@pytest.fixture
def record_faults(request: pytest.FixtureRequest) -> Counter[str]:
    """A count by kind of fault, e.g. "writer killed"; the test adds what it injects."""
    counts: Counter[str] = Counter()
    by_test = request.config.stash.setdefault(_INJECTED, {})
    by_test[request.node.name] = counts
    return counts


@pytest.fixture
def amount(request: pytest.FixtureRequest) -> Callable[[int], int]:
    """How many times to do something: as often as given, ten times that with `--soak`."""
    factor = SOAK_FACTOR if request.config.getoption("soak") else 1
    return lambda usual: usual * factor
