"""Files that somebody broke: a clear error or success; nothing runs, hangs or lies elsewhere."""

from __future__ import annotations

import gzip
import io
import json
import sqlite3
import tomllib
import zipfile
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tuner.runtime
from tests.backends import recordings
from tests.backends.small_kernel import write_space
from tests.calibration.small_kernels import write_kernels, write_table
from tests.database.studies import add, config, failed, info, timed
from tests.faults.calling import called
from tests.faults.guarding import survives
from tests.faults.mutating import bytes_mutations, mutated_bytes, mutated_values, toml, values
from tuner.backends.recording import read_recording, write_recording
from tuner.calibration.measurements import read_table
from tuner.database import Filter, Store, database_path, export, records, select
from tuner.job import check
from tuner.job.batches import read_jobs
from tuner.neuroncore import device
from tuner.runtime.errors import TunerError
from tuner.space import SearchSpace, find, read

pytestmark = pytest.mark.faults

COUNT = 1000
"""Inputs a kind of file, half of them with other bytes and half with other values."""


@pytest.fixture
def feed(
    tmp_path: Path, record_faults: Counter[str], amount: Callable[[int], int]
) -> Callable[..., None]:
    """Feeds mutations of an example to a reader of files."""

    def run(
        name: str,
        example: bytes,
        reader: Callable[[Path], None],
        tree: Any = None,
        written: Callable[[Any], bytes] | None = None,
    ) -> None:
        path = tmp_path / name

        def give(data: bytes) -> None:
            path.write_bytes(data)
            refused_in_one_line(reader, path)

        give(example)
        reader(path)  # as it is, it is fine
        count = amount(COUNT) // (2 if written else 1)
        strategy = bytes_mutations().map(lambda m: mutated_bytes(example, m))
        record_faults[f"other bytes in {name}"] += survives(give, strategy, count, tmp_path)
        if written:
            other = values().map(lambda m: as_bytes(written, mutated_values(tree, m)))
            record_faults[f"other values in {name}"] += survives(give, other, count, tmp_path)

    return run


def as_bytes(written: Callable[[Any], bytes], tree: Any) -> bytes:
    """The tree written; what the format cannot hold is an empty file."""
    try:
        return written(tree)
    except (ValueError, TypeError, RuntimeError, sqlite3.Error):
        return b""


def refused_in_one_line(reader: Callable[[Path], None], path: Path) -> None:
    try:
        reader(path)
    except TunerError as error:
        said = " ".join(str(error).split())
        assert said.isprintable(), ascii(said)
        assert 0 < len(said) < 2000, f"{len(said)} characters: {said[:200]}"


def as_json(tree: Any) -> bytes:
    return json.dumps(tree).encode()


def as_toml(tree: Any) -> bytes:
    return toml(tree).encode()


def read_space(path: Path) -> None:
    definition = read(path)
    workload = definition.workload(dict.fromkeys(definition.dims, 512))
    definition.arguments(workload)
    definition.flops_of(workload)
    definition.bytes_moved_at_least(workload)
    combinations = 1
    for parameter in definition.rules.parameters:
        combinations *= len(parameter.values)
    if combinations <= 10_000:
        space = SearchSpace(definition.rules, definition.scope(workload, {"partitions": 128}))
        definition.verification_workload(workload, space.config(space.default))


def test_search_spaces(feed: Callable[..., None], tmp_path: Path) -> None:
    text = write_space(tmp_path).read_bytes()
    feed("space.toml", text, read_space, tomllib.loads(text.decode()), as_toml)


def test_a_large_search_space(feed: Callable[..., None], tmp_path: Path) -> None:
    text = find("matmul").path.read_bytes()
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "matmul.py").write_bytes(find("matmul").kernel_file.read_bytes())
    (tmp_path / "spaces").mkdir()
    feed("spaces/space.toml", text, read_space, tomllib.loads(text.decode()), as_toml)


def read_exported(path: Path) -> None:
    table = tuner.runtime.load(path)
    for kernel in list(table.kernels)[:3]:
        for size in (1, 256):
            with suppress(TunerError):
                sizes: dict[str, Any] = dict.fromkeys(table.kernels[kernel].dims, size)
                table.lookup(kernel, **sizes)
    if len(table.records) <= 10:
        check(path)


def results(folder: Path) -> Path:
    """A results folder with two studies."""
    with Store(folder, create=True) as store:
        done = [(config(n), timed(10.0 + n, figures={"error_percent": 7.0})) for n in range(1, 9)]
        add(store, info(), *done, (config(9), failed()))
        add(store, info(M=512), *done)
    return folder


def test_exported_tables(feed: Callable[..., None], tmp_path: Path) -> None:
    export(results(tmp_path / "results"), tmp_path / "table.json")
    text = (tmp_path / "table.json").read_bytes()
    feed("table.json", text, read_exported, json.loads(text), as_json)


def read_database(path: Path) -> None:
    folder = path.parent.parent
    with suppress(TunerError), Store(folder) as store:
        for study in select(store, Filter()):
            store.trials(study.id)
        records(store, Filter())
    export(folder, folder / "table.json")
    tuner.runtime.load(folder / "table.json")


JSON_COLUMNS = (
    "sizes",
    "fingerprint",
    "rules",
    "default",
    "settings",
    "config",
    "figures",
    "host_s",
)


