"""A full disk: one clear line, exit code 2, and what was stored stays readable."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.database.studies import config, info, timed
from tuner.database import Store
from tuner.runtime.errors import TunerError

pytestmark = pytest.mark.faults

DISK = "512k"
ROOT = Path(__file__).parents[2]


def fill(store: Store, study: int, pages_left: int) -> int:
    """Lets the database grow by so many pages, and stores trials until it cannot."""
    connection = store._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + pages_left}")
    stored = len(store.trials(study))
    while True:
        try:
            store.append(study, [(config(stored), timed(1.0 + stored))])
        except TunerError as error:
            if not str(error).endswith("nki-tuner.sqlite3: database or disk is full"):
                raise
            return stored
        stored += 1


def test_a_database_that_cannot_grow_keeps_what_it_has(
    tmp_path: Path, record_faults: Counter[str], amount: Callable[[int], int]
) -> None:
    for pages in range(amount(20)):
        with Store(tmp_path / str(pages), create=True) as store:
            study = store.start(info()).id
            store.append(study, [(config(0), timed(1.0))])
            stored = fill(store, study, pages % 20)
            with pytest.raises(TunerError, match="full"):  # all of it or nothing
                store.append(study, [(config(stored + n), timed(1.0)) for n in range(500)])
        with Store(tmp_path / str(pages)) as store:
            assert list(range(stored)) == [t.number for t in store.trials(study)]
        record_faults["append without space"] += 2


@pytest.fixture
def small_disk(tmp_path: Path) -> list[str]:
    """The words before a command that runs it with `disk/` on a disk of half a megabyte."""
    (tmp_path / "disk").mkdir()
    mount = f"mount -t tmpfs -o size={DISK} none {tmp_path / 'disk'}"
    words = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", f'{mount} && exec "$@"']
    try:
        tried = subprocess.run([*words, "-", "true"], capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"no small disk here: {error}")
    if tried.returncode:
        pytest.skip(f"no small disk here: {tried.stderr.strip()}")
    return [*words, "-"]


SCRIPT = """
import json, os, sys
from pathlib import Path
from tests.backends.small_kernel import write_space
from tests.database.studies import config, info, timed
from tests.faults.calling import called
from tuner.database import Store, export
from tuner.runtime import load
from tuner.runtime.errors import TunerError

folder = Path(sys.argv[1])
disk = folder / "disk"
os.chdir(folder)

def refused(call):
    try:
        call()
    except TunerError as error:
        return str(error)
    raise SystemExit("not refused")

def fill(name, spare):
    "Leaves so many bytes of the disk."
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    (disk / name).write_bytes(bytes(max(free - spare, 0)))

stored, said = 0, {}
with Store(disk / "results", create=True) as store:
    study = store.start(info()).id
    export_to = disk / "table.json"
    store.append(study, [(config(0), timed(1.0))])
    export(disk / "results", export_to)
    before = export_to.read_bytes()

    fill("ballast", 40_000)
    def append_forever():
        global stored
        while True:
            stored += 1
            store.append(study, [(config(stored), timed(1.0 + stored))])
    said["append"] = refused(append_forever)
with Store(disk / "results") as store:
    assert [t.number for t in store.trials(study)] == list(range(stored))

(disk / "ballast").unlink()
with Store(disk / "results", create=True) as store:
    store.append(study, [(config(9999), timed(0.5))])
fill("ballast", 4096)
said["export"] = refused(lambda: export(disk / "results", export_to))
assert export_to.read_bytes() == before
load(export_to)
assert sorted(p.name for p in disk.iterdir()) == ["ballast", "results", "table.json"]

write_space(folder)
words = ["tune", "double.toml", "--shape", "M=256,N=512", "--ray", "serial", "--trials", "8"]
for place in ("disk/results", "disk/new"):
    assert called(*words, "--results", place) == 2, place
    said[f"tune into {place}"] = "exit code 2"
assert called("show", "disk/results") == 0
(disk / "ballast").unlink()
assert called(*words, "--results", "disk/results") == 0
print(json.dumps(said))
"""


def test_a_disk_that_is_full(
    tmp_path: Path, small_disk: list[str], record_faults: Counter[str]
) -> None:
    command = [*small_disk, sys.executable, "-c", SCRIPT, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=250, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["append"].endswith("nki-tuner.sqlite3: database or disk is full")
    assert said["export"].endswith("table.json: No space left on device")
    for what in said:
        record_faults[f"{what.split()[0]} on a full disk"] += 1
