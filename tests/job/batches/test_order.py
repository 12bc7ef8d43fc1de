from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.database import Study, StudyInfo
from tuner.job.batches.order import Order, began, seeds_from
from tuner.job.resuming import job_key


def info(size: int, **settings: Any) -> StudyInfo:
    key = ("k", {"M": size}, "float32", "trn2", "simulator", "simulated")
    return StudyInfo(*key, {"kernel_hash": "a"}, {}, {}, {"seed": 0, **settings}, "", 0.0)


def study(size: int, finished_at: float | None = 5.0, **settings: Any) -> Study:
    return Study(size, info(size, **settings), 1.0, finished_at)


JOBS = [job_key(info(size)) for size in range(8)]


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=30),
    st.integers(1, 6),
    st.randoms(use_true_random=False),
)
def test_a_job_begins_when_all_before_its_window_are_over(
    workloads: list[int], at_once: int, chance: random.Random
) -> None:
    order, running, over = Order(workloads, at_once), set[int](), set[int]()
    while len(over) < len(workloads):
        while (place := order.next()) is not None:
            assert set(range(place - at_once + 1)) <= over
            assert workloads[place] not in {workloads[each] for each in running}
            assert place not in running | over
            running.add(place)
        assert 1 <= len(running) <= at_once
        ended = chance.choice(sorted(running))
        order.end(ended)
        running.remove(ended)
        over.add(ended)
    assert order.next() is None


@given(st.integers(1, 20), st.integers(1, 6))
def test_as_many_as_may_begin_do(jobs: int, at_once: int) -> None:
    order = Order(range(jobs), at_once)
    begun = [order.next() for _ in range(at_once + 1)]
    assert begun == [*range(min(jobs, at_once)), *[None] * (at_once + 1 - min(jobs, at_once))]


def test_of_one_workload_one_runs_at_a_time() -> None:
    order = Order(["a", "a", "b"], 3)
    assert [order.next(), order.next(), order.next()] == [0, 2, None]
    order.end(2)
    assert order.next() is None
    order.end(0)
    assert order.next() == 1


@pytest.mark.parametrize(("at_once", "known"), [(1, 4), (2, 3), (4, 1), (5, 0), (9, 0)])
def test_seeds_come_from_the_jobs_that_are_surely_over(at_once: int, known: int) -> None:
    takes = seeds_from(JOBS, 4, at_once, since=9.0)
    assert [takes(study(size)) for size in range(8)] == [size < known for size in range(8)]


def test_seeds_come_from_other_studies_only_if_they_were_complete_before() -> None:
    takes = seeds_from(JOBS, 4, 1, since=9.0)
    times = (8.0, 10.0, None)
    assert [takes(study(100, finished_at)) for finished_at in times] == [True, False, False]
    assert [takes(study(7, at, seed=1)) for at in times] == [True, False, False]
    assert not takes(study(0, None))


def test_a_batch_began_with_its_first_study() -> None:
    assert began([study(100)], JOBS, now=7.0) == 7.0
    assert began([study(100), study(3)], JOBS, now=7.0) == 1.0
