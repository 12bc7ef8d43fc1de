from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.job.batches.files import write_jobs
from tuner.job import Job
from tuner.job.batches import OVERRIDES, read_jobs
from tuner.runtime.errors import TunerError


def jobs(folder: Path, text: str, **overrides: Any) -> list[Job]:
    path = folder / "jobs.toml"
    path.write_text(text)
    return [each.job for each in read_jobs(path, overrides).listed]


def test_lists_of_sizes_are_expanded_the_last_fastest(tmp_path: Path) -> None:
    sizes = "{ S = [1, 128], H = 2048, act = ['none', 'silu'] }"
    found = jobs(tmp_path, f"[[jobs]]\nkernel = 'mlp'\nsizes = {sizes}\n")
    assert [job.shape for job in found] == [
        "S=1,H=2048,act=none",
        "S=1,H=2048,act=silu",
        "S=128,H=2048,act=none",
        "S=128,H=2048,act=silu",
    ]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_there_are_as_many_jobs_as_the_product_of_the_lists(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int]
) -> None:
    sizes = ", ".join(f"d{i} = {list(range(1, n + 1))}" for i, n in enumerate(counts))
    folder = tmp_path_factory.mktemp("jobs")
    found = jobs(folder, f"[[jobs]]\nkernel = 'k'\nsizes = {{ {sizes} }}\n")
    expected = 1
    for count in counts:
        expected *= count
    assert expected == len({job.shape for job in found}) == len(found)


def test_shape_and_sizes_go_together(tmp_path: Path) -> None:
    text = "[[jobs]]\nkernel = 'matmul'\nshape = 'K=4,N=8'\nsizes = { M = [1, 2] }\n"
    assert [job.shape for job in jobs(tmp_path, text)] == ["K=4,N=8,M=1", "K=4,N=8,M=2"]


def test_a_job_goes_before_the_defaults_and_an_override_before_both(tmp_path: Path) -> None:
    text = """
    [defaults]
    trials = 7
    device = "trn1"
    max_s = 3
    [[jobs]]
    kernel = "a"
    shape = "M=1"
    [[jobs]]
    kernel = "b"
    shape = "M=1"
    trials = 9
    warm_start = false
    """
    first, second = jobs(tmp_path, text)
    assert first == Job("a", "M=1", trials=7, device="trn1", max_s=3.0)
    assert second == Job("b", "M=1", trials=9, device="trn1", max_s=3.0, warm_start=False)
    overridden = jobs(tmp_path, text, trials=2, device="trn3", ray="serial")
    assert [(j.trials, j.device, j.ray) for j in overridden] == [(2, "trn3", "serial")] * 2


def test_how_many_at_once_is_stated_for_all_jobs(tmp_path: Path) -> None:
    path = tmp_path / "jobs.toml"
    job = "[[jobs]]\nkernel = 'a'\nshape = 'M=1'\n"
    path.write_text(job)
    assert read_jobs(path, {}).at_once == 2
    path.write_text("[defaults]\nat_once = 4\n" + job)
    assert [read_jobs(path, given).at_once for given in ({}, {"at_once": 1})] == [4, 1]
    assert [each.job for each in read_jobs(path, {"at_once": 1}).listed] == [Job("a", "M=1")]


JOB = "[[jobs]]\nkernel = 'matmul'\n"

BAD = [
    ("", r"expected at least one \[\[jobs\]\]"),
    ("jobs = 5", r"expected at least one \[\[jobs\]\]"),
    ("jobs = [5]", r"entry 1 of \[\[jobs\]\]: expected a table, got 5"),
    ("[job]\n", "unknown table in .*'job'; did you mean jobs"),
    ("[[jobs", "jobs.toml: "),
    ("[defaults]\ntrails = 5\n" + JOB, "unknown option in .*defaults: 'trails'; did you mean tri"),
    ("[defaults]\ntrials = '5'\n" + JOB, r"defaults: trials = '5': Expected `int`"),
    ("[defaults]\nresume = true\n" + JOB, "unknown option in .*defaults: 'resume'"),
    ("[[jobs]]\nshape = 'M=1'", r"entry 1 of \[\[jobs\]\]: expected kernel = "),
    (JOB, r"entry 1 of \[\[jobs\]\]: expected sizes = "),
    (JOB + "sizes = {}", "expected sizes = "),
    (JOB + "sizes = { M = [] }", r"sizes.M = \[\]: expected values, each once"),
    (JOB + "sizes = { M = [1, 1] }", r"sizes.M = \[1, 1\]: expected values, each once"),
    (JOB + "sizes = { M = 1.5 }", r"sizes = \{'M': 1.5\}: Expected"),
    (JOB + "sizes = { M = true }", r"sizes = \{'M': True\}: Expected"),
    (JOB + "shape = 'M=1'\n" + JOB + "size = 1", r"key in .*entry 2 .*'size'; did you mean sizes"),
    (JOB + "shape = 'M=1'\nresults = 'x'", r"results is one for all jobs: give it in \[defaults\]"),
    (JOB + "shape = 'M=1'\nat_once = 2", r"at_once is one for all jobs: give it in \[defaults\]"),
    (
        "[defaults]\nat_once = 0\n" + JOB + "shape = 'M=1'",
        "at_once=0: expected a whole number from",
    ),
    ("[defaults]\nat_once = true\n" + JOB, "at_once = True: Expected `int`"),
    (JOB + "shape = 'M=1'\ntrials = 0", r"entry 1 of \[\[jobs\]\] \(M=1\): trials=0: expected a"),
    (JOB + "shape = 'M=1'\nsampler = 'grid'", r"\(M=1\): unknown sampler 'grid'"),
    (JOB + "shape = 'M=1'\nbackend = 'replay'", "a batch replays no recordings"),
    (
        JOB + f"sizes = {{ M = {list(range(200))}, N = {list(range(200))} }}",
        "more than 10,000 jobs",
    ),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_a_wrong_file_names_the_place_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TunerError, match=message) as error:
        jobs(tmp_path, text)
    assert "\n" not in str(error.value)
    assert str(tmp_path / "jobs.toml") in str(error.value)


def test_an_unknown_override_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(TunerError, match="unknown option of a batch: 'worker'; did you mean work"):
        read_jobs(write_jobs(tmp_path), {"worker": 3})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TunerError, match=r"none\.toml: No such file"):
        read_jobs(tmp_path / "none.toml", {})


def test_what_may_be_overridden_are_options_of_a_job() -> None:
    assert set(OVERRIDES) - {"at_once"} <= set(Job.__dataclass_fields__)
