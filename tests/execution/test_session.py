"""Who may talk to the Ray that a job starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

SCRIPT = """
import json, os, subprocess, sys
from tests.execution.listening import listening
if "early" in sys.argv:
    import ray
from tuner.execution import Session

session = Session("local", 1)
import ray

@ray.remote(num_cpus=0)
class Actor:
    def number(self):
        return os.getpid()

actor = Actor.remote()
ray.get(actor.number.remote())
told = {"addresses": listening(os.getpid()), }
address = ray.get_runtime_context().gcs_address
stranger = [sys.executable, "-m", "tests.execution.listening", address]
clean = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
asking = []
if "late" in sys.argv:
    known = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": os.environ["RAY_AUTH_TOKEN"]}
    for settings in (known, {**known, "RAY_AUTH_TOKEN": "0" * 64}, {"RAY_AUTH_MODE": "disabled"}):
        asked = {**clean, **settings}
        asking.append(subprocess.Popen(stranger, env=asked, stdout=subprocess.PIPE, text=True))
told["strangers"] = [each.communicate()[0].strip() for each in asking]
folder = ray._private.worker._global_node.get_temp_dir_path()
told["mode"] = oct(os.stat(os.path.dirname(folder)).st_mode & 0o777)
told["usage"] = os.environ["RAY_USAGE_STATS_ENABLED"]
session.close()
told["folder_left"] = os.path.exists(folder)
told["token_left"] = "RAY_AUTH_TOKEN" in os.environ
print(json.dumps(told))
"""


@pytest.mark.slow
@pytest.mark.parametrize("when", ["late", "early"])
def test_the_ray_of_a_job_is_for_this_job_alone(tmp_path: Path, when: str) -> None:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment = {**clean, "PYTHONPATH": str(ROOT), "TMPDIR": "/tmp"}
    command = [sys.executable, "-c", SCRIPT, when]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert len(told["addresses"]) >= 4, "of the GCS, the node, a worker and the driver"
    assert {True} == {address.startswith("127.") for address in told["addresses"]}, told
    assert told["strangers"] == (["answered", "refused", "refused"] if when == "late" else [])
    assert (told["mode"], told["usage"]) == ("0o700", "0")
    assert not told["folder_left"]
    assert not told["token_left"]
