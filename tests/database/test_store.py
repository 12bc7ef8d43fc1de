from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.database.studies import add, config, failed, info, outcomes, timed
from tuner.backends import Status
from tuner.database import Store, database_path
from tuner.runtime.errors import TunerError


def test_a_study_comes_back_as_it_was_stored(store: Store) -> None:
    about = info(fingerprint={"b": [1, 2.5], "a": None}, default={"flag": True, "f": 0.5})
    started = store.start(about)
    (study,) = store.studies()
    assert study == started
    assert study.info == about
    assert list(study.info.sizes) == ["M", "K", "N"]
    assert study.finished_at is None
    assert study.created_at > 0


def test_a_trial_comes_back_as_it_was_stored(store: Store) -> None:
    study = store.start(info())
    done = timed(12.25, figures={"busy_us": {"DMA": 1.5}}, verified=True, host_s={"compile": 0.1})
    (stored,) = store.append(study.id, [(config(2, flag=True, share=0.5), done)])
    assert store.trials(study.id) == [stored]
    assert stored.config == config(2, flag=True, share=0.5)
    assert list(stored.config) == list(config(2, flag=True, share=0.5))
    assert (stored.status, stored.latency_us, stored.verified) == (Status.CORRECT, 12.25, True)
    assert (stored.figures, stored.host_s) == (done.figures, done.host_s)


def test_a_failure_keeps_its_reason_and_has_no_time(store: Store) -> None:
    study = add(store, info(), (config(1), failed(Status.TIMEOUT, "took longer than 5 s")))
    (trial,) = store.trials(study.id)
    assert (trial.status, trial.reason) == (Status.TIMEOUT, "took longer than 5 s")
    assert trial.latency_us is None


def test_trials_are_numbered_as_they_come_in_each_study(store: Store) -> None:
    first, second = store.start(info()), store.start(info())
    store.append(first.id, [(config(1), timed(5)), (config(2), timed(4))])
    store.append(second.id, [(config(4), timed(3))])
    store.append(first.id, [(config(8), failed())])
    assert outcomes(store.trials(first.id)) == [
        (0, config(1), 5),
        (1, config(2), 4),
        (2, config(8), None),
    ]
    assert outcomes(store.trials(second.id)) == [(0, config(4), 3)]


def test_a_config_that_is_there_keeps_number_and_figures_and_takes_the_outcome(
    store: Store,
) -> None:
    figures = {"flops": 9}
    study = add(
        store,
        info(),
        (config(1), timed(5, figures=figures)),
        (config(2), timed(4)),
        (config(4), timed(3)),
    )
    wrong = failed(Status.CORRECTNESS, "off")
    (updated,) = store.append(study.id, [(config(1), wrong)])
    assert (updated.number, updated.status, updated.latency_us) == (0, Status.CORRECTNESS, None)
    assert (updated.reason, updated.figures) == ("off", figures)
    store.append(study.id, [(config(8), timed(2))])
    assert outcomes(store.trials(study.id)) == [
        (0, config(1), None),
        (1, config(2), 4),
        (2, config(4), 3),
        (3, config(8), 2),
    ]


def test_a_config_that_is_there_takes_new_figures(store: Store) -> None:
    first, second = {"flops": 9, "programs": None}, {"flops": 9, "programs": None, "samples": 3}
    study = add(store, info(), (config(1), timed(5, figures=first)))
    (updated,) = store.append(study.id, [(config(1), timed(6, figures=second))])
    assert (updated.number, updated.latency_us, updated.figures) == (0, 6, second)
    assert store.trials(study.id) == [updated]


def test_what_is_appended_together_is_there_together_or_not_at_all(store: Store) -> None:
    study = store.start(info())
    with pytest.raises(TypeError):
        store.append(study.id, [(config(1), timed(5)), (config(2), timed(4, figures={"x": {1}}))])
    assert store.trials(study.id) == []


def test_another_connection_sees_what_was_appended(store: Store, tmp_path: Path) -> None:
    study = add(store, info(), (config(1), timed(5)))
    with Store(tmp_path) as other:
        assert other.studies() == store.studies()
        assert other.trials(study.id) == store.trials(study.id)


def test_studies_are_listed_oldest_first_with_their_end(store: Store) -> None:
    first, second = store.start(info()), store.start(info(M=512))
    store.finish(second.id)
    assert [s.id for s in store.studies()] == [first.id, second.id]
    assert [s.finished_at is None for s in store.studies()] == [True, False]


def test_trials_of_no_study(store: Store) -> None:
    assert store.trials(99) == []


def test_a_folder_without_results_is_an_error_and_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(TunerError, match=r"no results in .*: there is no .*sqlite3"):
        Store(tmp_path / "missing")
    assert list(tmp_path.iterdir()) == []


def test_creating_twice_keeps_what_is_there(store: Store, tmp_path: Path) -> None:
    study = add(store, info(), (config(1), timed(5)))
    with Store(tmp_path, create=True) as again:
        assert again.studies() == [study]
        assert len(again.trials(study.id)) == 1


