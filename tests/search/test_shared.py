from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from optuna.trial import TrialState

from tests.postgres_server import PASSWORD, Server
from tests.search.studies import small_space
from tuner.backends import Measurement, Status
from tuner.runtime.errors import TunerError
from tuner.search import heartbeat
from tuner.search.shared import OWNER, RESULT, Entry, SharedStudy, config_key, shared_study
from tuner.space import SearchSpace

Driver = Callable[..., SharedStudy]
SPACE = small_space()
CONFIGS = [SPACE.config(row) for row in range(len(SPACE))]
FIRST, SECOND = CONFIGS[:2]
GOOD = Measurement(
    0,
    Status.CORRECT,
    "simulated",
    12.5,
    figures={"error_percent": 7.0, "ci_us": [12.0, 13.0], "busy_us": {"TensorE": 3.0}},
    verified=True,
    host_s={"compile": 0.5},
)


@pytest.fixture
def driver(database: str) -> Iterator[Driver]:
    """Joins a study in one database, under a name."""
    with ExitStack() as stack:

        def join(
            name: str, study: str = "study", space: SearchSpace = SPACE, **about: Any
        ) -> SharedStudy:
            told = {"workload": ["matmul"], "fingerprint": {}, "settings": {}, **about}
            shared = stack.enter_context(shared_study(database, study, told, space))
            shared.join(name)
            return shared

        yield join


