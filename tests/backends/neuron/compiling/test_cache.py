from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.backends.conformance import CONFIG
from tests.backends.neuron.fake import Fake
from tests.backends.neuron.test_backend import made
from tuner.backends import Candidate, Status, evaluate, load_backend
from tuner.backends.neuron.compiling.cache import NeffCache, key_of, open_cache
from tuner.space import Argument


def compiles(fake: Fake) -> int:
    return len([line for line in fake.log() if "columns" in line])


@pytest.mark.slow
def test_nothing_is_compiled_twice(
    kernel_file: Path, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "neffs"
    problem = made(kernel_file, fake, neff_cache=str(folder))
    candidate = Candidate(0, CONFIG, problem.arguments)
    assert evaluate(load_backend(problem), candidate).status == Status.CORRECT
    assert compiles(fake) == 1  # checked and timed on the same tensors
    assert evaluate(load_backend(problem), candidate).status == Status.CORRECT
    assert compiles(fake) == 1
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    (entry,) = folder.iterdir()
    entry.write_bytes(entry.read_bytes()[:-1])  # damaged
    assert evaluate(load_backend(problem), candidate).status == Status.CORRECT
    assert compiles(fake) == 2

    backend = load_backend(problem)
    backend.compile(Candidate(0, {"columns": 64}))
    backend.verify(Candidate(0, CONFIG, (Argument("x", (128, 64), "float32"),)))
    assert compiles(fake) == 4
    monkeypatch.setenv("NKI_PRECISE_FP", "0")
    load_backend(problem).compile(candidate)
    assert compiles(fake) == 5


def test_a_failure_is_not_kept(kernel_file: Path, fake: Fake, tmp_path: Path) -> None:
    backend = load_backend(made(kernel_file, fake, neff_cache=str(tmp_path / "neffs")))
    assert backend.capabilities().noisy
    fake.faults("ncc")
    assert evaluate(backend, Candidate(0, CONFIG)).status == Status.COMPILE
    fake.faults()
    assert evaluate(backend, Candidate(0, CONFIG)).status == Status.CORRECT


@given(st.binary(max_size=1000), st.integers(0, 1000), st.integers(1, 255))
def test_one_changed_byte_is_found(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, place: int, change: int
) -> None:
    cache = NeffCache(tmp_path_factory.mktemp("cache"))
    cache.put("a", data)
    assert cache.get("a") == data
    (path,) = cache.folder.iterdir()
    stored = bytearray(path.read_bytes())
    stored[place % len(stored)] ^= change
    path.write_bytes(stored)
    assert cache.get("a") is None
    assert not path.exists()


def test_those_used_longest_ago_go_first(tmp_path: Path) -> None:
    cache = NeffCache(tmp_path, max_bytes=3 * (32 + 100))
    for age, key in ((3, "a"), (2, "b"), (1, "c")):
        cache.put(key, bytes(100))
        os.utime(tmp_path / f"{key}.neff", (1e9 - age, 1e9 - age))
    assert cache.get("a") == bytes(100)  # now "b" was used longest ago
    cache.put("d", bytes(100))
    assert [key for key in "abcd" if cache.get(key) is not None] == ["a", "c", "d"]
    cache.put("e", bytes(1000))  # larger than all of it
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_used_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    assert open_cache(str(tmp_path / "file" / "neffs")) is None
    assert open_cache("none") is None
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    assert open_cache(str(shared)) is None
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = open_cache(None)
    assert found is not None
    assert found.folder == tmp_path / "cache" / "nki-tuner" / "neff"


def test_a_full_disk_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    cache = NeffCache(tmp_path)
    cache.put("a", b"x")
    assert cache.get("a") is None
    assert list(tmp_path.iterdir()) == []


def test_keys_do_not_depend_on_order() -> None:
    assert key_of({"a": 1, "b": {"c": 2, "d": 3}}) == key_of({"b": {"d": 3, "c": 2}, "a": 1})
    assert key_of({"a": 1}) != key_of({"a": "1"})


def test_an_entry_of_another_format_is_none(kernel_file: Path, fake: Fake, tmp_path: Path) -> None:
    folder = tmp_path / "neffs"
    backend = load_backend(made(kernel_file, fake, neff_cache=str(folder)))
    backend.compile(Candidate(0, CONFIG))
    (entry,) = folder.iterdir()
    NeffCache(folder).put(entry.stem, b"of another version")
    backend.compile(Candidate(0, CONFIG))
    assert compiles(fake) == 2


def test_what_killed_writers_left_goes(tmp_path: Path) -> None:
    cache = NeffCache(tmp_path)
    for name in ("old.new", "young.new"):
        (tmp_path / name).touch()
    os.utime(tmp_path / "old.new", (1e9, 1e9))
    cache.put("a", b"x")
    assert {path.name for path in tmp_path.iterdir()} == {"a.neff", "young.new"}