@pytest.mark.parametrize("create", [True, False])
def test_a_database_of_another_version_is_refused(
    store: Store, tmp_path: Path, create: bool
) -> None:
    connection = sqlite3.connect(database_path(tmp_path))
    connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(TunerError, match="schema version 7, this reads version 1"):
        Store(tmp_path, create=create)


@pytest.mark.parametrize("create", [True, False])
def test_a_file_that_is_no_database_is_an_error_that_names_it(tmp_path: Path, create: bool) -> None:
    path = database_path(tmp_path)
    path.parent.mkdir()
    path.write_text("no database at all, but long enough to be mistaken for one\n" * 50)
    with pytest.raises(TunerError, match=r"nki-tuner\.sqlite3: file is not a database"):
        Store(tmp_path, create=create)
    assert path.read_text().startswith("no database")


def test_an_empty_database_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = database_path(tmp_path)
    path.parent.mkdir()
    path.touch()
    with pytest.raises(TunerError, match=r"no results in .*nki-tuner\.sqlite3 is empty"):
        Store(tmp_path)


def test_a_results_folder_that_is_a_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    with pytest.raises(TunerError, match="results/local"):
        Store(tmp_path / "results", create=True)


def test_a_closed_database_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path, create=True)
    store.close()
    store.close()
    with pytest.raises(TunerError, match="closed"):
        store.studies()


def test_the_key_of_a_study_is_what_a_record_is_best_of() -> None:
    about = info(M=512)
    assert about.shape == "M=512,K=512,N=1024"
    assert about.key == ("matmul", about.shape, "bfloat16", "trn2", "simulator")


def test_databases_made_at_the_same_time_do_not_disturb_each_other(tmp_path: Path) -> None:
    def make(results: Path) -> int:
        with Store(results, create=True) as store:
            return add(store, info(), (config(1), timed(5.0))).id

    for turn in range(4):
        with ThreadPoolExecutor(6) as pool:
            ids = list(pool.map(make, [tmp_path / str(turn)] * 6))
        assert sorted(ids) == [1, 2, 3, 4, 5, 6]


def test_a_folder_that_may_only_be_read_can_be_read(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = add(store, info(), (config(1), timed(5.0)))
    store.close()
    monkeypatch.setattr("os.access", lambda *_: False)
    before = sorted(tmp_path.rglob("*"))
    with Store(tmp_path) as readable:
        assert [trial.latency_us for trial in readable.trials(study.id)] == [5.0]
        with pytest.raises(TunerError, match="readonly"):
            readable.start(info())
    assert sorted(tmp_path.rglob("*")) == before


FOREIGN = [
    ("CREATE VIEW v AS SELECT 1", "has a view 'v'"),
    ("CREATE TRIGGER t AFTER INSERT ON trials BEGIN DELETE FROM studies; END", "has a trigger 't'"),
    ("CREATE VIRTUAL TABLE v USING fts5(text)", "has a table 'v'"),
    ("ALTER TABLE trials ADD COLUMN c TEXT AS (hex(config))", "table trials has a column"),
]


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize(("statement", "why"), FOREIGN)
def test_a_database_that_computes_when_it_is_read_is_refused(
    tmp_path: Path, statement: str, why: str, create: bool
) -> None:
    Store(tmp_path, create=True).close()
    with closing(sqlite3.connect(database_path(tmp_path))) as database:
        try:
            database.execute(statement)
        except sqlite3.OperationalError as error:
            pytest.skip(f"this SQLite makes no such table: {error}")
        database.commit()
    with pytest.raises(TunerError, match=why):
        Store(tmp_path, create=create)


WRONG = [
    ("studies", "sizes", "[]"),
    ("studies", "sizes", "{"),
    ("studies", "sizes", '{"a":' * 5000),
    ("studies", "rules", '{"kernel": 3}'),
    ("studies", "rules", '{"kernel": {"variants": {"v": []}}}'),
    ("studies", '"default"', '{"a": [1]}'),
    ("studies", "created_at", -1),
    ("studies", "created_at", 1e300),
    ("trials", "config", '{"a": null}'),
    ("trials", "status", "good"),
    ("trials", "latency_us", -1.0),
    ("trials", "figures", "3"),
    ("trials", "host_s", '{"compile": "long"}'),
]


@pytest.mark.parametrize(("table", "column", "value"), WRONG)
def test_a_row_that_somebody_else_wrote_is_an_error(
    tmp_path: Path, table: str, column: str, value: object
) -> None:
    with Store(tmp_path, create=True) as store:
        add(store, info(), (config(1), timed(5.0)))
    with closing(sqlite3.connect(database_path(tmp_path))) as database:
        database.execute(f"UPDATE {table} SET {column} = ?", (value,))
        database.commit()
    what = "study" if table == "studies" else "trial"
    with Store(tmp_path) as store, pytest.raises(TunerError, match=f"a {what} that nki-tuner did"):
        store.trials(store.studies()[0].id)


def test_a_row_has_a_limit(tmp_path: Path) -> None:
    with Store(tmp_path, create=True) as store, pytest.raises(TunerError, match="too big"):
        store.start(info(command="x" * (17 << 20)))
