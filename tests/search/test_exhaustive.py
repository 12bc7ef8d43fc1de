from __future__ import annotations

from scipy.stats import chisquare

from tests.search.studies import block_space, rugged, run, small_space, smooth, step, study_of
from tuner.search import Search


def test_the_order_depends_on_the_seed_alone() -> None:
    space = block_space()
    first = run(Search(space, "exhaustive", 1), 30, smooth)
    assert first == run(Search(space, "exhaustive", 1), 30, rugged, pending=5)
    assert first != run(Search(space, "exhaustive", 2), 30, smooth)


def test_what_was_tried_is_a_fair_sample() -> None:
    space = small_space()
    counts = [0] * len(space)
    for seed in range(150):
        for config in run(Search(space, "exhaustive", seed, default=False), 7, lambda config: 1.0):
            counts[space.row(config)] += 1
    assert chisquare(counts).pvalue > 1e-3


def test_what_others_tried_is_left_out_wherever_it_stands() -> None:
    space = small_space()
    study = study_of(space, "exhaustive")
    for row in (20, 3, 11):
        study.enqueue_trial(space.config(row))
    rows = [space.row(step(study, space, lambda config: 1.0)) for _ in range(len(space))]
    assert rows[:3] == [20, 3, 11]
    assert sorted(rows) == list(range(len(space)))
