"""Kernels whose workloads have variants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.backends.fake_nki import write_nki
from tests.backends.variant_kernel import SHAPE, write_variants
from tuner.backends import Candidate, Measurement, Status, evaluate, load_backend
from tuner.backends.oracle import Oracle, check
from tuner.job import Job, Prepared, prepare

CONFIG: dict[str, Any] = {"columns": 128, "buffers": 2}


@pytest.fixture
def space_file(tmp_path: Path) -> Path:
    return write_variants(tmp_path)


def prepared(space_file: Path, variants: str = "", **job: Any) -> Prepared:
    return prepare(Job(str(space_file), SHAPE + variants, **job))


def checked(found: Prepared, **config: Any) -> Measurement:
    whole = {**CONFIG, **config}
    arguments = found.verification_arguments(whole)
    return evaluate(load_backend(found.problem), Candidate(0, whole, arguments))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float8_e4m3"])
@pytest.mark.parametrize("how", ["copy", "add", "scale"])
@pytest.mark.parametrize("result", ["same", "wide"])
def test_every_variant_is_checked_against_its_reference(
    space_file: Path, dtype: str, how: str, result: str
) -> None:
    done = checked(prepared(space_file, f",how={how},result={result}", dtype=dtype))
    assert (done.status, done.verified, done.reason) == (Status.CORRECT, True, "")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float8_e4m3"])
def test_another_variant_is_wrong(space_file: Path, dtype: str) -> None:
    done = checked(prepared(space_file, ",how=scale", dtype=dtype), fault="forgets")
    assert done.status == Status.CORRECTNESS


def test_a_variant_changes_the_time(space_file: Path) -> None:
    times = [
        evaluate(load_backend(prepared(space_file, how).problem), Candidate(0, CONFIG)).latency_us
        for how in ("", ",how=add")
    ]
    assert times[0] is not None
    assert times[1] is not None
    assert times[0] < times[1]


def test_a_reference_that_takes_no_variants_is_named(tmp_path: Path) -> None:
    done = checked(prepared(write_variants(tmp_path, "blind_reference")))
    assert done.status == Status.RUNTIME
    assert (
        done.reason == "the reference cannot be called so: got an unexpected keyword argument 'how'"
    )


@pytest.mark.parametrize("variants", ["", ",how=add", ",how=scale,result=wide"])
def test_the_oracle_gets_variants_too(
    tmp_path: Path, space_file: Path, monkeypatch: pytest.MonkeyPatch, variants: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(write_nki(tmp_path / "packages")))
    problem = prepared(space_file, variants).problem
    assert check(problem, Candidate(0, CONFIG), Oracle(deadline_s=60)) is None
