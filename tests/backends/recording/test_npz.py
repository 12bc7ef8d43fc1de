from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.backends.recordings import recording, refusal
from tuner.backends import Status
from tuner.backends.recording import Recording, npz, read_recording, write_recording
from tuner.backends.recording.npz import _milliseconds
from tuner.runtime.errors import TunerError
from tuner.runtime.rules import Parameter
from tuner.space import INACTIVE, SearchSpace


def minimal(**changes: Any) -> dict[str, Any]:
    """What a file holds at least."""
    return {
        "X": np.array([[0, 1], [1, 0], [1, 1]], np.uint8),
        "time_ms": np.array([1.5, np.inf, 0.5]),
        "meta": np.array(json.dumps({"values": {"a": [1, 2], "b": [8, 4]}})),
    } | changes


def read(folder: Path, arrays: dict[str, Any]) -> Recording:
    path = folder / "some.npz"
    np.savez(path, **arrays)
    return read_recording(path)


def told(mine: Recording) -> list[tuple[Any, ...]]:
    return [
        (mine.space.config(row), mine.time_us[row], mine.status[row], mine.cost_s[row])
        for row in range(len(mine.space))
    ]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    mine = recording()
    write_recording(mine, tmp_path / "x.npz")
    read = read_recording(tmp_path / "x.npz")
    assert told(read) == told(mine)
    assert read.content_hash == mine.content_hash
    assert read.reasons == mine.reasons
    np.testing.assert_allclose(read.spread_us, mine.spread_us)
    for name in ("name", "kind", "device", "kernel"):
        assert getattr(read, name) == getattr(mine, name)
    assert read.meta["problem_size"] == "M=256,N=512"
    assert [p.name for p in tmp_path.iterdir()] == ["x.npz"]


