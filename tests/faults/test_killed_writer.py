"""A writer that is killed at any instant loses nothing that it said was stored."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import tuner.runtime
from tests.database.studies import config, info, timed
from tuner.database import Store, export

KILLS = 200
KILLS_A_DATABASE = 20
LONGEST_S = 0.25
BATCH = 3
APPENDS_AN_EXPORT = 4

pytestmark = pytest.mark.faults


def latency_us(number: int) -> float:
    """Every trial is a little faster than the one before, so every export differs."""
    return 1000.0 / (number + 1)


def write_forever(results: Path, table: Path, pipe: int) -> None:
    """Stores trials and exports the best, saying what it begins and what is done."""

    def say(words: str) -> None:
        os.write(pipe, f"{words}\n".encode())

    say("opening")
    with Store(results, create=True) as store:
        study = (store.studies() or [store.start(info())])[0]
        number = len(store.trials(study.id))
        while True:
            for _ in range(APPENDS_AN_EXPORT):
                batch = range(number, number + BATCH)
                say("appending")
                store.append(study.id, [(config(n), timed(latency_us(n))) for n in batch])
                number += BATCH
                say(f"stored {number}")
            say(f"exporting {number}")
            export(results, table)
            say(f"exported {number}")


def killed_after(seconds: float, results: Path, table: Path) -> list[str]:
    """Starts a writer, kills it at that time, and returns what it said."""
    heard, told = os.pipe()
    writer = os.fork()
    if writer == 0:
        try:
            write_forever(results, table, told)
        finally:
            os._exit(1)
    os.close(told)
    time.sleep(seconds)
    os.kill(writer, signal.SIGKILL)
    with os.fdopen(heard, encoding="ascii") as said:
        lines = said.read().splitlines()
    status = os.waitpid(writer, 0)[1]
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, f"the writer failed: {lines[-3:]}"
    return lines


def last(lines: list[str], word: str, before: int) -> int:
    numbers = [int(line.split()[1]) for line in lines if line.startswith(f"{word} ")]
    return numbers[-1] if numbers else before


def check_database(results: Path, acknowledged: int) -> None:
    """Everything acknowledged is there, in order, with the times it had."""
    with Store(results, create=True) as store:
        trials = [trial for study in store.studies() for trial in store.trials(study.id)]
        path = store.path
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert acknowledged <= len(trials) <= acknowledged + BATCH
    assert len(trials) % BATCH == 0, "a batch is stored as a whole"
    expected = [(n, config(n), latency_us(n)) for n in range(len(trials))]
    assert expected == [(t.number, t.config, t.latency_us) for t in trials]


def check_table(table: Path, old: int, begun: int) -> int:
    """The table is the old one or the new one; returns of how many trials it is the best."""
    if not table.exists():
        assert old == 0, "an exported table is gone"
        return 0
    (record,) = tuner.runtime.load(table).records
    assert record.trials in (old, begun)
    assert record.latency_us == latency_us(record.trials - 1)
    return record.trials


def test_a_writer_killed_at_any_instant_loses_nothing(
    tmp_path: Path, record_faults: Counter[str], amount: Callable[[int], int]
) -> None:
    instants = random.Random(0)
    for kill in range(amount(KILLS)):
        folder = tmp_path / str(kill // KILLS_A_DATABASE)
        if not folder.exists():
            folder.mkdir()
            stored = exported = 0
        results, table = folder / "results", folder / "table.json"
        # Squared: opening the database takes a few milliseconds only, and is hit as well.
        lines = killed_after(LONGEST_S * instants.random() ** 2, results, table)
        stored, begun = last(lines, "stored", stored), last(lines, "exporting", exported)
        check_database(results, stored)
        exported = check_table(table, last(lines, "exported", exported), begun)
        with Store(results) as store:
            stored = len(store.trials(store.studies()[0].id)) if store.studies() else 0
        doing = lines[-1].split()[0] if lines else "starting"
        record_faults[f"writer killed while {doing}"] += 1
    assert record_faults["writer killed while appending"] > 0
    assert record_faults["writer killed while exporting"] > 0
