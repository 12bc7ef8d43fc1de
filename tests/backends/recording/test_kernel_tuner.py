from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.backends.recordings import cache, refusal, t4, written
from tuner.backends import Status
from tuner.backends.recording import Recording, files, read_recording, write_recording
from tuner.runtime.errors import TunerError

Change = Callable[[dict[str, Any]], Any]


def told(mine: Recording) -> list[tuple[Any, ...]]:
    return [
        (*mine.space.config(row).values(), mine.time_us[row], mine.status[row], mine.reason(row))
        for row in range(len(mine.space))
    ]


FAILED = "failed when it was recorded"
RUNTIME = (32, 2, np.inf, Status.RUNTIME, "RuntimeFailedConfig")
CORRECT = [(32, 1, 1500, Status.CORRECT, FAILED), (64, 1, 2500, Status.CORRECT, FAILED)]


def test_results_are_read(tmp_path: Path) -> None:
    mine = read_recording(written(tmp_path, t4(), "gpu_T4.json"))
    assert told(mine) == [CORRECT[0], RUNTIME, CORRECT[1]]
    assert [(p.name, p.values) for p in mine.space.parameters] == [
        ("block", (32, 64)),
        ("tile", (1, 2)),
    ]
    assert mine.meta["fixed"] == {"fixed": 7}
    assert (mine.name, mine.kind) == ("gpu_T4", "measured")
    np.testing.assert_allclose(mine.cost_s, 0.124)
    np.testing.assert_allclose(mine.spread_us, [np.sqrt(0.5) * 1000, np.nan, np.sqrt(0.5) * 1000])


def test_a_cache_is_read(tmp_path: Path) -> None:
    mine = read_recording(written(tmp_path, cache()))
    failed = (64, 2, np.inf, Status.COMPILE, "CompilationFailedConfig")
    assert told(mine) == [CORRECT[0], RUNTIME, CORRECT[1], failed]
    assert (mine.device, mine.kernel) == ("Some GPU", "a_kernel")
    assert mine.meta["problem_size"] == "[4096, 4096]"
    assert mine.meta["fixed"] == {"fixed": 7}
    np.testing.assert_allclose(mine.cost_s, 0.124)
    np.testing.assert_allclose(mine.costs_s["bench"], 0.021)


@pytest.mark.parametrize("data", [t4(), cache()])
def test_packed_and_written_as_npz_it_is_the_same(tmp_path: Path, data: dict[str, Any]) -> None:
    plain = read_recording(written(tmp_path, data))
    path = tmp_path / "file.json.gz"
    path.write_bytes(gzip.compress(json.dumps(data).encode()))
    packed = read_recording(path)
    write_recording(packed, tmp_path / "file.npz")
    again = read_recording(tmp_path / "file.npz")
    assert plain.name == packed.name == again.name == "file"
    assert plain.content_hash == packed.content_hash == again.content_hash
    assert plain.reasons == again.reasons


def test_a_cache_that_was_not_closed_is_read(tmp_path: Path) -> None:
    whole = json.dumps(cache())
    assert whole.endswith("}}}")
    left = whole[:-2] + ","
    assert told(read_recording(written(tmp_path, left))) == told(
        read_recording(written(tmp_path, whole))
    )


def test_older_forms_of_failure_are_known(tmp_path: Path) -> None:
    data = cache()
    data["cache"]["32,2,7"]["time"] = 1e20
    data["cache"]["64,2,7"]["__error__"] = "InvalidConfig"
    mine = read_recording(written(tmp_path, data))
    assert mine.status == (Status.CORRECT, Status.RUNTIME, Status.CORRECT, Status.CONSTRAINTS)


def test_every_status_word_is_kept(tmp_path: Path) -> None:
    for status in Status:
        data = t4()
        if status != Status.CORRECT:
            data["results"][0]["invalidity"] = status.value
            assert read_recording(written(tmp_path, data)).status[2] == status


def test_where_results_lack_the_benchmarks_time_it_is_that_of_the_runs(tmp_path: Path) -> None:
    data = t4()
    for result in data["results"]:
        del result["times"]["benchmark"]
    mine = read_recording(written(tmp_path, data))
    np.testing.assert_allclose(mine.costs_s["bench"], [0.004, 0.001, 0.006])


@pytest.mark.parametrize(("unit", "scale"), [("s", 1e6), ("us", 1), ("", 1e3)])
def test_units_are_respected(tmp_path: Path, unit: str, scale: float) -> None:
    data = t4()
    for result in data["results"]:
        result["measurements"][1]["unit"] = unit
    assert read_recording(written(tmp_path, data)).optimum_us == pytest.approx(1.5 * scale)


def test_words_and_booleans_are_values(tmp_path: Path) -> None:
    data = cache()
    data["tune_params"] |= {"block": ["b", "a"], "tile": [True, False]}
    for entry in data["cache"].values():
        entry |= {"block": {64: "a", 32: "b"}[entry["block"]], "tile": entry["tile"] == 2}
    mine = read_recording(written(tmp_path, data))
    assert [p.values for p in mine.space.parameters] == [("b", "a"), (False, True)]
    assert mine.space.ordered.tolist() == [False, False]
    assert mine.time_us[mine.space.row({"block": "b", "tile": False})] == 1500


def test_of_a_config_that_stands_twice_the_first_counts(tmp_path: Path) -> None:
    data = t4()
    data["results"].append(json.loads(json.dumps(data["results"][0])))
    data["results"][3]["measurements"][1]["value"] = 9.0
    assert told(read_recording(written(tmp_path, data))) == [CORRECT[0], RUNTIME, CORRECT[1]]