def test_other_readers_find_indices_of_sorted_values(tmp_path: Path) -> None:
    """The form that others read: unsigned indices, milliseconds, costs, `meta` as JSON."""
    mine = recording()
    write_recording(mine, tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
        meta = json.loads(str(file["meta"]))
        assert file["X"].dtype == np.uint8
        assert len(np.unique(file["X"], axis=0)) == len(mine.space)
        np.testing.assert_array_equal(file["time_ms"] * 1000, mine.time_us)
        cost_ms = file["compile_ms"] + file["bench_ms"] + file["framework_ms"]
        np.testing.assert_allclose(cost_ms, mine.cost_s * 1000)
        assert file["active"].shape == file["X"].shape
    assert meta["values"] == {
        "columns": [64, 128, 256, 512],
        "engine": ["vector", "gpsimd"],
        "unroll": [False, True],
    }
    assert {"name", "device", "kernel", "problem_size", "source", "fixed"} <= set(meta)


def test_a_file_with_the_least_is_measured_and_its_rows_are_sorted(tmp_path: Path) -> None:
    mine = read(tmp_path, minimal(X=np.array([[1, 0], [0, 0], [1, 1]])))
    assert [p.values for p in mine.space.parameters] == [(1, 2), (4, 8)]
    assert [(mine.space.config(row), mine.time_us[row]) for row in range(3)] == [
        ({"a": 1, "b": 8}, np.inf),
        ({"a": 2, "b": 4}, 500),
        ({"a": 2, "b": 8}, 1500),
    ]
    assert (mine.name, mine.kind, mine.device) == ("some", "measured", "")
    assert mine.status[0] == Status.RUNTIME
    assert mine.reason(0) == "failed when it was recorded"
    assert np.isnan(mine.spread_us).all()


def test_costs_and_spread_are_read(tmp_path: Path) -> None:
    costs = {"compile_ms": [1.0, 2, 3], "bench_ms": [10.0, 20, 30], "framework_ms": [100.0, 0, 0]}
    arrays = {name: np.array(values) for name, values in costs.items()}
    mine = read(tmp_path, minimal(**arrays, time_sd_ms=np.array([0.1, np.nan, 0.2])))
    by_time = {mine.time_us[row]: (mine.cost_s[row], mine.spread_us[row]) for row in range(3)}
    assert by_time[1500.0] == pytest.approx((0.111, 100))
    assert by_time[500.0] == pytest.approx((0.033, 200))


@given(st.lists(st.floats(1e-6, 1e12), min_size=1))
def test_written_again_times_stay_the_same(times: list[float]) -> None:
    read = np.array(times) * 1000
    np.testing.assert_array_equal(_milliseconds(read) * 1000, read)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"X": np.zeros(3, np.uint8)}, "X has shape (3,), expected (configs, parameters)"),
        ({"X": np.zeros((0, 2), np.uint8)}, "X has shape (0, 2), expected (configs, param"),
        ({"X": np.zeros((3, 2))}, "X is float64, expected integers"),
        ({"X": np.array([[0, 1], [1, 0], [1, 2]])}, "X, column 1 (b): expected 0 to 1"),
        ({"X": np.array([[0, 1], [1, 0], [1, -1]])}, "X, column 1 (b): expected 0 to 1"),
        ({"X": np.array([[0, 1], [1, 0], [0, 1]])}, "rows 0 and 2 are the same config"),
        ({"X": np.zeros((3, 3), np.uint8)}, "X has 3 columns, meta.values 2 parameters"),
        ({"time_ms": np.ones(4)}, "time_ms has shape (4,), expected (3,)"),
        (
            {"time_ms": np.array([1, -1.0, 1])},
            "config a=2,b=8: its time is -1 ms",
        ),
        ({"meta": np.array("{")}, "meta is not JSON"),
        ({"meta": np.array("[" * 100_000)}, "meta is not JSON"),
        ({"meta": np.array("[]")}, "meta: expected an object with 'values'"),
        ({"meta": np.array(1)}, "meta is int64, expected text"),
        ({"meta": np.array('{"values": {"a": 1, "b": [1]}}')}, "meta.values.a: expected a list"),
        (
            {"meta": np.array('{"values": {"a": [1, "x"], "b": [1, 2]}}')},
            "values of parameter 'a': numbers and words, expected values of one kind",
        ),
        (
            {"meta": np.array('{"values": {"a": [1, null], "b": [1, 2]}}')},
            "values of parameter 'a': 'None', expected numbers, booleans or words",
        ),
        (
            {"meta": np.array('{"values": {"a": [1, NaN], "b": [1, 2]}}')},
            "values of parameter 'a': 'nan', expected numbers, booleans or words",
        ),
        (
            {"meta": np.array('{"values": {"a": [1, 1.0], "b": [1, 2]}}')},
            "meta.values.a: a value stands twice",
        ),
        ({"status": np.array(["correct", "lost", "correct"])}, "unknown status 'lost'"),
        ({"status": np.array(["correct"] * 3)}, "has status 'correct' and no time"),
        ({"reason": np.array([0, 1, 0])}, "reason: expected 0 to -1, the texts of meta.reasons"),
        ({"kind": "guessed"}, "kind: 'guessed', expected simulated or measured"),
        ({"device": 5}, "meta.device: expected text"),
        ({"name": "a\0b"}, r"name: 'a\x00b', expected text without control characters"),
        ({"name": "two\nlines"}, r"name: 'two\nlines', expected text without control char"),
        ({"device": "a\ud800"}, r"device: 'a\ud800', expected text without control"),
        ({"kernel": "a\u2028b"}, r"kernel: 'a\u2028b', expected text without control"),
        ({"values": {"a\ud800": [1, 2], "b": [8, 4]}}, r"name of a parameter: 'a\ud800', expected"),
        ({"values": {"a": ["x", "\t"], "b": [8, 4]}}, r"a value of a parameter: '\t', expected"),
        ({"values": {"a": [1, 10**400], "b": [8, 4]}}, "parameter 'a': an integer beyond 64 bits"),
        ({"values": {"a": [1, 2**63], "b": [8, 4]}}, "parameter 'a': an integer beyond 64 bits"),
        ({"default": []}, "meta.default: expected a config"),
        ({"default": {"a": 3, "b": 4}}, "meta.default: a=3 is none of its values"),
        ({"default": {"z": [1]}}, "meta.default: z=[1] is none of its values"),
    ],
)
def test_a_wrong_part_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    if not any(isinstance(value, np.ndarray) for value in changes.values()):
        meta = {"values": {"a": [1, 2], "b": [8, 4]}, **changes}
        changes = {"meta": np.array(json.dumps(meta))}
    with pytest.raises(TunerError) as error:
        read(tmp_path, minimal(**changes))
    assert message in str(error.value)
    assert str(error.value).startswith(f"{tmp_path / 'some.npz'}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["X", "time_ms", "meta"])
def test_a_missing_part_is_named(tmp_path: Path, name: str) -> None:
    arrays = minimal()
    del arrays[name]
    with pytest.raises(TunerError, match=f"no array '{name}', expected X, time_ms, meta"):
        read(tmp_path, arrays)


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    arrays = minimal(meta=np.array([Trap()], object))
    with pytest.raises(TunerError, match=r"not a readable npz archive .*allow_pickle"):
        read(tmp_path, arrays)
    assert not (tmp_path / "sprung").exists()


def test_what_unpacks_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "MAX_UNPACKED_BYTES", 1 << 20)
    with pytest.raises(TunerError, match="more than 1 MiB unpacked"):
        read(tmp_path, minimal(other=np.zeros(200_000)))


