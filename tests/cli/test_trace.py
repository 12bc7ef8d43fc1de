from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tests.cli.console import Call
from tests.cli.test_measure import MATMUL


@pytest.mark.slow
@pytest.mark.parametrize("name", ["t.json", "t.json.gz"])
def test_a_trace_of_a_bundled_kernel(call: Call, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    said = call("trace", *MATMUL, "--param", "tiles_k=2", "-o", str(path))
    assert (said.code, said.err) == (0, "")
    raw = path.read_bytes()
    data = json.loads(gzip.decompress(raw) if name.endswith("gz") else raw)
    figures = json.loads(call("measure", *MATMUL, "--param", "tiles_k=2", "--json").out)
    facts = data["otherData"]
    assert facts["latency_us"] == figures["latency_us"]
    assert facts["bound_by"] == figures["bound_by"]
    assert facts["instructions"] == figures["instructions"]
    assert f"{figures['latency_us']:.1f} us +- 7 % (simulated); {figures['bound_by']}" in said.out
    events = len(data["traceEvents"])
    assert f"wrote {path}: {figures['instructions']:,} instructions, {events:,} events" in said.out


def test_a_trace_of_a_kernel_file(call: Call, space_file: Path, tmp_path: Path) -> None:
    kernel = f"{space_file.with_suffix('.py')}:double"
    path = tmp_path / "t.json"
    words = ("trace", kernel, "--arg", "x=float32[256,512]", "--param", "columns=512")
    said = call(*words, "-o", str(path))
    assert (said.code, said.err) == (0, "")
    lines = {e["args"].get("line", "") for e in json.loads(path.read_text())["traceEvents"]}
    assert {line.partition(":")[0] for line in lines} == {"", "double.py"}


def test_a_picture(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "t.svg"
    said = call("trace", *MATMUL, "-o", str(path))
    assert (said.code, said.err) == (0, "")
    assert path.read_text().startswith("<svg ")


def test_what_is_left_out_is_said(call: Call, tmp_path: Path) -> None:
    said = call("trace", *MATMUL, "--limit", "10", "-o", str(tmp_path / "t.json"))
    assert ": 10 instructions, " in said.out
    assert "; left out " in said.out


@pytest.mark.slow
def test_busy_cores_and_policies_count(call: Call, tmp_path: Path) -> None:
    def latency(*more: str) -> float:
        path = tmp_path / "t.json"
        assert call("trace", *MATMUL, *more, "-o", str(path)).code == 0
        return float(json.loads(path.read_text())["otherData"]["latency_us"])

    assert latency("--cores-busy", "8") > latency()
    assert latency("--policy", "beta1") != latency()
    assert latency("--device", "trn1") > latency()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "Missing option '-o'"),
        ("-o t.txt", "t.txt: expected a name that ends in .json, .json.gz or .svg"),
        ("-o t.svg --limit 3", "--limit goes with a trace"),
        ("-o t.json --limit 0", "0 is not in the range"),
        ("-o t.json --cores-busy 99", "cores_busy=99: expected 1 to 8"),
        ("-o t.json --policy fast", "unknown compiler policy 'fast'"),
        ("-o t.json --arg x=float32[1]", "--arg goes with FILE.py:FUNCTION"),
        ("-o nowhere/t.json", "nowhere/t.json: No such file or directory"),
    ],
)
def test_bad_input_is_one_line(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    said = call("trace", *MATMUL, *words.split())
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert message in said.err
    assert not list(tmp_path.iterdir())


def test_a_kernel_that_fails_says_why(call: Call, space_file: Path, tmp_path: Path) -> None:
    kernel = f"{space_file.with_suffix('.py')}:double"
    words = ("--arg", "x=float32[256,512]", "--param", "fault=rows", "-o", str(tmp_path / "t.json"))
    said = call("trace", kernel, *words)
    assert said.code == 2
    assert "on trn2: compile: shape [129, 8]" in said.err
    assert not (tmp_path / "t.json").exists()
