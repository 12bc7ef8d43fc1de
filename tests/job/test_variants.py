"""Jobs of workloads that have variants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.backends.variant_kernel import SHAPE, write_variants
from tests.cli.console import Call
from tests.job.jobs import Tune, stored
from tuner.backends.recording import read_recording
from tuner.database import Filter, Store, export, select
from tuner.job import Job, Outcome, prepare, record, tune
from tuner.runtime import load
from tuner.runtime.errors import TunerError


@pytest.fixture
def space_file(tmp_path: Path) -> Path:
    return write_variants(tmp_path)


@pytest.fixture
def tune_join(tmp_path: Path, space_file: Path) -> Tune:
    def call(shape: str, **settings: Any) -> Outcome:
        chosen = {"results": str(tmp_path / "results"), "ray": "serial", "trials": 6, **settings}
        return tune(str(space_file), shape, **chosen)

    return call


def test_what_is_tuned_is_exported_and_found(tune_join: Tune, tmp_path: Path) -> None:
    plain = tune_join(SHAPE, verify="all")
    added = tune_join(f"{SHAPE},how=add", verify="all")
    assert plain.best is not None
    assert added.best is not None
    assert plain.best.verified
    assert added.best.verified
    assert (plain.failures, added.failures) == ({}, {})
    export(tmp_path / "results", tmp_path / "table.json")
    table = load(tmp_path / "table.json")
    assert table.kernels["join"].variants == {
        "how": ("copy", "add", "scale"),
        "result": ("same", "wide"),
    }
    for outcome, how in ((plain, "copy"), (added, "add")):
        answer = table.lookup("join", M=256, N=512, how=how)
        assert outcome.best is not None
        assert (answer.match, answer.config) == ("exact", outcome.best.config)
    assert table.lookup("join", M=256, N=512, how="scale").match == "default"
    assert f"--shape {SHAPE},how=add --dtype" in table.records[1].command


def test_sizes_may_be_given_by_name(tune_join: Tune, space_file: Path) -> None:
    text = prepare(Job(str(space_file), f"{SHAPE},how=copy,result=wide"))
    by_name = prepare(Job(str(space_file), {"result": "wide", "M": 256, "N": 512}))
    assert text.info.key == by_name.info.key
    assert dict(text.info.sizes) == {"M": 256, "N": 512, "result": "wide"}
    assert text.problem.variants == {"how": "copy", "result": "wide"}


def test_only_the_same_variants_warm_a_search_up(tune_join: Tune) -> None:
    tune_join("M=512,N=512,how=add", trials=9)
    tune_join("M=512,N=512,result=wide", trials=12)
    assert tune_join(SHAPE).seeds == ()
    seeds = tune_join(f"{SHAPE},how=add").seeds
    assert [seed.shape for seed in seeds] == ["M=512,N=512,how=add"]


def test_a_study_is_resumed_by_its_variant(tune_join: Tune) -> None:
    plain, added = tune_join(SHAPE), tune_join(f"{SHAPE},how=add")
    again = tune_join(f"{SHAPE},how=copy", trials=8, resume=True)
    assert (again.study, again.measured) == (plain.study, 2)
    assert len(stored(added)) == 6


def test_studies_are_selected_by_variant(tune_join: Tune, tmp_path: Path) -> None:
    plain, added = tune_join(SHAPE), tune_join(f"{SHAPE},how=add")

    def found(shape: str) -> list[int]:
        with Store(tmp_path / "results") as store:
            return [study.id for study in select(store, Filter(shape=shape))]

    assert found(SHAPE) == found(f"{SHAPE},result=same,how=copy") == [plain.study]
    assert found(f"how=add,{SHAPE}") == [added.study]
    with pytest.raises(TunerError, match="no study matches shape=M=256,N=512,how=scale"):
        found(f"{SHAPE},how=scale")


def test_a_recording_is_a_prior_for_the_same_variant_only(
    tune_join: Tune, space_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "add.npz"
    record(str(space_file), "M=512,N=512,how=add", path)
    recording = read_recording(path)
    assert recording.variants == {"how": "add", "result": "same"}
    assert recording.name == "join-M=512,N=512,how=add-bfloat16-trn2"
    guided = tune_join(f"{SHAPE},how=add", prior=str(path), sampler="gp")
    assert "9 of 9 configs known" in guided.prior
    for variants, message in (
        ("", "it is of how=add; expected how=copy"),
        (",how=add,result=wide", "it is of result=same; expected result=wide"),
    ):
        with pytest.raises(TunerError, match=f"prior .*add.npz: {message}"):
            tune_join(SHAPE + variants, prior=str(path))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (f"{SHAPE},how=ad", "unknown value of join's variant how: 'ad'; did you mean add"),
        (f"{SHAPE},who=add", "unknown dim or variant of join: 'who'; did you mean how"),
        ("M=256,N=wide", "join: N='wide': expected a whole number from 1 to"),
        (f"{SHAPE},how=", r"'how=' is not DIM=WHOLE NUMBER or VARIANT=WORD"),
        (f"{SHAPE},how=a b", r"'how=a b' is not DIM=WHOLE NUMBER or VARIANT=WORD"),
    ],
)
def test_a_wrong_variant_is_one_line(
    call: Call, space_file: Path, shape: str, message: str
) -> None:
    for words in (("tune",), ("measure",), ("verify",), ("spaces",)):
        said = call(*words, str(space_file), "--shape", shape)
        assert said.code == 2
        assert said.err.count("\n") == 1
        assert message in said.err


def test_the_command_line_takes_variants(
    call: Call, space_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    varied = ("--shape", f"{SHAPE},result=wide,how=add")
    shown = f"{SHAPE},how=add,result=wide"
    said = call("tune", str(space_file), *varied, "--ray", "serial", "--trials", "4")
    assert f"join {shown} bfloat16 on trn2" in said.out
    assert call("measure", str(space_file), *varied).code == 0
    assert f"join {shown} bfloat16 on trn2, checked" in call("verify", str(space_file), *varied).out
    assert call("trace", str(space_file), *varied, "-o", "join.svg").code == 0
    assert (
        f"join {shown} bfloat16 on trn2: 9 valid of 24"
        in call("spaces", str(space_file), *varied).out
    )
    assert f"1 join {shown} bfloat16" in call("show", *varied).flat
    assert f"join {shown} bfloat16" in call("best", *varied).flat
    exported = call("export", "results", "-o", "t.json", *varied)
    assert f"lookup t.json join --shape {shown} --dtype bfloat16" in exported.out
    found = call("lookup", "t.json", "join", *varied)
    assert "match:  exact" in found.out
    assert "on M=256 N=512 how=add result=wide" in found.out
    other = call("lookup", "t.json", "join", "--shape", SHAPE)
    assert "match:  default" in other.out
    assert "records of other variants only" in other.out


def test_a_space_shows_its_variants(call: Call, space_file: Path) -> None:
    said = call("spaces", str(space_file))
    assert "how copy add scale copy result same wide same" in said.flat
