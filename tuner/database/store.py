"""The database of a results folder: every study and every trial, in SQLite."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.backends import Measurement, Status
from tuner.database.lock import locked
from tuner.runtime.errors import TunerError
from tuner.runtime.rules import Config
from tuner.runtime.sizes import Sizes, workload_key

__all__ = ["Store", "Study", "StudyInfo", "Trial", "database_path"]

SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 30.0

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


@dataclass(frozen=True)
class StudyInfo:
    """What identifies a study and what its trials have in common.

    Attributes:
        sizes: Sizes by dim, in the kernel's order, then the variants that are not at their
            default.
        kind: "simulated" or "measured".
        fingerprint: What the times depend on besides workload and config.
        rules: The kernel's entry of an exported table, and the device's facts.
        default: The default config, as repaired for the workload.
        settings: Seed, sampler and the like.
        command: The command line that repeats the job.
    """

    kernel: str
    sizes: Sizes
    dtype: str
    device: str
    backend: str
    kind: str
    fingerprint: Mapping[str, Any]
    rules: Mapping[str, Any]
    default: Config
    settings: Mapping[str, Any]
    command: str
    roofline_us: float

    @property
    def shape(self) -> str:
        """The sizes as the command line takes them."""
        return workload_key(self.sizes)

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """What a record is the best of: kernel, shape, dtype, device, backend."""
        return (self.kernel, self.shape, self.dtype, self.device, self.backend)


@dataclass(frozen=True)
class Study:
    """A study as stored."""

    id: int
    info: StudyInfo
    created_at: float
    finished_at: float | None


@dataclass(frozen=True)
class Trial:
    """A finished trial as stored; fields as in `Measurement`."""

    number: int
    config: Config
    status: Status
    latency_us: float | None
    reason: str
    verified: bool
    figures: Mapping[str, Any]
    host_s: Mapping[str, float]
    finished_at: float


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
        if not create and not self.path.is_file():
            raise TunerError(f"no results in {os.fspath(results)!r}: there is no {self.path}")
        with _readable_errors(self.path):
            if create:
                with locked(results, "database", wait=True):  # SQLite makes no two files at once
                    self._connection = _connect(self.path.absolute().as_uri())
                    self._check_version()
                    self._connection.execute("PRAGMA journal_mode = WAL")
                    # FULL: a commit is on disk when it returns; some SQLites are built otherwise
                    synchronous = "FULL" if durable else "OFF"
                    self._connection.execute(f"PRAGMA synchronous = {synchronous}")
                    self._connection.executescript(_TABLES)
                    self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            else:
                self._connection = _connect_to_read(self.path)
                self._check_version()

    def _check_version(self) -> None:
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, SCHEMA_VERSION):
            raise TunerError(
                f"{self.path}: schema version {version}, this reads version {SCHEMA_VERSION}"
            )

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
                _trial(self._connection.execute(query, _row(study, config, m)).fetchone())
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
            return [_study(row) for row in cursor.execute("SELECT * FROM studies ORDER BY id")]

    def trials(self, study: int) -> list[Trial]:
        """Returns a study's finished trials by number."""
        query = "SELECT * FROM trials WHERE study = ? ORDER BY number"
        with _readable_errors(self.path), closing(self._connection.cursor()) as cursor:
            return [_trial(row) for row in cursor.execute(query, (study,))]


def _connect(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, timeout=BUSY_TIMEOUT_S, uri=True)
    connection.row_factory = sqlite3.Row
    return connection


def _connect_to_read(path: Path) -> sqlite3.Connection:
    """Opens a database to read. In a folder that may not be written to, nobody else writes
    either.
    """
    uri = f"{path.absolute().as_uri()}?mode=ro"
    return _connect(uri if os.access(path.parent, os.W_OK) else f"{uri}&immutable=1")


@contextmanager
def _readable_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
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


def _study(row: sqlite3.Row) -> Study:
    info = StudyInfo(
        row["kernel"],
        json.loads(row["sizes"]),
        row["dtype"],
        row["device"],
        row["backend"],
        row["kind"],
        json.loads(row["fingerprint"]),
        json.loads(row["rules"]),
        json.loads(row["default"]),
        json.loads(row["settings"]),
        row["command"],
        row["roofline_us"],
    )
    return Study(row["id"], info, row["created_at"], row["finished_at"])


def _trial(row: sqlite3.Row) -> Trial:
    return Trial(
        row["number"],
        json.loads(row["config"]),
        Status(row["status"]),
        row["latency_us"],
        row["reason"],
        bool(row["verified"]),
        json.loads(row["figures"]),
        json.loads(row["host_s"]),
        row["finished_at"],
    )
