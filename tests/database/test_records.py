from __future__ import annotations

import pytest

from tests.database.studies import DEFAULT, add, config, failed, info, timed
from tuner.backends import Measurement, Status
from tuner.database import ASKED, REMEASURED, Filter, Store, best_trial, made_noise, records, select
from tuner.runtime.errors import TunerError

OLD = {"kernel_hash": "k0", "model_hash": "m1"}


def test_the_record_is_the_fastest_correct_trial(store: Store) -> None:
    wrong = Measurement(0, Status.CORRECTNESS, "simulated", 1.0)
    add(store, info(), (DEFAULT, timed(9)), (config(4), timed(5)), (config(8), timed(7)))
    add(store, info(), (config(1), wrong), (config(16), timed(6)))
    (best,) = records(store)
    assert (best.trial.config, best.trial.latency_us) == (config(4), 5)
    assert best.study.id == 1
    assert best.trials == 5
    assert best.default_latency_us == 9


def test_a_trial_that_was_measured_again_goes_before_lucky_ones(store: Store) -> None:
    again = timed(5.2, figures={REMEASURED: {"latency_us": 5.0}})
    add(store, info(), (config(4), timed(4.9)), (config(8), again))
    add(store, info(), (config(16), timed(4.8)))
    (best,) = records(store)
    assert (best.study.id, best.trial.config, best.trial.latency_us) == (1, config(8), 5.2)
    add(store, info(), (config(2), timed(5.1, figures=again.figures)))
    (best,) = records(store)
    assert best.trial.config == config(2)


def test_a_clearly_faster_trial_goes_before_one_that_was_measured_again(store: Store) -> None:
    again = timed(5.2, figures={REMEASURED: {"latency_us": 5.0}, "ci_us": [5.1, 5.3]})
    add(store, info(), (config(4), again))
    add(store, info(), (config(8), timed(4.5, figures={"ci_us": [4.4, 4.6]})))
    (best,) = records(store)
    assert (best.study.id, best.trial.config) == (2, config(8))


def test_of_equals_the_first_is_the_record(store: Store) -> None:
    study = add(store, info(), (config(2), timed(7)), (config(4), timed(5)), (config(8), timed(5)))
    add(store, info(), (config(16), timed(5)))
    (best,) = records(store)
    assert (best.study.id, best.trial.config) == (study.id, config(4))


def test_of_equals_the_first_that_was_asked_for_is_the_record(store: Store) -> None:
    back = [(config(size), timed(5, figures={ASKED: asked})) for size, asked in ((4, 2), (8, 1))]
    add(store, info(), *back)
    (best,) = records(store)
    assert best.trial.config == config(8)


def test_only_studies_like_the_newest_one_count(store: Store) -> None:
    add(store, info(fingerprint=OLD), (config(4), timed(1)))
    add(store, info(), (config(8), timed(6)))
    add(store, info(fingerprint=OLD), (DEFAULT, timed(2)))
    add(store, info(), (config(2), timed(7)))
    (best,) = records(store)
    assert (best.trial.config, best.trials) == (config(8), 2)
    assert best.default_latency_us == 7  # config(2) is the default


NOISE = {"kernel_hash": "k1", "model_hash": "m1", "noise": 0.03}


def test_a_newer_study_with_made_noise_hides_no_exact_one(store: Store) -> None:
    exact = add(store, info(), (config(8), timed(6)))
    add(store, info(fingerprint=NOISE), (config(4), timed(1)))
    (best,) = records(store)
    assert (best.study.id, best.trial.config, best.trials) == (exact.id, config(8), 1)


def test_made_noise_is_the_record_where_nothing_exact_is(store: Store) -> None:
    add(store, info(), (config(8), failed()))
    noisy = add(store, info(fingerprint=NOISE), (config(4), timed(1)))
    (best,) = records(store)
    assert best.study.id == noisy.id
    assert made_noise(best.study)


def test_each_workload_has_its_own_record_and_its_own_newest_study(store: Store) -> None:
    add(store, info(fingerprint=OLD), (config(4), timed(1)))
    for changes in ({"M": 512}, {"dtype": "float32"}, {"device": "trn1"}, {"kernel": "other"}):
        add(store, info(**changes), (config(8), timed(2)))
    assert [best.trial.latency_us for best in records(store)] == [1, 2, 2, 2, 2]


def test_a_workload_without_a_correct_trial_has_no_record(store: Store) -> None:
    add(store, info(), (config(4), failed()))
    add(store, info(M=512), (config(4), timed(3)))
    assert [best.study.info.sizes["M"] for best in records(store)] == [512]


@pytest.mark.parametrize("default", [None, "failed"])
def test_without_a_time_of_the_default_there_is_none(store: Store, default: str | None) -> None:
    done = [(config(4), timed(3))]
    if default is not None:
        done.append((DEFAULT, failed()))
    add(store, info(), *done)
    (best,) = records(store)
    assert best.default_latency_us is None


def test_a_verified_record_stays_verified(store: Store) -> None:
    add(store, info(), (config(4), timed(3, verified=True)))
    (best,) = records(store)
    assert best.trial.verified


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        (Filter(), [1, 2, 3, 4]),
        (Filter(kernel="matmul"), [1, 2, 3]),
        (Filter(kernel="other"), [4]),
        (Filter(shape="M=512,K=512,N=1024"), [2, 4]),
        (Filter(shape="N=1024, M=512, K=512"), [2, 4]),
        (Filter(device="trn1"), [3]),
        (Filter(study=2), [2]),
        (Filter(kernel="matmul", shape="M=256,K=512,N=1024", device="trn2"), [1]),
    ],
)
def test_filter(store: Store, wanted: Filter, ids: list[int]) -> None:
    for about in (info(), info(M=512), info(device="trn1"), info(M=512, kernel="other")):
        store.start(about)
    assert [study.id for study in select(store, wanted)] == ids


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        (Filter(kernel="matmull"), "kernel=matmull"),
        (Filter(shape="M=256,K=512"), "shape=M=256,K=512"),
        (Filter(device="trn3", study=1), "device=trn3, study=1"),
    ],
)
def test_a_filter_that_matches_nothing_lists_what_there_is(
    store: Store, wanted: Filter, named: str
) -> None:
    store.start(info())
    store.start(info(M=512, device="trn1"))
    there = "matmul M=256,K=512,N=1024 trn2; matmul M=512,K=512,N=1024 trn1"
    with pytest.raises(TunerError) as error:
        records(store, wanted)
    assert f"no study matches {named} (there is: {there})" in str(error.value)


def test_an_empty_database_says_that_nothing_is_there(store: Store) -> None:
    with pytest.raises(TunerError, match="there is no study in it yet"):
        select(store, Filter())


def test_a_shape_that_is_none_is_an_error(store: Store) -> None:
    store.start(info())
    with pytest.raises(TunerError, match="is not DIM=WHOLE NUMBER"):
        select(store, Filter(shape="256x512"))


def test_best_trial_of_none_is_none(store: Store) -> None:
    study = add(store, info(), (config(1), failed()))
    assert best_trial([]) is None
    assert best_trial(store.trials(study.id)) is None


def test_a_newer_study_without_a_correct_trial_hides_nothing(store: Store) -> None:
    study = add(store, info(), (config(1), timed(5.0)))
    store.start(info(fingerprint={"kernel_hash": "k2"}))
    add(store, info(fingerprint={"kernel_hash": "k3"}), (config(1), failed()))
    (best,) = records(store)
    assert (best.study.id, best.trial.latency_us) == (study.id, 5.0)
