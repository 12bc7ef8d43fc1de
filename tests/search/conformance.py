"""What every sampler does, our own and those of Optuna."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
import pytest
from optuna import Study, Trial
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from tests.search.studies import (
    block_space,
    copied,
    rugged,
    run,
    small_space,
    smooth,
    step,
    study_of,
)
from tuner.runtime.rules import Config
from tuner.search import ExhaustedError, Search, make_sampler, suggest
from tuner.space import SearchSpace


def slow_when_wide(config: Config) -> float | None:
    return float(config["width"])


class SamplerConformance:
    """A subclass names the sampler."""

    sampler: str

    @pytest.fixture
    def small(self) -> SearchSpace:
        return small_space()

    @pytest.fixture(scope="class")
    @classmethod
    def blocks(cls) -> SearchSpace:
        return block_space()

    # What is proposed.

    def test_a_small_space_is_proposed_completely_and_nothing_twice(
        self, small: SearchSpace
    ) -> None:
        search = Search(small, self.sampler)
        configs = run(search, 1000, slow_when_wide)
        assert search.exhausted
        assert sorted(map(small.row, configs)) == list(range(len(small)))

    def test_it_is_exhausted_with_the_last_proposal_and_not_before(
        self, small: SearchSpace
    ) -> None:
        search = Search(small, self.sampler)
        for _ in range(len(small)):
            assert not search.exhausted
            search.ask()
        assert search.exhausted
        with pytest.raises(ExhaustedError, match="all 21 configs were proposed"):
            search.ask()

    def test_the_default_comes_first_and_the_seeds_next(self, small: SearchSpace) -> None:
        default, seeds = small.config(small.default), [small.config(3), small.config(17)]
        for seed in range(3):
            search = Search(small, self.sampler, seed, seeds=[*seeds, default, seeds[0]])
            assert run(search, 3, slow_when_wide) == [default, *seeds]

    def test_the_default_may_be_left_to_the_sampler(self, small: SearchSpace) -> None:
        firsts = [Search(small, self.sampler, s, default=False).ask()[1] for s in range(8)]
        assert any(first != small.config(small.default) for first in firsts)

    def test_proposals_have_the_types_of_the_space(self, small: SearchSpace) -> None:
        for config in run(Search(small, self.sampler), len(small), slow_when_wide):
            assert {name: type(value) for name, value in config.items()} == {
                "width": int,
                "order": str,
                "depth": float,
                **({"keep": bool} if config["order"] == "mn" else {}),
            }

    @pytest.mark.parametrize("values", [{"a": [3]}, {"a": [1, 2]}, {"a": ["x", "y"], "b": [True]}])
    def test_tiny_spaces(self, values: Mapping[str, list[Any]]) -> None:
        space = SearchSpace.of_values(values)
        configs = run(Search(space, self.sampler), 10, lambda config: 1.0)
        assert sorted(map(space.row, configs)) == list(range(len(space)))

    # What it depends on.

    def test_the_same_seed_and_results_give_the_same_proposals(self, blocks: SearchSpace) -> None:
        first = run(Search(blocks, self.sampler, 3), 30, rugged)
        random.seed(9)
        np.random.seed(9)
        assert run(Search(blocks, self.sampler, 3), 30, rugged) == first

    def test_another_seed_gives_other_proposals(self, blocks: SearchSpace) -> None:
        first, second = (run(Search(blocks, self.sampler, s), 12) for s in (0, 1))
        assert first[0] == second[0]
        assert sum(config in first for config in second) < 6

    @pytest.mark.parametrize("finished", [5, 12, 24])
    def test_a_new_sampler_goes_on_as_the_old_one_would(
        self, blocks: SearchSpace, finished: int
    ) -> None:
        living = study_of(blocks, self.sampler, 4)
        for _ in range(finished):
            step(living, blocks, rugged)
        pending = living.ask()
        suggest(pending, blocks)
        fresh = copied(living, make_sampler(self.sampler, blocks, 4))
        expected = [step(living, blocks, rugged) for _ in range(4)]
        assert expected == [step(fresh, blocks, rugged) for _ in range(4)]

    def test_a_sampler_forgets_the_study_it_served_before(self, blocks: SearchSpace) -> None:
        def upside_down(config: Config) -> float:
            return 1000 / rugged(config)

        used = study_of(blocks, self.sampler, 2)
        for _ in range(14):
            step(used, blocks, upside_down)
        again = copied(study_of(blocks, self.sampler), used.sampler)
        new = study_of(blocks, self.sampler, 2)
        expected = [step(new, blocks, rugged) for _ in range(14)]
        assert expected == [step(again, blocks, rugged) for _ in range(14)]

    def test_studies_of_one_name_are_told_apart(self, small: SearchSpace) -> None:
        sampler = make_sampler(self.sampler, small)
        for _ in range(2):
            study = optuna.create_study(study_name="same", sampler=sampler)
            rows = [small.row(step(study, small, slow_when_wide)) for _ in range(len(small))]
            assert sorted(rows) == list(range(len(small)))

    # Pending, failed and foreign trials.

    def test_eight_pending_trials_never_repeat(self, blocks: SearchSpace) -> None:
        configs = run(Search(blocks, self.sampler), 48, rugged, pending=8)
        assert len({blocks.row(config) for config in configs}) == 48

    def test_results_may_come_in_any_order(self, blocks: SearchSpace) -> None:
        search = Search(blocks, self.sampler, 1)
        seen, order = set(), random.Random(0)
        open_: list[tuple[int, Config]] = []
        for _ in range(40):
            open_.append(search.ask())
            seen.add(blocks.row(open_[-1][1]))
            if len(open_) == 6:
                number, config = open_.pop(order.randrange(6))
                search.tell(number, rugged(config))
        assert len(seen) == 40

    @pytest.mark.parametrize("failing", [1.0, 0.5, 0.0])
    def test_failures_do_not_break_it(self, blocks: SearchSpace, failing: float) -> None:
        """All fail, half of them, or the first ten."""
        told = 0

        def time(config: Config) -> float | None:
            nonlocal told
            told += 1
            failed = blocks.row(config) < failing * len(blocks) or (failing == 0 and told <= 10)
            return None if failed else smooth(config)

        configs = run(Search(blocks, self.sampler), 25, time)
        assert len({blocks.row(config) for config in configs}) == 25

    def test_infinite_and_missing_numbers_do_not_break_it(self, small: SearchSpace) -> None:
        values = {1: np.nan, 2: np.inf, 4: -np.inf, 8: 3.0}
        study = study_of(small, self.sampler)
        study.optimize(lambda trial: values[int(suggest(trial, small)["width"])], len(small))
        assert len(small) == len(study.trials)
        assert sorted(small.row(t.params) for t in study.trials) == list(range(len(small)))

    def test_pruned_and_raising_trials(self, small: SearchSpace) -> None:
        def objective(trial: Trial) -> float:
            config = suggest(trial, small)
            if config["order"] == "nm":
                raise optuna.TrialPruned
            if config["width"] == 2:
                raise ArithmeticError
            return float(config["width"])

        study = study_of(small, self.sampler)
        study.optimize(objective, n_trials=len(small), catch=ArithmeticError)
        assert sorted(small.row(t.params) for t in study.trials) == list(range(len(small)))

    def test_added_trials_are_known_and_foreign_ones_do_not_matter(
        self, small: SearchSpace
    ) -> None:
        study = study_of(small, self.sampler)
        space = {p.name: CategoricalDistribution(p.values) for p in small.parameters}
        for row in (0, 5):
            config = small.config(row)
            known: dict[str, BaseDistribution] = {name: space[name] for name in config}
            study.add_trial(create_trial(params=config, distributions=known, value=1.0))
        other: dict[str, BaseDistribution] = {"lr": FloatDistribution(0, 1)}
        study.add_trial(create_trial(params={"lr": 0.5}, distributions=other, value=1.0))
        study.add_trial(create_trial(state=TrialState.FAIL))
        rows = [small.row(step(study, small, slow_when_wide)) for _ in range(len(small) - 2)]
        assert sorted([0, 5, *rows]) == list(range(len(small)))

    # Within Optuna.

    def test_optimize_ends_when_nothing_is_left(self, small: SearchSpace) -> None:
        study = study_of(small, self.sampler)
        study.optimize(lambda trial: float(suggest(trial, small)["width"]), n_trials=100)
        assert len(small) == len(study.trials)
        assert study.best_value == 1

    def test_optimize_from_several_threads_repeats_nothing(self, blocks: SearchSpace) -> None:
        study = study_of(blocks, self.sampler)
        study.optimize(lambda trial: smooth(suggest(trial, blocks)), n_trials=24, n_jobs=4)
        assert len({blocks.row(trial.params) for trial in study.trials}) == 24

    def test_an_objective_may_ask_for_its_parameters_one_by_one(self, small: SearchSpace) -> None:
        def objective(trial: Trial) -> float:
            width: int = trial.suggest_categorical("width", (1, 2, 4, 8))
            if trial.suggest_categorical("order", ("mn", "nm")) == "mn":
                trial.suggest_categorical("keep", (False, True))
            trial.suggest_categorical("depth", (0.5, 2.0))
            return float(width)

        study = study_of(small, self.sampler)
        study.optimize(objective, n_trials=len(small))
        assert sorted(small.row(t.params) for t in study.trials) == list(range(len(small)))

    def test_an_enqueued_config_is_taken_and_counts(self, small: SearchSpace) -> None:
        study = study_of(small, self.sampler)
        study.enqueue_trial(small.config(7))
        rows = [small.row(step(study, small, slow_when_wide)) for _ in range(len(small))]
        assert rows[0] == 7
        assert rows[1] == small.default
        assert sorted(rows) == list(range(len(small)))

    def test_of_a_partly_enqueued_config_the_rest_is_proposed(self, small: SearchSpace) -> None:
        study = study_of(small, self.sampler)
        for _ in range(6):
            study.enqueue_trial({"order": "mn", "width": 8})
        configs = [step(study, small, slow_when_wide) for _ in range(2)]
        assert [(c["order"], c["width"]) for c in configs] == [("mn", 8)] * 2
        assert len({small.row(config) for config in configs}) == 2

    def test_an_enqueued_config_that_is_not_valid_takes_no_row(self, small: SearchSpace) -> None:
        study = study_of(small, self.sampler)
        study.enqueue_trial({"width": 8, "order": "nm", "depth": 2.0})
        step(study, small, slow_when_wide)
        rows = [small.row(step(study, small, slow_when_wide)) for _ in range(len(small))]
        assert sorted(rows) == list(range(len(small)))

    def test_values_to_be_maximised(self, blocks: SearchSpace) -> None:
        """Failures are no successes there either."""

        def time(config: Config) -> float | None:
            return None if config["cache"] else smooth(config)

        def negated(config: Config) -> float | None:
            return None if config["cache"] else -smooth(config)

        least = study_of(blocks, self.sampler, 1)
        most = study_of(blocks, self.sampler, 1, maximize=True)
        expected = [step(least, blocks, time) for _ in range(20)]
        assert expected == [step(most, blocks, negated) for _ in range(20)]

    def test_several_objectives(self, blocks: SearchSpace) -> None:
        study: Study = optuna.create_study(
            sampler=make_sampler(self.sampler, blocks), directions=["minimize", "maximize"]
        )

        def objective(trial: Trial) -> tuple[float, float]:
            config = suggest(trial, blocks)
            return smooth(config), float(config["rows"]) * float(config["columns"])

        study.optimize(objective, n_trials=25)
        assert len({blocks.row(trial.params) for trial in study.trials}) == 25