def mine(shared: SharedStudy, entries: list[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.owner == shared.driver and entry.result is None]


def test_of_two_claims_the_first_counts(driver: Driver) -> None:
    one, other = driver("one"), driver("other")
    assert [e.owner for e in one.claim([FIRST])] == ["one"]
    entries = other.claim([FIRST, SECOND])
    assert [(e.config, e.owner) for e in entries] == [(FIRST, "one"), (SECOND, "other")]
    assert one.read() == entries


@pytest.mark.slow
def test_every_config_has_one_driver_when_all_claim_at_once(driver: Driver) -> None:
    drivers = [driver(f"driver {i}") for i in range(4)]
    begin = threading.Barrier(len(drivers))
    failures: list[BaseException] = []

    def claim(shared: SharedStudy, place: int) -> None:
        try:
            begin.wait()
            for start in range(0, len(CONFIGS), 3):
                chosen = CONFIGS[start : start + 3]
                shared.claim(chosen[::-1] if place % 2 else chosen)
        except BaseException as error:
            failures.append(error)

    claiming = [threading.Thread(target=claim, args=each[::-1]) for each in enumerate(drivers)]
    for thread in claiming:
        thread.start()
    for thread in claiming:
        thread.join()
    assert failures == []
    seen = [shared.read() for shared in drivers]
    assert all(entries == seen[0] for entries in seen)
    assert sorted(e.key for e in seen[0]) == sorted(map(config_key, CONFIGS))
    running = drivers[0].link.storage.get_all_trials(drivers[0].study, states=[TrialState.RUNNING])
    assert len(running) == len(CONFIGS), "claims that were late are withdrawn"


def test_a_limit_holds_for_all_drivers_together(driver: Driver) -> None:
    one, other = driver("one"), driver("other")
    assert len(mine(one, one.claim(CONFIGS[:3], limit=5))) == 3
    assert len(mine(other, other.claim(CONFIGS[2:8], limit=5))) == 2
    assert len(one.read()) == 5
    one.release(mine(one, one.read())[:1])
    assert len(mine(other, other.claim(CONFIGS[8:12], limit=5))) == 3


def test_a_result_comes_back_whole(driver: Driver) -> None:
    one, other = driver("one"), driver("other")
    (entry,) = one.claim([FIRST])
    one.finish(entry, GOOD)
    (seen,) = other.read()
    assert seen.result == GOOD
    assert (seen.config, seen.owner) == (FIRST, "one")
    bad = Measurement(0, Status.COMPILE, "simulated", reason="sbuf out of memory: tile 'x'")
    one.finish(mine(one, one.claim([SECOND]))[0], bad)
    (_, failed) = other.read()
    assert failed.result is not None
    assert (failed.result.status, failed.result.reason) == (bad.status, bad.reason)


def test_a_released_config_is_free_again(driver: Driver) -> None:
    one, other = driver("one"), driver("other")
    one.release(one.claim([FIRST]))
    assert other.read() == []
    assert [e.owner for e in other.claim([FIRST])] == ["other"]


def test_a_result_counts_where_its_claim_was_taken_over_but_not_finished(driver: Driver) -> None:
    one, other = driver("one"), driver("other")
    (entry,) = one.claim([FIRST])
    other.release([entry])
    one.finish(entry, GOOD)
    assert [e.result and e.result.figures for e in other.read()] == [GOOD.figures]


def test_a_result_that_comes_second_does_not_count(driver: Driver) -> None:
    one, other = driver("one"), driver("other")
    (entry,) = one.claim([FIRST])
    other.release([entry])
    (again,) = other.claim([FIRST])
    one.finish(entry, Measurement(0, Status.CORRECT, "simulated", 99.0))
    assert [e.owner for e in one.read()] == ["other"]
    other.finish(again, GOOD)
    assert [e.result and e.result.latency_us for e in one.read()] == [12.5]


def test_a_driver_without_a_pulse_is_dead(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_S", 0.05)
    monkeypatch.setattr(heartbeat, "MISSED", 15)
    dying, alive, watching = driver("dying"), driver("alive"), driver("watching")
    (left,) = dying.claim([FIRST])
    kept = alive.claim([SECOND])[1]
    assert not watching.is_left(left)
    dying.leave()
    until = time.monotonic() + 30
    while not watching.is_left(left):
        assert time.monotonic() < until
        assert not watching.is_left(kept)
        time.sleep(0.02)
    assert not watching.is_left(kept)


def test_a_driver_that_does_not_look_does_not_judge(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was suspended for an hour has seen nobody's pulse, and nobody's death."""
    monkeypatch.setattr(heartbeat, "BEAT_S", 0.05)
    monkeypatch.setattr(heartbeat, "MISSED", 2)
    gone, watching = driver("gone"), driver("watching")
    (left,) = gone.claim([FIRST])
    watching.leave()
    gone.leave()
    time.sleep(0.3)
    assert not watching.is_left(left)


def test_two_processes_may_not_be_one_driver(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_S", 0.05)
    first = driver("same")
    second = driver("same")

    def read_until_told() -> None:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            first.read()
            time.sleep(0.02)

    with pytest.raises(TunerError, match="goes on with the same trials"):
        read_until_told()
    second.read()


@pytest.mark.parametrize(
    "told",
    [
        None,
        7,
        {},
        {"latency_us": "fast"},
        {"latency_us": -1.0},
        {"latency_us": float("nan")},
        {"status": "wonderful"},
        {"status": "compile"},
        {"figures": {"ci_us": "narrow"}},
        {"figures": {"ci_us": [1.0]}},
        {"figures": {"samples": "many"}},
        {"figures": {"text": "x" * 200_000}},
    ],
)
def test_a_result_that_cannot_be_is_none(driver: Driver, told: Any) -> None:
    shared = driver("one")
    (entry,) = shared.claim([FIRST])
    whole = {
        "status": "correct",
        "kind": "simulated",
        "latency_us": 1.0,
        "reason": "",
        "verified": False,
        "figures": {},
        "host_s": {},
    }
    changed = {**whole, **told} if isinstance(told, dict) and told else told
    storage = shared.link.storage
    storage.set_trial_user_attr(entry.trial, RESULT, changed)
    storage.set_trial_state_values(entry.trial, TrialState.COMPLETE, [1.0])
    assert shared.read() == []
    (entry,) = shared.claim([FIRST])
    storage.set_trial_user_attr(entry.trial, RESULT, whole)
    storage.set_trial_state_values(entry.trial, TrialState.COMPLETE, [1.0])
    assert len(shared.read()) == 1


def test_what_is_no_config_of_the_space_is_left_out(driver: Driver) -> None:
    other = SearchSpace.of_values({"width": (1, 16)}, default={"width": 16})
    stranger = driver("stranger", space=other)
    stranger.claim([{"width": 16}])
    assert driver("one").read() == []


def test_what_is_shown_cannot_steer_a_terminal(driver: Driver) -> None:
    shared = driver("one")
    evil = "\x1b[2J\x07\nname\u202e"
    (entry,) = shared.claim([FIRST])
    shared.link.storage.set_trial_user_attr(entry.trial, OWNER, evil)
    bad = Measurement(0, Status.COMPILE, "simulated", reason=evil + "x" * 10_000)
    shared.finish(entry, bad)
    (seen,) = shared.read()
    assert seen.result is not None
    assert (seen.owner.isprintable(), seen.result.reason.isprintable()) == (True, True)
    assert len(seen.result.reason) <= 500


def test_names_like_sql_are_names(driver: Driver, postgres: Server) -> None:
    name = "'; DROP TABLE trials; --\"%s %(x)s {0} \\"
    space = SearchSpace.of_values(
        {"order": (name, "other"), "width; DELETE FROM trials": (1, 2)},
        default={"order": name, "width; DELETE FROM trials": 1},
    )
    one = driver(name, study=name, space=space, workload=[name])
    other = driver("other", study=name, space=space, workload=[name])
    (entry,) = one.claim([space.config(space.default)])
    one.finish(entry, Measurement(0, Status.RUNTIME, "simulated", reason=name))
    (seen,) = other.read()
    assert (seen.config["order"], seen.owner) == (name, name)
    assert seen.result is not None
    assert seen.result.reason == name
    assert one.name == name


def test_a_driver_needs_no_more_than_to_read_insert_and_update(
    database: str, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    about: dict[str, Any] = {"workload": []}
    with shared_study(database, "owner's", about, SPACE):
        pass
    name = database.rpartition("/")[2]
    for right in ("SELECT, INSERT, UPDATE ON ALL TABLES", "USAGE ON ALL SEQUENCES"):
        postgres.execute(f"GRANT {right} IN SCHEMA public TO locked", name)
    with shared_study(postgres.url(name, "locked"), "driver's", about, SPACE) as shared:
        shared.join("locked")
        for entry in shared.claim([FIRST, SECOND]):
            shared.finish(entry, GOOD)
        assert [e.result is not None for e in shared.read()] == [True, True]


def test_a_new_study_says_what_the_newest_of_the_workload_was_made_of(driver: Driver) -> None:
    first = driver("one", study="a", fingerprint={"policy": "nki"})
    assert first.others is None
    assert driver("two", study="a", fingerprint={"policy": "nki"}).others is None
    assert driver("x", study="c", workload=["mlp"]).others is None
    second = driver("two", study="b", fingerprint={"policy": "beta1"})
    assert second.others is not None
    assert second.others["fingerprint"] == {"policy": "nki"}
