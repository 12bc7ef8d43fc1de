from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tuner
from tests.runtime.small_table import TABLE, Open, record, with_records
from tuner.runtime import TunerError, table


def test_exact(opened: Open) -> None:
    tuned = opened(TABLE)
    answer = tuned.lookup("copy", M=1024, N=512, dtype="bfloat16", device="trn2")
    assert (answer.match, answer.kind) == ("exact", "simulated")
    assert answer.config == {"tiles": 8, "order": "nm"}
    assert answer.record is tuned.records[0]
    assert answer.why == "copy M=1024,N=512 bfloat16 on trn2: simulated record M=1024,N=512"


def test_nearest_that_is_legal(opened: Open) -> None:
    answer = opened(TABLE).lookup("copy", M=1500, N=512)
    assert (answer.match, answer.kind) == ("nearest", "simulated")
    assert answer.config == {"tiles": 8, "order": "nm"}
    assert answer.why == (
        "copy M=1500,N=512 bfloat16 on trn2: nearest simulated record M=1024,N=512, 0.55 away; "
        "to tune it: nki-tuner tune copy --shape M=1500,N=512 --dtype bfloat16 --device trn2"
    )


def test_an_illegal_nearest_gives_way_to_the_next(opened: Open) -> None:
    answer = opened(TABLE).lookup("copy", M=800, N=512)
    assert (answer.match, answer.config) == ("nearest", {"tiles": 4, "order": "nm"})
    assert answer.record is not None
    assert answer.record.sizes["M"] == 512


def test_nearest_is_completed_for_the_workload_before_it_is_checked(opened: Open) -> None:
    """`keep` has no value where N is 512 but has one here, and its default is illegal with 8."""
    answer = opened(TABLE).lookup("copy", M=1024, N=768, max_distance=2)
    assert (answer.match, answer.config) == ("nearest", {"tiles": 4, "order": "nm", "keep": 0})
    assert answer.record is not None
    assert answer.record.sizes["M"] == 512


def test_a_record_of_an_older_space_is_still_read(opened: Open) -> None:
    """A table has the rules of the newest study; older records may hold what these lack."""
    tuned = opened(with_records(record(2048, {"tiles": 3, "gone": 1})))
    assert tuned.lookup("copy", M=2048, N=512).config == {"tiles": 3, "gone": 1}
    assert tuned.lookup("copy", M=2049, N=512).config == {"tiles": 3, "order": "mn"}


def test_default_where_the_near_ones_are_illegal(opened: Open) -> None:
    answer = opened(TABLE).lookup("copy", M=400, N=512)
    assert (answer.match, answer.kind, answer.record) == ("default", None, None)
    assert answer.config == {"tiles": 2, "order": "mn"}
    assert "record M=512,N=512 is not legal here (a block is at most M)" in answer.why


def test_default_where_all_are_too_far(opened: Open) -> None:
    answer = opened(TABLE).lookup("copy", M=100_000, N=512)
    assert answer.match == "default"
    assert "the nearest is the simulated record M=8192,N=512, 3.61 away, limit 1" in answer.why
    assert answer.why.endswith(
        "nki-tuner tune copy --shape M=100000,N=512 --dtype bfloat16 --device trn2"
    )
    wider = opened(TABLE).lookup("copy", M=100_000, N=512, max_distance=4)
    assert wider.match == "nearest"


def test_an_illegal_default_gives_the_legal_config_nearest_to_it(opened: Open) -> None:
    assert opened(TABLE).lookup("copy", M=128, N=512).config == {"tiles": 1, "order": "mn"}
    with pytest.raises(TunerError, match="M=64,N=512 bfloat16 on trn2: found no config"):
        opened(TABLE).lookup("copy", M=64, N=512)


def test_what_expect_rules_out_is_passed_over_and_named(opened: Open) -> None:
    old = {"kernel_hash": "old"}
    stale = [record(1024 + n, {"tiles": 4, "order": "mn"}, fingerprint=old) for n in range(5)]
    tuned = opened({**TABLE, "records": stale})
    assert tuned.lookup("copy", M=1024, N=512).match == "exact"
    answer = tuned.lookup("copy", M=1024, N=512, expect={"kernel_hash": "new"})
    assert answer.match == "default"
    assert "the simulated record M=1024,N=512 has another kernel_hash" in answer.why
    fresh = opened(with_records(*stale)).lookup(
        "copy", M=1025, N=512, expect={"kernel_hash": "new"}
    )
    assert (fresh.match, fresh.config["tiles"]) == ("nearest", 8)