def rows_of(path: Path) -> dict[str, Any]:
    """The tables of a database as lists of rows, JSON read."""
    tables: dict[str, Any] = {}
    with closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        for table in ("studies", "trials"):
            rows = [dict(row) for row in database.execute(f"SELECT * FROM {table}")]
            tables[table] = [
                {k: json.loads(v) if k in JSON_COLUMNS else v for k, v in row.items()}
                for row in rows
            ]
    return tables


def as_database(tables: Any) -> bytes:
    """A database of these rows whose columns hold anything; what is no row is left out."""
    with closing(sqlite3.connect(":memory:")) as database:
        for table, listed in tables.items() if isinstance(tables, dict) else ():
            entries = listed if isinstance(listed, list) else []
            rows = [row for row in entries if isinstance(row, dict)]
            names = list(dict.fromkeys(name for row in rows for name in row)) or ["x"]
            quoted = [f'"{name}"' for name in names]
            with suppress(sqlite3.Error):
                database.execute(f'CREATE TABLE "{table}" ({", ".join(quoted)})')
                for row in rows:
                    cells = [as_cell(name, row.get(name)) for name in names]
                    marks = ", ".join("?" * len(cells))
                    database.execute(f'INSERT INTO "{table}" VALUES ({marks})', cells)
        database.commit()
        return database.serialize()


def as_cell(name: str, value: Any) -> Any:
    if name in JSON_COLUMNS:
        return json.dumps(value)
    return value if isinstance(value, int | float | str | None) else str(value).encode()


def test_databases(feed: Callable[..., None], tmp_path: Path) -> None:
    path = database_path(results(tmp_path))
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = DELETE")
    example, name = path.read_bytes(), str(path.relative_to(tmp_path))
    feed(name, example, read_database, rows_of(path), as_database)


def read_times(path: Path) -> None:
    recording = read_recording(path)
    for row in range(min(len(recording.space), 10)):
        recording.space.config(row)
    recording.error_of(0)


def test_kernel_tuner_results(feed: Callable[..., None]) -> None:
    tree = recordings.t4()
    feed("t4.json", as_json(tree), read_times, tree, as_json)


def test_kernel_tuner_caches(feed: Callable[..., None]) -> None:
    tree = recordings.cache()
    feed("cache.json", as_json(tree), read_times, tree, as_json)


def test_packed_recordings(feed: Callable[..., None]) -> None:
    tree = recordings.t4()
    feed("t4.json.gz", gzip.compress(as_json(tree)), read_times)


def as_npz(tree: Any) -> bytes:
    """The arrays, whatever they are made of: ragged ones become arrays of objects."""
    file = io.BytesIO()
    arrays = {"X": tree} if not isinstance(tree, dict) else tree
    written: dict[str, Any] = {}
    for name, value in arrays.items():
        given = np.array(json.dumps(value)) if name == "meta" else value
        try:
            written[name.replace("/", "_")] = np.array(given)
        except ValueError:
            written[name] = np.array([given, None], dtype=object)
    np.savez(file, **written)
    return file.getvalue()


def test_npz_recordings(feed: Callable[..., None], tmp_path: Path) -> None:
    write_recording(recordings.recording(), tmp_path / "plain.npz")
    stored = io.BytesIO()
    with zipfile.ZipFile(tmp_path / "plain.npz") as packed, zipfile.ZipFile(stored, "w") as plain:
        for name in packed.namelist():  # not compressed: so mutations reach the arrays
            plain.writestr(name, packed.read(name))
    with np.load(tmp_path / "plain.npz", allow_pickle=False) as arrays:
        tree = {name: arrays[name].tolist() for name in arrays}
    tree["meta"] = json.loads(tree["meta"])
    feed("recording.npz", stored.getvalue(), read_times, tree, as_npz)


JOBS = b"""
[defaults]
device = "trn2"
trials = 30
results = "results"
timeout_s = 5.0

[[jobs]]
kernel = "matmul"
sizes = { M = [256, 512], K = 512, N = [1024, 2048] }
seed = 3

[[jobs]]
kernel = "mlp"
shape = "M=256,H=512,I=1024,R=128"
sampler = "tpe"
"""


def test_files_of_jobs(feed: Callable[..., None]) -> None:
    def reader(path: Path) -> None:
        read_jobs(path, {})

    feed("jobs.toml", JOBS, reader, tomllib.loads(JOBS.decode()), as_toml)


DEVICE = b"""
core = "NeuronCore-v3"
inherits = "trn2"
note = "of a test"

[clock]
tensor_ghz = { value = 2.4, tag = "M", source = "a test", range = [2.0, 3.0] }
"""


def test_device_files(feed: Callable[..., None]) -> None:
    def reader(path: Path) -> None:
        assert called("devices", str(path)) in (0, 2)

    feed("mine.toml", DEVICE, reader)


def test_tables_of_measured_times(feed: Callable[..., None], tmp_path: Path) -> None:
    write_kernels(tmp_path)
    row = {"id": "a", "device": "trn2", "policy": "nki", "kernel": "small.py:double"}
    row |= {"arguments": "x=float32[128,64]", "parameters": "columns=32", "measured_us": "20.5"}
    text = write_table(tmp_path, [row, {**row, "id": "b"}]).read_bytes()

    def reader(path: Path) -> None:
        read_table(path, device("trn2"), "nki")

    feed("times.csv", text, reader)
