from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from tests.search.studies import block_space, small_space, smooth, study_of
from tuner.search import Search, suggest
from tuner.search.history import CODE, Book
from tuner.space import SearchSpace

START = datetime(2026, 1, 1)

Directions = tuple[Literal["minimize", "maximize"], ...]


@pytest.fixture
def space() -> SearchSpace:
    return small_space()


def finished(
    space: SearchSpace, row: int, values: list[float] | None, second: int = 0, code: bool = False
) -> FrozenTrial:
    """A trial of a row; without values it failed."""
    config = space.config(row)
    known: dict[str, BaseDistribution] = {
        p.name: CategoricalDistribution(p.values) for p in space.parameters if p.name in config
    }
    trial = create_trial(
        state=TrialState.FAIL if values is None else TrialState.COMPLETE,
        params={} if code else config,
        distributions={} if code else known,
        values=values,
        system_attrs={CODE: int(space.codes[row])} if code else None,
    )
    trial.datetime_complete = START + timedelta(seconds=second)
    return trial


def study_with(*trials: FrozenTrial, directions: Directions = ("minimize",)) -> Study:
    study = optuna.create_study(directions=list(directions))
    study.add_trials(trials)
    return study


def test_rows_are_in_the_order_of_finishing(space: SearchSpace) -> None:
    study = study_with(
        finished(space, 4, [1.0], 30), finished(space, 2, None, 10), finished(space, 9, [3.0], 20)
    )
    history = Book(space).read(study)
    assert list(history.rows) == [2, 9, 4]
    assert history.values.tolist() == [[np.inf], [3.0], [1.0]]
    assert list(history.incumbents) == [2, 1]
    assert history.started == 3


def test_of_two_that_finish_at_once_the_earlier_number_is_first(space: SearchSpace) -> None:
    study = study_with(*(finished(space, row, [1.0]) for row in (5, 3, 8)))
    assert list(Book(space).read(study).rows) == [5, 3, 8]


@pytest.mark.parametrize("directions", [("minimize",), ("maximize",), ("maximize", "minimize")])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, None])
def test_a_failure_is_infinite_in_every_direction(
    space: SearchSpace, directions: Directions, bad: float | None
) -> None:
    count = len(directions)
    study = study_with(
        finished(space, 0, [5.0] * count),
        finished(space, 1, None if bad is None else [bad] * count, 1),
        directions=directions,
    )
    values = Book(space).read(study).values
    assert np.isposinf(values[1]).all()
    assert values[0].tolist() == [-5.0 if d == "maximize" else 5.0 for d in directions]
    assert list(Book(space).read(study).incumbents) == [0]


def test_a_code_alone_tells_the_row(space: SearchSpace) -> None:
    study = study_with(finished(space, 6, None, code=True), finished(space, 7, None, 1, code=True))
    assert list(Book(space).read(study).rows) == [6, 7]


def test_parameters_count_more_than_a_code(space: SearchSpace) -> None:
    trial = finished(space, 6, [1.0])
    trial.system_attrs[CODE] = int(space.codes[3])
    assert list(Book(space).read(study_with(trial)).rows) == [6]


def test_a_code_or_config_of_another_space_is_left_out(space: SearchSpace) -> None:
    wrong = finished(space, 6, None, code=True)
    wrong.system_attrs[CODE] = 10**9
    invalid = finished(space, space.row({"width": 8, "order": "nm", "depth": 0.5}), [1.0])
    invalid.params = {**invalid.params, "depth": 2.0}
    other = SearchSpace.of_values({"x": (1, 2)})
    study = study_with(wrong, invalid, finished(other, 0, [1.0]))
    history = Book(space).read(study)
    assert not len(history.rows)
    assert history.values.shape == (0, 1)


def test_trials_of_one_row_count_once(space: SearchSpace) -> None:
    study = study_with(
        finished(space, 4, [2.0], 1),
        finished(space, 4, [1.0], 2),
        finished(space, 5, None, 3),
        finished(space, 6, [9.0], 4),
        finished(space, 5, [7.0], 5),
        finished(space, 4, None, 6),
    )
    history = Book(space).read(study)
    assert list(history.rows) == [4, 6, 5]
    assert history.values[:, 0].tolist() == [2.0, 9.0, 7.0]


def test_pending_rows_are_those_that_run_but_for_the_one_that_asks(space: SearchSpace) -> None:
    study = study_of(space, "random")
    trials = [study.ask() for _ in range(3)]
    rows = [space.row(suggest(trial, space)) for trial in trials]
    study.enqueue_trial(space.config(20))  # waits, does not run
    book = Book(space)
    assert book.read(study).pending == tuple(rows)
    own = study.get_trials()[1]
    assert book.read(study, own).pending == (rows[0], rows[2])
    study.tell(trials[0], 1.0)
    assert book.read(study).pending == tuple(rows[1:])
    assert book.read(study).started == 3


def test_reading_again_is_reading_anew(space: SearchSpace) -> None:
    study = study_with(finished(space, 4, [2.0], 1))
    book = Book(space)
    book.read(study)
    study.add_trial(finished(space, 3, [1.0], 0))
    again, anew = book.read(study), Book(space).read(study)
    assert list(again.rows) == list(anew.rows) == [3, 4]
    assert again.values.tolist() == anew.values.tolist()


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.sampled_from([1.0, 2.0, np.inf, None]), st.integers(0, 4)),
        max_size=12,
    ),
    st.integers(1, 4),
)
def test_reading_piece_by_piece_is_reading_once(
    found: list[tuple[int, float | None, int]], step: int
) -> None:
    space, study = small_space(), study_with()
    book, histories = Book(space), []
    for place in range(0, len(found), step):
        for row, value, second in found[place : place + step]:
            study.add_trial(finished(space, row, None if value is None else [value], second))
        history = book.read(study)
        histories.append((history, history.rows.tolist(), history.values.tolist()))
        anew = Book(space).read(study)
        assert history.rows.tolist() == anew.rows.tolist()
        assert history.values.tolist() == anew.values.tolist()
    for history, rows, values in histories:  # later readings leave what was handed out alone
        assert (history.rows.tolist(), history.values.tolist()) == (rows, values)


def test_a_trial_is_looked_up_at_its_beginning_and_its_end_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    space = block_space()
    looked_up = []
    row_of = Book._row

    def counting(book: Book, trial: FrozenTrial) -> int:
        looked_up.append(trial.number)
        return row_of(book, trial)

    monkeypatch.setattr(Book, "_row", counting)
    search = Search(space, "random")
    running = []
    for _ in range(60):
        running.append(search.ask())
        if len(running) == 8:
            number, config = running.pop(0)
            search.tell(number, smooth(config))
    assert max(Counter(looked_up).values()) == 2


def test_a_book_reads_the_study_it_is_given(space: SearchSpace) -> None:
    book = Book(space)
    assert list(book.read(study_with(finished(space, 4, [2.0]))).rows) == [4]
    both = study_with(finished(space, 7, [1.0, 2.0]), directions=("maximize", "minimize"))
    assert list(book.read(both).rows) == [7]
    assert book.read(both).values.tolist() == [[-1.0, 2.0]]