def test_measured_goes_before_simulated(opened: Open) -> None:
    data = with_records(record(1024, {"tiles": 1}, kind="measured", backend="neuron"))
    tuned = opened(data)
    assert tuned.lookup("copy", M=1024, N=512).kind == "measured"
    assert tuned.lookup("copy", M=1024, N=512, backend="simulator").kind == "simulated"
    nearer = tuned.lookup("copy", M=512, N=512)
    assert (nearer.match, nearer.kind) == ("exact", "simulated")


def test_dtype_and_device_must_be_given_where_there_are_several(opened: Open) -> None:
    data = with_records(record(1024, {"tiles": 2}, dtype="float32", device="trn1"))
    tuned = opened(data)
    with pytest.raises(TunerError, match="several dtypes, give dtype= one of bfloat16, float32"):
        tuned.lookup("copy", M=1024, N=512)
    with pytest.raises(TunerError, match="several devices, give device= one of trn2, trn1"):
        tuned.lookup("copy", M=1024, N=512, dtype="float32")
    answer = tuned.lookup("copy", M=1024, N=512, dtype="float32", device="trn1")
    assert (answer.match, answer.config) == ("exact", {"tiles": 2})
    for dtype, device in (("float32", "trn2"), ("bfloat16", "trn1")):
        answer = tuned.lookup("copy", M=1024, N=512, dtype=dtype, device=device)
        assert "the default config, because the table has no record of it" in answer.why


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"kernel": "cpoy"}, "unknown kernel 'cpoy'; did you mean copy"),
        ({"m": 1}, r"unknown dim of copy: 'm'; did you mean M\? \(known: M, N\)"),
        ({"dtype": "bfloat"}, "unknown dtype 'bfloat'; did you mean bfloat16"),
        ({"device": "trn3"}, r"unknown device 'trn3'; did you mean trn1, trn2\?"),
        ({"M": 0}, "M=0: expected a whole number"),
        ({"M": 1024.0}, "M=1024.0: expected a whole number"),
        ({"M": True}, "M=True: expected a whole number"),
        ({"M": 1 << 40}, "expected a whole number from 1 to 2147483648"),
    ],
)
def test_a_wrong_question_is_an_error(opened: Open, asked: dict[str, Any], message: str) -> None:
    tuned = opened(TABLE)
    tuned.lookup("copy", M=1024, N=512, dtype="bfloat16")  # is remembered, and 1024 == 1024.0
    question = {"kernel": "copy", "M": 1024, "N": 512, "dtype": "bfloat16", **asked}
    with pytest.raises(TunerError, match=message):
        tuned.lookup(**question)


def test_a_missing_dim_is_named(opened: Open) -> None:
    with pytest.raises(TunerError, match="copy needs a size for N"):
        opened(TABLE).lookup("copy", M=1024)


def test_a_remembered_answer_is_the_same_object_until_there_are_too_many(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned = opened(TABLE)
    first = tuned.lookup("copy", M=1500, N=512)
    assert tuned.lookup("copy", M=1500, N=512) is first
    assert tuned.lookup("copy", M=1500, N=512, max_distance=0.1) is not first
    assert tuned.lookup("copy", M=1500, N=512, expect={}) is not first
    monkeypatch.setattr(table, "MAX_CACHED_ANSWERS", 1)
    tuned.lookup("copy", M=1501, N=512)
    assert tuned.lookup("copy", M=1500, N=512) is not first


def test_the_run_time_loads_only_itself_and_the_standard_library() -> None:
    code = "import sys, tuner.runtime; print(*sys.modules)"
    root = Path(tuner.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    loaded = done.stdout.split()
    ours = {name for name in loaded if name.split(".")[0] == "tuner"}
    assert {name for name in ours if not name.startswith("tuner.runtime")} == {"tuner"}
    assert "tuner.runtime.table" in ours
    assert not {"numpy", "click", "optuna", "ray", "msgspec"} & set(loaded)


@pytest.mark.parametrize(("M", "match"), [(1024, "exact"), (1280, "nearest"), (1 << 20, "default")])
def test_the_note_of_a_device_is_in_every_answer(opened: Open, M: int, match: str) -> None:
    data = copy.deepcopy(TABLE)
    data["devices"]["trn2"]["note"] = "these times are predictions"
    answer = opened(data).lookup("copy", M=M, N=512)
    assert answer.match == match
    assert answer.why.endswith("; note: these times are predictions")
    assert "note" not in opened(TABLE).lookup("copy", M=M, N=512).why
