"""Files of jobs of the small kernel."""

from __future__ import annotations

from pathlib import Path

JOBS = """\
[defaults]
trials = 4
ray = "serial"
results = "{folder}/results"

[[jobs]]
kernel = "{folder}/double.toml"
sizes = {{ M = [128, 256], N = 512 }}

[[jobs]]
kernel = "{folder}/double.toml"
shape = "M=128,N=128"
trials = 3
dtype = "bfloat16"
"""


def write_jobs(folder: Path, text: str = JOBS) -> Path:
    path = folder / "jobs.toml"
    path.write_text(text.format(folder=folder))
    return path
