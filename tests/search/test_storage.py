from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.postgres_server import PASSWORD, Server
from tuner.runtime.errors import TunerError
from tuner.search import storage
from tuner.search.storage import checked_url, connect


@pytest.mark.parametrize(
    "text", ["postgresql://me@host:5433/tuning", "postgres://me@host:5433/tuning"]
)
def test_a_url_of_postgresql_is_one_of_its_driver(text: str) -> None:
    url = checked_url(text)
    assert (url.drivername, url.username, url.host) == ("postgresql+psycopg", "me", "host")
    assert (url.port, url.database) == (5433, "tuning")


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me:se%40cret@host/tuning",
        "postgresql://me:secret@host/tuning",
        "postgresql://me:se/c:ret@host/tuning",
        "postgresql://host/tuning?password=secret",
        "mysql://me:secret@host/tuning",
        "me:secret@host/tuning",
    ],
)
def test_a_password_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(TunerError) as raised:
        checked_url(text)
    assert "ret" not in str(raised.value)
    assert "storage: " in str(raised.value)


def test_only_postgresql_is_known() -> None:
    with pytest.raises(TunerError, match="'sqlite' is not known; expected postgresql://"):
        checked_url("sqlite:///here.db")
    with pytest.raises(TunerError, match="no URL; expected postgresql://"):
        checked_url("here.db")


def test_a_driver_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with (
        pytest.raises(TunerError, match=r"pip install 'nki-tuner\[postgres\]'"),
        connect("postgresql://me@host/tuning"),
    ):
        pass


def _refusal(url: str) -> str:
    with pytest.raises(TunerError) as raised, connect(url):
        pass
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_server_that_is_not_there(postgres: Server) -> None:
    said = _refusal("postgresql://tuner@127.0.0.1:1/tuning")
    assert said.startswith("PostgreSQL at 127.0.0.1: ")
    assert "refused" in said


def test_a_database_that_is_not_there(postgres: Server) -> None:
    assert 'database "nowhere" does not exist' in _refusal(postgres.url("nowhere"))


def test_the_password_is_taken_from_the_environment(
    postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.url("postgres", "locked")
    monkeypatch.setenv("PGPASSWORD", "wrong-guess")
    said = _refusal(url)
    assert "password authentication failed" in said
    assert "wrong-guess" not in said
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    assert "permission denied" in _refusal(url)  # a schema in which it may make no tables


def test_the_password_is_taken_from_a_file(
    postgres: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept, services = tmp_path / "pass", tmp_path / "services"
    kept.write_text(f"127.0.0.1:{postgres.port}:*:locked:{PASSWORD}\n")
    kept.chmod(0o600)
    services.write_text(
        f"[tuning]\nhost=127.0.0.1\nport={postgres.port}\nuser=locked\ndbname=postgres\n"
        f"passfile={kept}\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    said = _refusal("postgresql:///?service=tuning")
    assert said.startswith("PostgreSQL at tuning: ")
    assert "permission denied" in said


def test_two_may_make_the_tables_at_once(database: str) -> None:
    failures: list[BaseException] = []

    def make() -> None:
        try:
            with connect(database) as link:
                link.call(link.storage.get_all_studies)
        except BaseException as error:
            failures.append(error)

    makers = [threading.Thread(target=make) for _ in range(4)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert failures == []


@pytest.mark.usefixtures("postgres")  # else it is skipped
def test_a_server_that_restarts_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "RETRY_S", 0.1)
    server = Server()
    try:
        with connect(server.url()) as link:
            assert link.call(link.storage.get_all_studies) == []
            server.stop()
            with ThreadPoolExecutor() as pool:  # the server ends with the thread that starts it
                asked = pool.submit(link.call, link.storage.get_all_studies)
                time.sleep(0.3)
                assert not asked.done()
                server.start()
                assert asked.result() == []
            server.stop()
            monkeypatch.setattr(storage, "LOST_AFTER_S", 0.3)
            started = time.monotonic()
            with pytest.raises(TunerError, match=r"PostgreSQL at 127\.0\.0\.1: .*refused"):
                link.call(link.storage.get_all_studies)
            assert time.monotonic() - started < 20
    finally:
        server.close()


def test_tables_of_another_version(database: str, postgres: Server) -> None:
    with connect(database):
        pass
    name = database.rpartition("/")[2]
    postgres.execute("UPDATE alembic_version SET version_num = 'v99.0.a'", name)
    assert "no longer compatible" in _refusal(database)
