from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.faulty_kernel import SHAPE, write_faulty
from tests.faults.processes import Command, Process, running, tree_of
from tests.faults.test_chaos import case_of, wait_for
from tests.faults.test_resume import stored
from tuner.backends import Status

pytestmark = pytest.mark.faults

CONFIGS = 80
WORKERS = 3


class Nodes:
    """A Ray cluster on this machine; each of its nodes has one CPU and a name that kernels see."""

    def __init__(self, folder: Path) -> None:
        from ray.cluster_utils import Cluster

        self._folder = folder
        self.cluster: Any = Cluster()
        self._by_name: dict[str, Any] = {}

    def add(self, name: str) -> None:
        """Starts a node."""
        self._by_name[name] = self.cluster.add_node(
            num_cpus=1,
            include_dashboard=False,
            object_store_memory=80 << 20,
            temp_dir=str(self._folder),
            env_vars={"NODE": name},
        )

    def remove(self, name: str) -> None:
        """Kills every process of a node."""
        self.cluster.remove_node(self._by_name.pop(name), allow_graceful=False)


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    before = signal.getsignal(signal.SIGTERM)
    folder = Path(tempfile.mkdtemp(prefix="nt-", dir="/tmp"))
    nodes = Nodes(folder)
    yield nodes
    nodes.cluster.shutdown()
    signal.signal(signal.SIGTERM, before)
    shutil.rmtree(folder)


def actors() -> list[Process]:
    """Workers on the nodes of this process."""
    tree = tree_of(os.getpid(), running())
    return [each for each in tree if each.title.startswith("ray::Evaluator")]


def runs_of(folder: Path) -> Counter[str]:
    """How many configs ran on each node so far."""
    lines = (folder / "runs").read_text().splitlines()
    return Counter(line.split()[2] for line in lines)


def wait_for_run(folder: Path, node: str) -> None:
    """Waits until a node has begun with a config."""
    until = time.monotonic() + 200
    while not runs_of(folder)[node]:
        assert time.monotonic() < until, f"nothing runs on the {node} node"
        time.sleep(0.1)


@pytest.mark.timeout(600)
def test_nodes_come_and_go_during_a_job(
    tmp_path: Path, nodes: Nodes, record_faults: Counter[str]
) -> None:
    for name in ("first", "second", "third"):
        nodes.add(name)
    results = tmp_path / "results"
    space = write_faulty(tmp_path, CONFIGS, sleep_s=0.3, healthy=True, held=CONFIGS // 2)
    words = f"tune {space} --shape {SHAPE} --trials {CONFIGS} --workers {WORKERS} --verify none"
    words += f" --timeout-s 250 --results {results} --ray {nodes.cluster.address}"
    command = Command(words.split(), tmp_path, tmp_path)
    try:
        command.start()
        wait_for(results, CONFIGS // 8, command)
        wait_for_run(tmp_path, "third")
        nodes.remove("third")
        record_faults["node removed"] += 1
        lost = runs_of(tmp_path)["third"]
        nodes.add("fourth")
        record_faults["node added"] += 1
        wait_for_run(tmp_path, "fourth")
        (tmp_path / "go").touch()
        code = command.wait(200)
    finally:
        command.end()
    assert code == 0, command.said()
    trials = stored(results)
    assert sorted(map(case_of, trials)) == list(range(CONFIGS))
    assert {trial.status for trial in trials} == {Status.CORRECT}
    ran = runs_of(tmp_path)
    assert set(ran) == {"first", "second", "third", "fourth"}
    assert ran["third"] <= lost + 4  # what its worker had been given already
    assert sum(ran.values()) <= CONFIGS + WORKERS
    until = time.monotonic() + 8
    while (left := actors()) and time.monotonic() < until:
        time.sleep(0.1)
    assert left == []
