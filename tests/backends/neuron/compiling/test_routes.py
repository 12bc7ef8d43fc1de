from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from tests.backends.conformance import CONFIG
from tests.backends.neuron.fake import Fake, machine
from tests.backends.neuron.test_backend import made
from tuner.backends import Candidate, Status, evaluate, load_backend
from tuner.backends.base import CandidateError
from tuner.backends.neuron.backend import NeuronBackend
from tuner.backends.neuron.compiling.routes import Route, choose_route


@pytest.fixture(autouse=True)
def cache(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def chosen(cores: int, works: tuple[str, ...], named: str | None = None) -> Route:
    def tried(route: str) -> bool:
        if route not in works:
            raise CandidateError(Status.COMPILE, "no such interface")
        return True

    return choose_route(cores, {}, lambda: ["framework", "ncc_driver"], tried, named)


@pytest.mark.parametrize(
    ("cores", "works", "named", "name", "runs"),
    [
        (0, (), None, "documented", False),
        (2, ("framework", "ncc_driver", "hidden"), None, "framework", False),
        (2, ("ncc_driver", "hidden"), None, "ncc_driver", False),
        (2, ("hidden",), None, "hidden", False),
        (2, (), None, "documented", True),
        (0, (), "framework", "framework", False),
        (2, ("framework",), "documented", "documented", True),
        (2, (), "hidden", "hidden", False),
        (0, (), "hidden", "documented", False),
    ],
)
def test_what_only_compiles_is_better(
    cores: int, works: tuple[str, ...], named: str | None, name: str, runs: bool
) -> None:
    route = chosen(cores, works, named)
    assert (route.name, route.runs) == (name, runs)
    assert route.reason


def test_a_trial_is_made_once(tmp_path: Path) -> None:
    assert chosen(2, ("ncc_driver",)).name == "ncc_driver"
    assert chosen(2, ()).name == "ncc_driver"  # known from before
    for kept in (tmp_path / "cache").rglob("*.json"):
        kept.write_text('"../../etc"')
    assert chosen(2, ()).name == "documented"


@pytest.mark.parametrize("route", ["framework", "ncc_driver"])
def test_private_interfaces_compile_and_run_nothing(
    kernel_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    fake = machine(tmp_path / "sdk", monkeypatch, private=True)
    if route == "ncc_driver":
        (fake.folder / "nki" / "site" / "nki" / "compiler" / "driver.py").unlink()
    backend = load_backend(made(kernel_file, fake))
    result = evaluate(backend, Candidate(0, CONFIG))
    assert (result.status, result.figures["compiled_by"]) == (Status.CORRECT, route)
    assert [line for line in fake.log() if line.startswith("runs")] == ["runs on 0"]
    fake.faults("sbuf")
    failed = evaluate(backend, Candidate(0, CONFIG))
    assert failed.status == Status.COMPILE
    assert failed.reason.startswith("sbuf out of memory: ")


def test_what_cannot_be_said_is_not_kept(kernel_file: Path, fake: Fake) -> None:
    assert choose_route(2, {}, list, lambda _: None).name == "documented"
    assert choose_route(2, {}, list, lambda _: True).name == "hidden"  # tried anew
    fake.faults("compile-crash")
    assert NeuronBackend(made(kernel_file, fake)).route.name == "documented"
    fake.faults()
    assert NeuronBackend(made(kernel_file, fake)).route.name == "hidden"


def test_a_route_that_runs_is_found_out_though_a_core_is_taken(
    kernel_file: Path, fake: Fake
) -> None:
    fake.faults("never-hidden")
    with (fake.folder / "state" / "held-1").open("w") as stranger:
        fcntl.flock(stranger, fcntl.LOCK_EX)
        assert NeuronBackend(made(kernel_file, fake)).route.runs
    fake.faults()
    assert NeuronBackend(made(kernel_file, fake)).route.name == "hidden"  # that was not kept


def test_a_trial_waits_for_the_cores(kernel_file: Path, fake: Fake) -> None:
    problem = made(kernel_file, fake, compile_timeout_s=0.1, timeout_s=0.1)
    backend = NeuronBackend(problem)
    with backend._cores.held():
        assert backend.route.name == "documented"
    assert fake.log() == []  # nothing was tried