def _first(data: dict[str, Any]) -> dict[str, Any]:
    results: list[dict[str, Any]] = data["results"]
    return results[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(results=[]), "no config in it"),
        (lambda d: d.update(results={}), "expected T4 results ('results': [...]) or a cache file"),
        (lambda d: d["results"].insert(1, 5), "results[1]: expected an object"),
        (lambda d: _first(d).pop("configuration"), "results[0].configuration: expected an object"),
        (lambda d: _first(d).update(invalidity="fine"), "word in results[0].invalidity: 'fine'"),
        (lambda d: _first(d).update(measurements=[]), "results[0].measurements: none; expected"),
        (lambda d: _first(d)["measurements"].pop(), "results[0].measurements: power; expected one"),
        (lambda d: _first(d).update(measurements=5), "results[0].measurements: expected a list"),
        (
            lambda d: _first(d)["measurements"][1].update(value="x"),
            "results[0].measurements: the time is 'x', expected a number",
        ),
        (
            lambda d: _first(d)["measurements"][1].update(value=-1),
            "config block=64,tile=1: its time is -1 ms, expected",
        ),
        (lambda d: _first(d)["measurements"][1].update(unit="days"), "unknown unit of time in res"),
        (
            lambda d: _first(d)["times"].update(compilation="long"),
            "results[0]: compilation is 'long', expected milliseconds",
        ),
        (lambda d: _first(d)["times"].update(runtimes=[None]), "results[0].times.runtimes: expect"),
        (lambda d: _first(d)["configuration"].pop("tile"), "config 1 has other parameters than"),
        (
            lambda d: _first(d)["configuration"].update(tile=[1]),
            "values of parameter 'tile': '[1]', expected numbers, booleans or words",
        ),
        (
            lambda d: d.update(results=d["results"][:1]),
            "no parameter has more than one value",
        ),
    ],
)
def test_what_is_wrong_with_results_is_named(tmp_path: Path, change: Change, message: str) -> None:
    data = t4()
    change(data)
    path = written(tmp_path, data)
    with pytest.raises(TunerError) as error:
        read_recording(path)
    assert message in str(error.value)
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("tune_params"), "tune_params: expected an object"),
        (lambda d: d["tune_params"].update(block=5), "tune_params.block: expected a list"),
        (lambda d: d["tune_params_keys"].pop(), "tune_params_keys: expected the names of"),
        (lambda d: d["cache"].update({"64,1,7": []}), "cache['64,1,7']: expected an object"),
        (lambda d: d["cache"]["64,1,7"].pop("tile"), "'64,1,7']: no value of parameter 'tile'"),
        (lambda d: d["cache"]["64,1,7"].pop("time"), "cache['64,1,7']: no 'time'"),
        (lambda d: d["cache"]["64,1,7"].update(time=None), "'64,1,7']: the time is 'None'"),
        (lambda d: d["cache"]["64,1,7"].update(time="Lost"), "error in cache['64,1,7']: 'Lost'"),
        (lambda d: d["cache"]["64,1,7"].update(times=1), "'64,1,7'].times: expected a list"),
    ],
)
def test_what_is_wrong_with_a_cache_is_named(tmp_path: Path, change: Change, message: str) -> None:
    data = cache()
    change(data)
    with pytest.raises(TunerError) as error:
        read_recording(written(tmp_path, data))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file"),
        (b"{]", "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"results": [' + b"9" * 5000 + b"]}", "not JSON"),
        (b"[1, 2]", "expected T4 results"),
        (b"\xff\xfe\x00", "no recording: neither npz nor JSON"),
        (b"\x1f\x8b\x08rest", "not a readable gzip file"),
        (gzip.compress(b"{}" * 1000)[:20], "not a readable gzip file"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "some.json"
    path.write_bytes(content)
    with pytest.raises(TunerError) as error:
        read_recording(path)
    assert message in str(error.value)
    assert str(error.value).startswith(f"{path}: ")


ANYTHING: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1e30,
    "",
    "x" * 5000,
    [],
    {},
    [1],
    {"a": 1},
    10**400,
)


def places(data: Any, *before: str | int) -> Iterator[tuple[str | int, ...]]:
    """The places of all values in a JSON document."""
    inner: Iterable[tuple[str | int, Any]] = ()
    if isinstance(data, dict):
        inner = data.items()
    elif isinstance(data, list):
        inner = enumerate(data)
    for key, value in inner:
        yield (*before, key)
        yield from places(value, *before, key)


@pytest.mark.parametrize("make", [t4, cache])
def test_whatever_stands_where_it_should_not_ends_in_one_line(
    tmp_path: Path, make: Callable[[], dict[str, Any]]
) -> None:
    for place in places(make()):
        for value in ANYTHING:
            data: Any = make()
            inner = data
            for key in place[:-1]:
                inner = inner[key]
            inner[place[-1]] = value
            said = refusal(written(tmp_path, data))
            assert "\n" not in said
            assert len(said) < 1300


def test_what_unpacks_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_JSON_BYTES", 1 << 20)
    path = tmp_path / "bomb.json.gz"
    path.write_bytes(gzip.compress(b" " * (2 << 20)))
    with pytest.raises(TunerError, match="more than 1 MiB of JSON"):
        read_recording(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TunerError, match=r"none.npz: No such file or directory"):
        read_recording(tmp_path / "none.npz")
    with pytest.raises(TunerError, match="Is a directory"):
        read_recording(tmp_path)
