from __future__ import annotations

import pickle
from pathlib import Path

import optuna
import pytest

from tests.search.studies import block_space, copied, rugged, small_space, step, study_of
from tuner.search import SAMPLERS, make_sampler, suggest


def test_a_trial_of_another_sampler_has_no_config() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler())
    with pytest.raises(ValueError, match="trial 0 has no config: the study's sampler is another"):
        suggest(study.ask(), small_space())


def test_a_trial_may_only_ask_for_parameters_of_its_config() -> None:
    space = small_space()
    trial = study_of(space, "random").ask()
    assert suggest(trial, space)["order"] == "nm"
    with pytest.raises(KeyError, match="'keep' has no value in this trial"):
        trial.suggest_categorical("keep", (False, True))
    with pytest.raises(KeyError, match="'lr' has no value in this trial"):
        trial.suggest_float("lr", 0, 1)


@pytest.mark.parametrize("sampler", [*SAMPLERS, "TPESampler"])
def test_a_pickled_sampler_goes_on(sampler: str) -> None:
    space = block_space()
    study = study_of(space, sampler, 2)
    for _ in range(12):
        step(study, space, rugged)
    other = copied(study, pickle.loads(pickle.dumps(study.sampler)))
    assert step(other, space, rugged) == step(study, space, rugged)


def test_a_study_in_a_database_goes_on_in_another_process(tmp_path: Path) -> None:
    space = block_space()
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    in_memory = study_of(space, "gp", 5)
    expected = [step(in_memory, space, rugged) for _ in range(14)]
    first = optuna.create_study(
        storage=storage, study_name="blocks", sampler=make_sampler("gp", space, 5)
    )
    found = [step(first, space, rugged) for _ in range(10)]
    again = optuna.load_study(
        storage=storage, study_name="blocks", sampler=make_sampler("gp", space, 5)
    )
    found += [step(again, space, rugged) for _ in range(4)]
    assert found == expected
