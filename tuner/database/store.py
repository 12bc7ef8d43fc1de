"""The database of a results folder: every study and every trial, in SQLite."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tuner.backends import Measurement
from tuner.database.lock import locked
from tuner.database.studies import Study, StudyInfo, Trial, study_of, trial_of
from tuner.runtime.errors import TunerError
from tuner.runtime.rules import Config

__all__ = ["Store", "database_path"]

SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 30.0
MAX_FILE_BYTES = 4 << 30
MAX_ROW_BYTES = 16 << 20

_TABLES = """
CREATE TABLE IF NOT EXISTS studies (
    id INTEGER PRIMARY KEY,
    kernel TEXT NOT NULL, sizes TEXT NOT NULL, dtype TEXT NOT NULL, device TEXT NOT NULL,
    backend TEXT NOT NULL, kind TEXT NOT NULL,
    fingerprint TEXT NOT NULL, rules TEXT NOT NULL, "default" TEXT NOT NULL, settings TEXT NOT NULL,
    command TEXT NOT NULL, roofline_us REAL NOT NULL, created_at REAL NOT NULL, finished_at REAL
) STRICT;
CREATE TABLE IF NOT EXISTS trials (
    study INTEGER NOT NULL REFERENCES studies(id),
    number INTEGER NOT NULL, config TEXT NOT NULL,
    status TEXT NOT NULL, latency_us REAL, reason TEXT NOT NULL, verified INTEGER NOT NULL,
    figures TEXT NOT NULL, host_s TEXT NOT NULL, finished_at REAL NOT NULL,
    PRIMARY KEY (study, config), UNIQUE (study, number)
) STRICT;
"""


def database_path(results: str | os.PathLike[str]) -> Path:
    """Returns where the database of a results folder lies."""
    return Path(results) / "local" / "nki-tuner.sqlite3"


class Store:
    """Reads and writes one database; only the driver of a job writes.

    Args:
        results: The results folder.
        create: Make folder and database where they are missing.
        durable: What is committed survives a loss of power, which takes milliseconds a commit.

    Raises:
        TunerError: There is no database, it cannot be opened, or another version wrote it.
    """

    def __init__(
        self, results: str | os.PathLike[str], create: bool = False, durable: bool = True
    ) -> None:
        self.path = database_path(results)
        with _readable_errors(self.path):
            if not create and not self.path.is_file():
                raise TunerError(f"no results in {os.fspath(results)!r}: there is no {self.path}")
            if create:
                with locked(results, "database", wait=True):  # SQLite makes no two files at once
                    self._connection = _connect(self.path, "rwc")
                    self._check_version()
                    self._connection.execute("PRAGMA journal_mode = WAL")
                    # FULL: a commit is on disk when it returns; some SQLites are built otherwise
                    synchronous = "FULL" if durable else "OFF"
                    self._connection.execute(f"PRAGMA synchronous = {synchronous}")
                    self._connection.executescript(_TABLES)
                    self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            else:
                self._connection = _connect_to_read(self.path)
                if self._check_version() == 0:  # who made it was killed before it wrote anything
                    raise TunerError(f"no results in {os.fspath(results)!r}: {self.path} is empty")

    def _check_version(self) -> int:
        """Returns the version, 0 of a database that is just being made; refuses what another
        version wrote, and what would compute something when it is read.
        """
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, SCHEMA_VERSION):
            raise TunerError(
                f"{self.path}: schema version {version}, this reads version {SCHEMA_VERSION}"
            )
        for kind, name, text in self._connection.execute(
            "SELECT type, name, sql FROM sqlite_master"
        ):
            computes = re.match(r"CREATE\s+VIRTUAL", text or "", re.IGNORECASE)
            if kind not in ("table", "index") or computes:
                raise TunerError(f"{self.path}: has a {kind} {name!r} that nki-tuner did not make")
        for table in ("studies", "trials"):
            columns = self._connection.execute(f"PRAGMA table_xinfo({table})").fetchall()
            if any(column["hidden"] for column in columns):
                raise TunerError(f"{self.path}: table {table} has a column that is computed")
        return int(version)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the database."""
        self._connection.close()

    def start(self, info: StudyInfo) -> Study:
        """Stores a new study."""
        now = time.time()
        with _readable_errors(self.path), self._connection:
            cursor = self._connection.execute(
                "INSERT INTO studies (kernel, sizes, dtype, device, backend, kind, fingerprint, "
                'rules, "default", settings, command, roofline_us, created_at) '
                "VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
                (
                    info.kernel,
                    json.dumps(dict(info.sizes)),
                    info.dtype,
                    info.device,
                    info.backend,
                    info.kind,
                    json.dumps(dict(info.fingerprint), sort_keys=True),
                    json.dumps(dict(info.rules)),
                    json.dumps(info.default),
                    json.dumps(dict(info.settings)),
                    info.command,
                    info.roofline_us,
                    now,
                ),
            )
        assert cursor.lastrowid is not None
        return Study(cursor.lastrowid, info, now, None)

    def append(self, study: int, done: Iterable[tuple[Config, Measurement]]) -> list[Trial]:
        """Commits finished trials together, numbered as they come, and returns them.

        A trial whose config is there already keeps its number and takes the new outcome, and its
        figures where it has any.
        """
        query = (
            "INSERT INTO trials (study, number, config, status, latency_us, reason, verified, "
            "figures, host_s, finished_at) VALUES "
            "(:study, (SELECT IFNULL(MAX(number) + 1, 0) FROM trials WHERE study = :study), "
            ":config, :status, :latency_us, :reason, :verified, :figures, :host_s, :finished_at) "
            "ON CONFLICT (study, config) DO UPDATE SET status = excluded.status, reason = "
            "excluded.reason, latency_us = excluded.latency_us, verified = excluded.verified, "
            "figures = iif(excluded.figures = '{}', figures, excluded.figures) "
            "RETURNING *"
        )
        with _readable_errors(self.path), self._connection:
            return [
                trial_of(self._connection.execute(query, _row(study, config, m)).fetchone())
                for config, m in done
            ]

    def restate(self, study: int, command: str, settings: Mapping[str, Any]) -> None:
        """Replaces command and settings of a study that goes on: it has more trials, say."""
        with _readable_errors(self.path), self._connection:
            self._connection.execute(
                "UPDATE studies SET command = ?, settings = ?, finished_at = NULL WHERE id = ?",
                (command, json.dumps(dict(settings)), study),
            )

    def finish(self, study: int) -> None:
        """Marks a study as complete."""
        with _readable_errors(self.path), self._connection:
            self._connection.execute(
                "UPDATE studies SET finished_at = ? WHERE id = ?", (time.time(), study)
            )

    def studies(self) -> list[Study]:
        """Returns every study, oldest first."""
        with _readable_errors(self.path), closing(self._connection.cursor()) as cursor:
            return [study_of(row) for row in cursor.execute("SELECT * FROM studies ORDER BY id")]

    def trials(self, study: int) -> list[Trial]:
        """Returns a study's finished trials by number."""
        query = "SELECT * FROM trials WHERE study = ? ORDER BY number"
        with _readable_errors(self.path), closing(self._connection.cursor()) as cursor:
            return [trial_of(row) for row in cursor.execute(query, (study,))]


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    """Opens a database. It may be a stranger's: its rows are limited, its schema is not trusted."""
    if path.is_file() and path.stat().st_size > MAX_FILE_BYTES:
        raise TunerError(f"{path}: larger than {MAX_FILE_BYTES >> 30} GiB")
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, timeout=BUSY_TIMEOUT_S, uri=True)
    connection.row_factory = sqlite3.Row
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_ROW_BYTES)
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _connect_to_read(path: Path) -> sqlite3.Connection:
    """Opens a database to read. In a folder that may not be written to, nobody else writes
    either; on a full disk SQLite finds no room for its notes, and all is in one file where the
    log beside it is empty.
    """
    if os.access(path.parent, os.W_OK):
        connection = _connect(path, "ro")
        try:
            connection.execute("PRAGMA user_version").fetchone()
            return connection
        except sqlite3.OperationalError as error:
            connection.close()
            log = path.with_name(f"{path.name}-wal")
            no_room = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL)
            if not no_room or (log.is_file() and log.stat().st_size):
                raise
    return _connect(path, "ro&immutable=1")


@contextmanager
def _readable_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError, ValueError) as error:
        raise TunerError(f"{path}: {error}") from None


def _row(study: int, config: Config, measurement: Measurement) -> dict[str, Any]:
    return {
        "study": study,
        "config": json.dumps(config),
        "status": measurement.status.value,
        "latency_us": measurement.latency_us,
        "reason": measurement.reason,
        "verified": int(measurement.verified),
        "figures": json.dumps(dict(measurement.figures)),
        "host_s": json.dumps(dict(measurement.host_s)),
        "finished_at": time.time(),
    }
