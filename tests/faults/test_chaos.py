from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.faulty_kernel import CRASHES, HANGS, HEALTHY, HOGS, SHAPE, fault_of, write_faulty
from tests.faults.processes import Command, shot_at
from tests.faults.test_resume import stored
from tuner.backends import Status
from tuner.database import Trial

pytestmark = pytest.mark.faults

CONFIGS = 300
DRIVER_KILLS = 3
WORKERS = 4
TIMEOUT_S = 3.0
OVERRUN_S = 2.0
MEMORY_GB = 0.75
SHOT_EVERY_S = 1.0
END_S = 8.0
"""What a killed driver's processes may take to be gone."""
SIGNALS = ("SIGSEGV", "SIGABRT")
KILLED = "the worker died 3 times: "


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A short one: the names of sockets have a limit."""
    folder = Path(tempfile.mkdtemp(prefix="nt-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def wait_for(results: Path, count: int, command: Command) -> None:
    """Waits until so many trials are stored."""
    while len(stored(results)) < count:
        assert command.driver.poll() is None, command.said()
        time.sleep(0.2)


def case_of(trial: Trial) -> int:
    case = trial.config["case"]
    assert isinstance(case, int)
    return case


def is_right(trial: Trial) -> bool:
    """Whether a trial ended as its config does; one that was hit three times may say so."""
    if trial.status == Status.RUNTIME and trial.reason.startswith(KILLED):
        return True
    fault = fault_of(case_of(trial))
    broke = trial.status in (Status.COMPILE, Status.RUNTIME)
    late = f"took longer than {TIMEOUT_S:g} s" in trial.reason
    return {
        HEALTHY: trial.status == Status.CORRECT,
        HANGS: trial.status == Status.TIMEOUT and late,
        CRASHES: broke and any(name in trial.reason for name in SIGNALS),
        # A machine with much else to do may take longer to fill the memory than the deadline; how
        # many of them is counted.
        HOGS: (broke and "memory" in trial.reason.lower()) or trial.status == Status.TIMEOUT,
    }[fault]


def overruns_s(folder: Path) -> list[float]:
    """By how much hanging configs outlived their deadline, as they themselves said last."""
    return [float(path.read_text()) - TIMEOUT_S for path in (folder / "beats").iterdir()]


@pytest.mark.timeout(900)
def test_a_job_survives_whatever_happens_to_it(
    tmp_path: Path,
    scratch: Path,
    record_faults: Counter[str],
    amount: Callable[[int], int],
) -> None:
    configs, results = amount(CONFIGS), tmp_path / "results"
    space = write_faulty(tmp_path, configs, sleep_s=0.1)
    seed = random.SystemRandom().randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    words = f"tune {space} --shape {SHAPE} --trials {configs} --workers {WORKERS} --verify none"
    limits = f"--timeout-s {TIMEOUT_S} --memory-gb {MEMORY_GB} --results {results}"
    command = Command([*words.split(), *limits.split()], tmp_path, scratch)
    shares = [(i + chance.uniform(0.1, 0.9)) / DRIVER_KILLS for i in range(DRIVER_KILLS)]
    began = time.monotonic()
    try:
        command.start()
        with shot_at(command, SHOT_EVERY_S, WORKERS // 2, record_faults, chance):
            for share in shares:
                wait_for(results, int(share * 0.95 * configs), command)
                time.sleep(chance.uniform(0, 1))
                command.kill()
                record_faults["driver killed"] += 1
                assert command.seen.left_after(END_S) == []
                command.start("--resume")
            code = command.wait(800)
        assert command.seen.left_after(END_S) == []
    finally:
        command.end()
    assert code == 0, command.said()
    trials = stored(results)
    faults = Counter(fault_of(case_of(trial)) for trial in trials)
    record_faults.update(
        {f"config that {kind}": n for kind, n in faults.items() if kind != HEALTHY}
    )
    assert sorted(case_of(trial) for trial in trials) == list(range(configs))
    assert [trial.number for trial in trials] == list(range(configs))
    wrong = [(t.config, t.status, t.reason) for t in trials if not is_right(t)]
    assert wrong == []
    hogs = [trial for trial in trials if fault_of(case_of(trial)) == HOGS]
    assert 2 * sum("memory" in trial.reason.lower() for trial in hogs) >= len(hogs)
    killed = sum(trial.reason.startswith(KILLED) for trial in trials)
    shots = sum(record_faults[f"{kind} killed"] for kind in ("actor", "guard", "child"))
    assert 3 * killed <= shots
    ended = {case_of(trial): trial.finished_at for trial in trials}
    runs = [line.split() for line in (tmp_path / "runs").read_text().splitlines()]
    assert [run for run in runs if float(run[1]) > ended[int(run[0])]] == []
    worst_s = max(overruns_s(tmp_path))
    assert worst_s <= OVERRUN_S
    lock = f"nki-tuner-{os.getuid()}.lock"  # of all jobs of a user, empty, stays
    assert {path.name for path in scratch.iterdir()} <= {lock}
    print(f"{configs} configs in {time.monotonic() - began:.0f} s, {len(runs)} runs of them, ")
    print(f"{killed} given up after three kills, worst overrun {worst_s:.2f} s")
