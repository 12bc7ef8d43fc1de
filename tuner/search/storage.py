"""The PostgreSQL database through which drivers share a study: its URL, and connections that come
back.
"""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from tuner.runtime.errors import TunerError

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from sqlalchemy.engine import URL

__all__ = ["Link", "checked_url", "connect"]

EXAMPLE = "postgresql://user@host/database"
SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")
SECRETS = ("password", "sslpassword")
LOST_AFTER_S = 60.0
RETRY_S = 1.0
SETTINGS = {
    "connect_timeout": "10",
    "application_name": "nki-tuner",
    # A host that is gone without a word is noticed.
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
    # A driver that is stopped within a transaction keeps its locks: the server ends it.
    "options": "-c statement_timeout=60s -c idle_in_transaction_session_timeout=30s",
}
"""Settings of libpq, unless the URL has its own."""
LOCK = 0x6E6B6974
"""Number of the lock under which Optuna's tables are made; any."""

P = ParamSpec("P")
T = TypeVar("T")


def checked_url(text: str) -> URL:
    """Returns the URL of a database as SQLAlchemy takes it.

    Raises:
        TunerError: It is none of PostgreSQL, or has a password in it, which the message leaves out.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise TunerError(f"storage: this is no URL; expected {EXAMPLE}") from None
    if url.password is not None or any(name in url.query for name in SECRETS):
        raise TunerError(
            "storage: the URL has a password in it, which others on this machine can read; leave "
            "it out and give it as PGPASSWORD, in ~/.pgpass or in a service file"
        )
    if url.drivername not in SCHEMES:
        raise TunerError(f"storage: {url.drivername!r} is not known; expected {EXAMPLE}")
    return url.set(drivername=SCHEMES[-1])


class Link:
    """Optuna's storage in a database; a connection that is lost is made anew.

    Args:
        storage: The storage.
        place: Where it is, in a person's words, without secrets.
    """

    def __init__(self, storage: RDBStorage, place: str) -> None:
        from optuna.storages import get_storage

        self.storage = get_storage(storage)  # remembers trials that are finished
        self.place = place
        self._backend = storage
        self._given_up = False

    def call(self, function: Callable[P, T], *args: P.args, **keywords: P.kwargs) -> T:
        """Calls a function of the storage, again and again for a minute while the server is away:
        one that was called may have been done twice.

        Raises:
            TunerError: The server stays away, or refuses.
        """
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError

        until = time.monotonic() + LOST_AFTER_S
        while True:
            try:
                done = function(*args, **keywords)
                self._given_up = False
                return done
            except (StorageInternalError, SQLAlchemyError) as error:
                cause = error.__cause__ if isinstance(error, StorageInternalError) else error
                away = isinstance(cause, OperationalError | InterfaceError)
                if not away or self._given_up or time.monotonic() > until:
                    self._given_up = away  # whoever tidies up need not wait as long once more
                    raise TunerError(f"{self.place}: {_told(cause or error)}") from None
            time.sleep(RETRY_S)

    def leave_thread(self) -> None:
        """Gives back the connection of the calling thread."""
        self._backend.remove_session()

    def close(self) -> None:
        """Closes all connections."""
        self.leave_thread()
        self._backend.engine.dispose()


@contextmanager
def connect(text: str) -> Iterator[Link]:
    """Connects to the database of a URL and makes Optuna's tables where they are missing.

    Raises:
        TunerError: The URL is wrong, the driver is not installed, the server cannot be reached or
            refuses, or another version of Optuna made the tables.
    """
    url = checked_url(text)
    place = f"PostgreSQL at {url.host or url.query.get('service') or 'localhost'}"
    try:
        importlib.import_module("psycopg")
    except ImportError as error:
        raise TunerError(
            f"storage: PostgreSQL needs the package psycopg: pip install 'nki-tuner[postgres]' "
            f"({error})"
        ) from None
    logging.getLogger("optuna.storages").setLevel(logging.ERROR)  # what is tried again is no news
    link = _open(url, place)
    try:
        yield link
    finally:
        link.close()


def _open(url: URL, place: str) -> Link:
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    # What a URL says about libpq goes before ours.
    settings = {name: value for name, value in SETTINGS.items() if name not in url.query}
    whole = url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
    engine = create_engine(url, poolclass=NullPool, connect_args=settings)
    try:
        with engine.begin() as connection:  # of two at once both would make the tables
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            kept = {"pool_pre_ping": True, "connect_args": settings}
            return Link(RDBStorage(whole, engine_kwargs=kept), place)
    except StorageInternalError as error:
        raise TunerError(f"{place}: {_told(error.__cause__ or error)}") from None
    except (SQLAlchemyError, RuntimeError) as error:  # RuntimeError: tables of another version
        raise TunerError(f"{place}: {_told(error)}") from None


def _told(error: BaseException) -> str:
    """Returns what the server said, in one line."""
    said = str(getattr(error, "orig", None) or error)
    return " ".join(said.split()) or type(error).__name__
