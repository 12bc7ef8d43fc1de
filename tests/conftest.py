"""Which tests run, and fixtures of those that run kernels: small ones, and a local Ray."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.backends.small_kernel import write_kernel, write_space
from tests.cli.console import Call, Said
from tests.postgres_server import REQUIRED, NoServerError, Server
from tuner.cli import main

TAKE_LONG = ("slow", "faults")

# Machines are slow and noisy: the time of an example says nothing.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # of a run in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--soak`: ten times the faults, in the tests marked so."""
    parser.addoption(
        "--soak", action="store_true", help="tests of faults: inject ten times as many"
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what takes long unless `-m`, or a file or folder on the command line, names it."""
    named = {Path(argument.partition("::")[0]).resolve() for argument in config.args}
    named.discard(Path(__file__).parent)
    unasked = [marker for marker in TAKE_LONG if marker not in config.option.markexpr]
    left_out = [
        item
        for item in items
        if any(map(item.get_closest_marker, unasked)) and not named & {item.path, item.path.parent}
    ]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


@pytest.fixture
def kernel_file(tmp_path: Path) -> Path:
    """A small kernel that doubles a tensor."""
    return write_kernel(tmp_path)


@pytest.fixture
def space_file(tmp_path: Path) -> Path:
    """The search space of the small kernel."""
    return write_space(tmp_path)


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One Ray for all tests of this process; executors find it and leave it running."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    ray.init(
        address="local",
        num_cpus=4,
        resources={"neuron_cores": 2},
        include_dashboard=False,
        object_store_memory=80 << 20,
        log_to_driver=False,
        logging_level="ERROR",
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server for all tests of this process."""
    try:
        server = Server()
    except NoServerError as error:
        if os.environ.get(REQUIRED):
            pytest.fail(f"{REQUIRED} is set: {error}")
        pytest.skip(str(error))
    yield server
    server.close()


@pytest.fixture
def database(postgres: Server) -> str:
    """The URL of an empty database."""
    return postgres.new_database()


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls the command line in this process."""

    def run(*words: str) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        out, err = capsys.readouterr()
        code = ended.value.code
        return Said(code if isinstance(code, int) else 1, out, err)

    return run
