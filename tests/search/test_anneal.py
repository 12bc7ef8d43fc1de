from __future__ import annotations

import pytest

from tests.search.studies import block_space, mean_best, run, smooth
from tuner.search import Search
from tuner.search.anneal import DESIGN
from tuner.space import SearchSpace


@pytest.fixture(scope="module")
def blocks() -> SearchSpace:
    return block_space()


def test_it_walks_from_neighbour_to_neighbour(blocks: SearchSpace) -> None:
    rows = [blocks.row(config) for config in run(Search(blocks, "anneal"), 60)]
    near = [bool(set(rows[:n]) & set(blocks.neighbours(rows[n]))) for n in range(DESIGN, 60)]
    assert sum(near) > 0.85 * len(near)


def test_it_finds_better_configs_than_chance(blocks: SearchSpace) -> None:
    ours, chance = (mean_best(blocks, s, 60, smooth, seeds=6) for s in ("anneal", "random"))
    assert ours - 10 < 0.8 * (chance - 10)