def test_an_array_that_claims_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "good.npz", **minimal())
    with (
        zipfile.ZipFile(tmp_path / "good.npz") as good,
        zipfile.ZipFile(tmp_path / "bad.npz", "w") as bad,
    ):
        for name in good.namelist():
            data = good.read(name)
            if name == "time_ms.npy":
                data = data.replace(b"(3,)", b"(9999999999999,)", 1)[: len(data)]
            bad.writestr(name, data)
    with pytest.raises(TunerError, match=r"time_ms declares shape \(9+,\) of float64, more than"):
        read_recording(tmp_path / "bad.npz")


@pytest.mark.parametrize("keep", [3, 100, 400])
def test_a_torn_file_is_refused(tmp_path: Path, keep: int) -> None:
    write_recording(recording(), tmp_path / "x.npz")
    path = tmp_path / "torn.npz"
    path.write_bytes((tmp_path / "x.npz").read_bytes()[:keep])
    with pytest.raises(TunerError, match=r"torn.npz: not a readable npz archive \("):
        read_recording(path)


@given(flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1))
def test_whatever_is_damaged_ends_in_one_line(
    flips: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    write_recording(recording(), path)
    data = bytearray(path.read_bytes())
    for place, value in flips:
        data[place % len(data)] = value
    path.write_bytes(data)
    said = refusal(path)
    assert "\n" not in said
    assert len(said) < 600


def test_what_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(TunerError, match=r"x.json: recordings are written as .npz"):
        write_recording(recording(), tmp_path / "x.json")
    with pytest.raises(TunerError, match="No such file or directory"):
        write_recording(recording(), tmp_path / "no" / "x.npz")


def test_a_reason_with_a_lone_surrogate_is_refused(tmp_path: Path) -> None:
    meta = {"values": {"a": [1, 2], "b": [8, 4]}, "reasons": ["", "why \ud800"]}
    arrays = minimal(meta=np.array(json.dumps(meta)), reason=np.array([0, 1, 0]))
    with pytest.raises(TunerError, match=r"reason: 'why .ud800' has a lone surrogate"):
        read(tmp_path, arrays)


def of_rows(rows: list[list[int]], *parameters: Parameter) -> Recording:
    n = len(rows)
    return recording(
        space=SearchSpace.of_rows(parameters, np.array(rows)),
        time_us=np.arange(1.0, n + 1),
        spread_us=np.full(n, np.nan),
        status=(Status.CORRECT,) * n,
        cost_s=np.zeros(n),
        reasons=(),
    )


@pytest.mark.parametrize(
    ("rows", "names"),
    [([[0, 0]], ["a"]), ([[0, 0], [0, INACTIVE]], ["b"])],
)
def test_parameters_with_one_value_only_are_read_again(
    tmp_path: Path, rows: list[list[int]], names: list[str]
) -> None:
    mine = of_rows(rows, Parameter("a", (4,), 4), Parameter("b", (8,), 8))
    write_recording(mine, tmp_path / "x.npz")
    read = read_recording(tmp_path / "x.npz")
    assert [p.name for p in read.space.parameters] == names
    assert read.time_us.tolist() == mine.time_us.tolist()
    assert len(read.meta["fixed"]) == 1
