"""A private PostgreSQL server in a temporary folder, from whatever programs there are."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

REQUIRED = "NKI_TUNER_REQUIRE_POSTGRES"
"""With this in the environment a missing server is a failure; without, a reason to skip."""

PASSWORD = "pass-word-9417"
_RULES = """\
local all all trust
host all locked 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""
_SETTINGS = ("fsync=off", "shared_buffers=16MB", "max_connections=40")
_START_S = 60
_PR_SET_PDEATHSIG = 1


class NoServerError(Exception):
    """There is no server to test against; says why."""


class Server:
    """A server of its own: loopback and a socket in its folder, user "tuner" without a password,
    user "locked" with `PASSWORD`.

    Raises:
        NoServerError: It cannot be started.
    """

    def __init__(self) -> None:
        if importlib.util.find_spec("psycopg") is None:
            raise NoServerError("psycopg is not installed: pip install 'nki-tuner[postgres]'")
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # sockets: short names
        self._running: subprocess.Popen[Any] | None = None
        self._databases = 0
        try:
            self._as: dict[str, Any] = _other_user(self.folder)
            self._programs = _programs(self.folder, self._as)
            self._data = self.folder / "data"
            self._run("initdb", "-U", "tuner", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
            (self._data / "pg_hba.conf").write_text(_RULES)
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port: int = free.getsockname()[1]
            self.start()
            self.execute(f"CREATE ROLE locked LOGIN PASSWORD '{PASSWORD}'")
        except BaseException:
            self.close()
            raise

    def _run(self, program: str, *options: str) -> None:
        done = subprocess.run(
            [self._programs / program, "-D", self._data, *options],
            **self._as,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise NoServerError(f"{program}: {' '.join(done.stderr.split())}")

    def start(self) -> None:
        """Starts the server; it ends with this process."""
        words = [str(self._programs / "postgres"), "-D", str(self._data), "-k", str(self.folder)]
        words += ["-p", str(self.port), "-c", "listen_addresses=127.0.0.1"]
        words += [word for setting in _SETTINGS for word in ("-c", setting)]
        with (self.folder / "log").open("ab") as log:
            self._running = running = subprocess.Popen(
                words,
                **self._as,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                preexec_fn=_dies_with_us,  # noqa: PLW1509 - it takes no lock
            )
        until = time.monotonic() + _START_S
        while True:
            try:
                self.execute("SELECT 1")
                return
            except Exception as error:
                if running.poll() is not None or time.monotonic() > until:
                    said = (self.folder / "log").read_text(errors="replace")[-500:]
                    raise NoServerError(f"the server does not start: {said}") from error
            time.sleep(0.05)

    def stop(self) -> None:
        """Ends the server and all its connections."""
        if self._running is not None:
            self._running.send_signal(signal.SIGINT)
            self._running.wait(60)
            self._running = None

    def close(self) -> None:
        """Ends the server and removes its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str = "postgres", user: str = "tuner") -> str:
        """Returns the URL of a database."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Makes an empty database and returns its URL."""
        self._databases += 1
        name = f"tests{self._databases}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def execute(self, statement: str, database: str = "postgres") -> list[Any]:
        """Runs a statement as the database's owner; returns its rows, if any."""
        from sqlalchemy import create_engine, text
        from sqlalchemy.pool import NullPool

        url = self.url(database).replace("postgresql", "postgresql+psycopg", 1)
        engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            found = connection.execute(text(statement))
            return list(found) if found.returns_rows else []


def _other_user(folder: Path) -> dict[str, Any]:
    """Returns who runs the server: it refuses to be run by root."""
    if os.geteuid() != 0:
        return {}
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise NoServerError("root may not run PostgreSQL, and there is no user 'nobody'") from None
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _programs(folder: Path, user: dict[str, Any]) -> Path:
    """Returns the folder of the server's programs."""
    found = [Path(path).resolve().parent for path in (shutil.which("postgres"),) if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    wheel = importlib.util.find_spec("pgserver")
    if wheel is not None and wheel.origin is not None:
        found.append(Path(wheel.origin).parent / "pginstall" / "bin")
    for programs in found:
        if (programs / "initdb").is_file() and (programs / "postgres").is_file():
            return programs if _may_run(programs, user) else _copied(programs, folder)
    raise NoServerError(
        "no PostgreSQL here: looked for `postgres` in PATH, in /usr/lib/postgresql and in the "
        "package pgserver"
    )


def _may_run(programs: Path, user: dict[str, Any]) -> bool:
    try:
        subprocess.run(
            [programs / "postgres", "--version"], **user, cwd="/", capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _copied(programs: Path, folder: Path) -> Path:
    """Copies the programs of the wheel, with its libraries, where the other user may run them."""
    package = programs.parents[1]
    for source in (package, package.with_name(f"{package.name}.libs")):
        if source.is_dir():
            shutil.copytree(source, folder / source.name, symlinks=True)
    return folder / package.name / programs.relative_to(package)


def _dies_with_us() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
