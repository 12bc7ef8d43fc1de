from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.backends.small_kernel import SHAPE, write_space
from tests.cli.console import Call
from tuner.database import Store
from tuner.job import Job, prepare, tune
from tuner.runtime.errors import TunerError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trials": 0}, "trials=0: expected a whole number from 1"),
        ({"trials": 2.0}, "trials=2.0: expected a whole number"),
        ({"trials": "5"}, "trials='5': expected a whole number"),
        ({"seed": -1}, "seed=-1: expected a whole number from 0"),
        ({"workers": 0}, "workers=0: expected a whole number from 1"),
        ({"timeout_s": 0}, "timeout_s=0: expected a number above 0"),
        ({"timeout_s": -1.5}, "timeout_s=-1.5: expected a number above 0"),
        ({"timeout_s": math.nan}, "timeout_s=nan: expected a number above 0"),
        ({"timeout_s": math.inf}, "timeout_s=inf: expected a number above 0, up to 1e+07"),
        ({"timeout_s": None}, "timeout_s=None: expected a number above 0"),
        ({"compile_timeout_s": 0}, "compile_timeout_s=0: expected a number above 0"),
        ({"memory_gb": math.inf}, "memory_gb=inf: expected a number above 0, up to 1e+06"),
        ({"max_s": 0}, "max_s=0: expected a number above 0"),
        ({"max_s": math.nan}, "max_s=nan: expected a number above 0"),
        ({"max_s": "60"}, "max_s='60': expected a number above 0"),
        ({"target_us": -2.0}, "target_us=-2.0: expected a number above 0"),
        ({"patience": 0}, "patience=0: expected a whole number from 1"),
        ({"patience": 1.5}, "patience=1.5: expected a whole number from 1"),
        ({"prior": "simulator"}, "the simulator cannot be its own prior"),
        ({"prior": "fast"}, "unknown prior 'fast'"),
        ({"noise": -0.1}, "noise=-0.1: expected a share from 0 to 1, e.g. 0.03"),
        ({"noise": 3}, "noise=3: expected a share from 0 to 1"),
        ({"noise": math.nan}, "noise=nan: expected a share from 0 to 1"),
        ({"noise": "3%"}, "noise='3%': expected a share from 0 to 1"),
        ({"repeats": 0}, "repeats=0: expected a whole number from 1"),
        ({"repeats": 1001}, "repeats=1001: expected a whole number up to 1000"),
        ({"remeasure": -1}, "remeasure=-1: expected a whole number from 0"),
        ({"verify": "some"}, "unknown choice of verify 'some'"),
        ({"sampler": "gpp"}, "unknown sampler 'gpp'; did you mean gp"),
        ({"device": "trn22"}, "unknown device 'trn22'; did you mean "),
        ({"backend": "hardware"}, "unknown backend 'hardware'"),
        ({"lnc": 2}, "lnc is an option of backend neuron, not of simulator"),
        ({"nki_python": "x"}, "nki_python is an option of backend neuron, not of simulator"),
        ({"exclusive_hbm": True}, "exclusive_hbm is an option of backend neuron"),
        ({"backend": "neuron", "lnc": 3}, "lnc=3: expected 1 or 2"),
        ({"backend": "neuron", "timing": "nrt"}, "unknown timing 'nrt'; did you mean nrtpy"),
        ({"backend": "neuron", "lnc": 2, "device": "trn1"}, "lnc=2: the cores of trn1 are not "),
        ({"policy": "fast"}, "unknown compiler policy 'fast'"),
        ({"dtype": "float64"}, "unknown dtype of matmul: 'float64'"),
        ({"kernel": "matmull"}, "unknown kernel 'matmull'; did you mean matmul"),
        ({"kernel": "no/such.toml"}, "no/such.toml: No such file"),
        ({"shape": "M=256,K=512"}, "matmul needs a size for N"),
        ({"shape": {"M": 256, "K": 512, "Z": 1}}, "unknown dim or variant of matmul: 'Z'"),
        ({"shape": {"M": 256, "K": 512, "N": 0.5}}, "N=0.5: expected a whole number"),
        ({"trails": 5}, "unknown setting of a job: 'trails'; did you mean trials"),
    ],
)
def test_a_wrong_setting_is_an_error_that_names_it(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    given = {"kernel": "matmul", "shape": "M=256,K=512,N=1024", **settings}
    with pytest.raises(TunerError) as error:
        tune(**given, results=str(tmp_path / "results"), ray="serial")
    assert message in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_sizes_may_be_text_or_numbers() -> None:
    text = prepare(Job("matmul", "N=1024, M=256,K=512"))
    numbers = prepare(Job("matmul", {"K": 512, "M": 256, "N": 1024}))
    assert text.workload == numbers.workload
    assert text.info.key == numbers.info.key


def test_the_default_is_repaired_for_the_workload() -> None:
    small = prepare(Job("matmul", "M=128,K=128,N=128"))
    assert small.info.default["tiles_m"] == 1
    assert small.space.row(small.info.default) == small.space.default


def test_the_fingerprint_covers_backend_and_space(tmp_path: Path) -> None:
    first = prepare(Job(str(write_space(tmp_path)), SHAPE)).info.fingerprint
    second = prepare(Job(str(write_space(tmp_path, ("none", "skips"))), SHAPE)).info.fingerprint
    assert {name for name in first if first[name] != second[name]} == {"space_hash"}
    assert {"kernel_hash", "device_hash", "model_hash", "policy"} <= set(first)


def test_preparing_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    prepare(Job("matmul", "M=128,K=128,N=128"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "settings",
    [
        {"seed": 3},
        {"sampler": "random", "dtype": "bfloat16", "device": "trn1"},
        {"verify": "all", "timeout_s": 12.5, "workers": 1},
        {"max_s": 600.0, "target_us": 17.5, "patience": 3, "warm_start": False},
        {"prior": "none", "sampler": "exhaustive"},
        {"noise": 0.02, "repeats": 5, "remeasure": 3},
    ],
)
def test_the_stored_command_repeats_the_job(
    tmp_path: Path, call: Call, settings: dict[str, Any]
) -> None:
    folder = tmp_path / "my kernels; $HOME"  # as shells do not like it
    folder.mkdir()
    space = write_space(folder)
    first, second = tmp_path / "first results", tmp_path / "second"
    outcome = tune(str(space), SHAPE, results=str(first), trials=9, ray="serial", **settings)
    with Store(first) as store:
        command = shlex.split(store.studies()[0].info.command)
    assert command.pop(0) == "nki-tuner"
    assert call(*command, "--results", str(second)).code == 0
    with Store(first) as one, Store(second) as other:
        expected, actual = one.studies()[0].info, other.studies()[0].info
        assert [(t.config, t.latency_us, t.verified) for t in other.trials(1)] == [
            (t.config, t.latency_us, t.verified) for t in one.trials(outcome.study)
        ]
    assert (actual.key, actual.fingerprint) == (expected.key, expected.fingerprint)
    assert actual.settings == expected.settings


def test_a_sampler_has_one_name() -> None:
    names = [Job("matmul", "M=256", sampler=name).sampler for name in ("GP", "tpe", "TPESampler")]
    assert names == ["gp", "TPESampler", "TPESampler"]
