from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.backends.small_kernel import SHAPE, line_of, write_space
from tests.cli.console import Call
from tuner.backends import Candidate, evaluate, load_backend
from tuner.job import Job, prepare

SIZES = "M=256,K=512,N=1024"
MATMUL = ("matmul", "--shape", SIZES)
TYPES: dict[str, Any] = {
    "config": dict,
    "status": str,
    "reason": str,
    "kind": str,
    "programs": int,
    "latency_us": float,
    "roofline_us": float,
    "roofline_share": float,
    "launch_us": float,
    "error_percent": float,
    "busy_us": dict,
    "instructions": int,
    "flops": int,
    "hbm_read_bytes": int,
    "hbm_written_bytes": int,
    "spill_saved_bytes": int,
    "spill_reloaded_bytes": int,
    "reread_bytes": int,
    "sbuf_peak_bytes_per_partition": int,
    "psum_peak_banks": int,
    "output_bytes": int,
    "bound_by": str,
    "stalls_us": dict,
    "sensitivity_us": list,
}


def test_json_holds_every_figure(call: Call) -> None:
    said = call("measure", *MATMUL, "--param", "tiles_k=2", "--json")
    assert (said.code, said.err) == (0, "")
    figures = json.loads(said.out)
    assert {name: type(value) for name, value in figures.items()} == TYPES
    assert (figures["status"], figures["reason"], figures["kind"]) == ("correct", "", "simulated")
    assert figures["config"]["tiles_k"] == 2
    assert figures["flops"] == 2 * 256 * 512 * 1024
    assert figures["output_bytes"] == figures["hbm_written_bytes"] == 256 * 1024 * 2
    assert set(figures["busy_us"]) == {"TensorE", "VectorE", "ScalarE", "GpSimdE", "DMA"}
    assert figures["roofline_share"] == figures["roofline_us"] / figures["latency_us"]


def test_it_is_what_a_job_measures(call: Call) -> None:
    prepared = prepare(Job("matmul", SIZES, device="trn1", dtype="float32"))
    expected = evaluate(load_backend(prepared.problem), Candidate(0, prepared.info.default))
    options = ("--device", "trn1", "--dtype", "float32", "--json")
    figures = json.loads(call("measure", *MATMUL, *options).out)
    assert figures["latency_us"] == expected.latency_us
    assert figures["config"] == prepared.info.default
    assert figures["roofline_us"] == prepared.info.roofline_us


def test_text_says_everything_with_its_unit(call: Call) -> None:
    figures = json.loads(call("measure", *MATMUL, "--json").out)
    said = call("measure", *MATMUL)
    assert said.code == 0
    assert said.out.startswith("matmul on trn2")
    assert f"latency {figures['latency_us']:.1f} us +- 7 % (simulated)" in said.flat
    assert f"DMA busy {figures['busy_us']['DMA']:.1f} us +- 7 % (simulated), " in said.flat
    assert f"HBM read {figures['hbm_read_bytes']:,} bytes" in said.flat
    assert f"{figures['roofline_us']:.1f} us (bound)" in said.flat


def test_text_says_what_bounds_the_kernel(call: Call) -> None:
    figures = json.loads(call("measure", *MATMUL, "--json").out)
    said = call("measure", *MATMUL)
    assert f"bound by {figures['bound_by']}" in said.flat
    waits = figures["stalls_us"]["TensorE"]
    cause = max(waits, key=lambda name: waits[name])
    told = f"largest stall TensorE waits {waits[cause]:.1f} us +- 7 % (simulated), "
    assert f"{told}{waits[cause] / figures['latency_us']:.1%}, for {cause}" in said.flat
    assert "clock ramp" not in said.out
    assert "DMA queues waited for" not in said.out


def test_stalls_are_listed_by_engine(call: Call) -> None:
    stalls = json.loads(call("measure", *MATMUL, "--json").out)["stalls_us"]
    assert list(stalls) == ["TensorE", "VectorE", "ScalarE", "GpSimdE", "loads", "stores"]
    said = call("measure", *MATMUL, "--stalls")
    assert said.code == 0
    for engine, causes in stalls.items():
        for k, (cause, us) in enumerate(causes.items()):
            first = engine if k == 0 else ""
            assert f"{first} {cause} {us:.1f} us +- 7 % (simulated)".strip() in said.flat


def test_a_prediction_that_hangs_on_the_clock_says_so(call: Call) -> None:
    config = {
        "tiles_m": 1,
        "tiles_n": 1,
        "tiles_k": 4,
        "buffers": 4,
        "psum_accumulators": 4,
        "evict": "both",
        "load_columns": 512,
    }
    words = ["measure", "matmul", "--shape", "M=512,K=1024,N=1024"]
    for name, value in config.items():
        words += ["--param", f"{name}={value}"]
    low, high = json.loads(call(*words, "--json").out)["sensitivity_us"]
    assert high > 1.02 * low
    told = f"clock ramp between {low:.1f} and {high:.1f} us within the doubt of the ramp's window"
    assert f"{told}: the prediction hangs on it (simulated)" in call(*words).flat


@pytest.mark.parametrize("folder", ["plain", "odd [/]name [red]"])
def test_a_kernel_file_is_measured_with_its_tensors(
    call: Call, tmp_path: Path, folder: str
) -> None:
    (tmp_path / folder).mkdir(parents=True)
    path = write_space(tmp_path / folder).with_suffix(".py")
    words = ("measure", f"{path}:double", "--arg", "x=float32[256,512]", "--param", "columns=512")
    figures = json.loads(call(*words, "--json").out)
    space = str(path.with_suffix(".toml"))
    same = call("measure", space, "--shape", SHAPE, "--param", "columns=512", "--json")
    assert figures["latency_us"] == json.loads(same.out)["latency_us"]
    assert figures["config"] == {"columns": 512}
    assert figures["hbm_read_bytes"] == 256 * 512 * 4
    assert 0 < figures["roofline_share"] < 1
    said = call(*words)
    assert said.code == 0
    assert said.out.startswith(f"{path}:double on trn2")


def test_parameters_left_out_take_the_defaults_of_the_function(
    call: Call, space_file: Path
) -> None:
    kernel = f"{space_file.with_suffix('.py')}:double"
    words = ("measure", kernel, "--arg", "x=float32[256,512]", "--json")
    default = json.loads(call(*words).out)
    given = json.loads(call(*words, "--param", "columns=64", "--param", "engine=vector").out)
    assert default["latency_us"] == given["latency_us"]
    assert default["config"] == {}


def test_a_failure_in_json_has_status_and_reason(call: Call, space_file: Path) -> None:
    kernel = f"{space_file.with_suffix('.py')}:double"
    words = ("measure", kernel, "--arg", "x=float32[256,512]", "--param", "fault=rows", "--json")
    said = call(*words)
    assert (said.code, said.err) == (2, "")
    figures = json.loads(said.out)
    assert (figures["status"], figures["latency_us"]) == ("compile", None)
    assert line_of("rows") in figures["reason"]


@pytest.mark.parametrize("full", [(), ("--full",)])
def test_verify_of_a_right_config(call: Call, full: tuple[str, ...]) -> None:
    shape = ("--shape", "M=200,K=300,N=700")
    said = call("verify", "matmul", *shape, "--param", "tiles_k=2", *full)
    assert (said.code, said.err) == (0, "")
    assert said.out.endswith(": correct\n")
    assert said.out.startswith("matmul M=200,K=300,N=700 bfloat16 on trn2, checked with lhsT ")
    assert ("lhsT bfloat16[300, 200]" in said.out) == bool(full)


@pytest.mark.parametrize(
    ("fault", "verdict"),
    [
        ("element", "correctness: output 0[32, 3] is "),
        ("skips", "correctness: output 0[0, 64] is nan"),
        ("shape", "correctness: output 0 has shape "),
        ("memory", "compile: out of memory in SBUF"),
        ("raises", "compile: ValueError: two lines (double.py:"),
    ],
)
def test_verify_of_a_wrong_config(call: Call, tmp_path: Path, fault: str, verdict: str) -> None:
    space = str(write_space(tmp_path, ("none", fault)))
    said = call("verify", space, "--shape", SHAPE, "--param", f"fault={fault}")
    assert (said.code, said.err) == (1, "")
    first, *hazards = said.out.splitlines()
    assert f": {verdict}" in first
    assert bool(hazards) == (fault in ("skips", "shape"))
    assert all(": hazard: returns tensor [256, " in line for line in hazards)


def test_parameters_that_have_no_value_here_are_refused(call: Call, space_file: Path) -> None:
    words = ("measure", str(space_file), "--shape", SHAPE, "--param", "engine=gpsimd")
    said = call(*words)
    assert said.code == 2
    assert "engine" in said.err
    assert call(*words, "--param", "columns=128").code == 0


LAUNCHED = """
import nki.isa as nisa
import nki.language as nl

def double(x, columns=64, buffers=1, engine="vector", fault="none"):
    out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
    rows = x.shape[0] // nl.num_programs()
    for top in range(nl.program_id() * rows, (nl.program_id() + 1) * rows, 64):
        tile = nl.ndarray((64, x.shape[1]), x.dtype)
        nisa.dma_copy(tile, x[top : top + 64])
        if fault == "memory":
            nisa.tensor_copy(tile[:, 0:0 + 1], nl.ndarray((64, 1), x.dtype))
            nisa.dma_copy(tile, x[top : top + 64])
        nisa.tensor_tensor(tile, tile, tile, nl.add)
        nisa.dma_copy(out[top : top + 64], tile)
    return out

def double_reference(x):
    return 2 * x
"""


@pytest.fixture
def launched(tmp_path: Path) -> Path:
    """A space file whose kernel cores may share, and may read what was never written."""
    space = write_space(tmp_path, ("none", "memory"))
    space.with_suffix(".py").write_text(LAUNCHED)
    return space


def test_two_cores_share_a_kernel(call: Call, launched: Path) -> None:
    shape = ("--shape", "M=2048,N=1024", "--json")
    one = json.loads(call("measure", str(launched), *shape).out)
    two = json.loads(call("measure", str(launched), *shape, "--lnc", "2").out)
    assert (one["programs"], two["programs"]) == (1, 2)
    assert two["latency_us"] < one["latency_us"]
    assert two["roofline_us"] == one["roofline_us"] / 2
    assert "programs 2; busy" in call("measure", str(launched), *shape[:2], "--lnc", "2").flat
    said = call("verify", str(launched), "--shape", SHAPE, "--lnc", "2")
    assert (said.code, said.out.endswith(": correct\n")) == (0, True)
    assert call("verify", str(launched), "--shape", SHAPE, "--lnc", "3").code == 2
    said = call("verify", str(launched), "--shape", SHAPE, "--lnc", "2", "--device", "trn1")
    assert "trn1 has one core" in said.err


def test_hazards_are_listed_and_fail_where_asked(call: Call, launched: Path) -> None:
    words = ("verify", str(launched), "--shape", SHAPE, "--param", "fault=memory")
    said = call(*words)
    verdict, hazard = said.out.splitlines()
    assert said.code == 0
    assert verdict.endswith(": correct")
    line = LAUNCHED[: LAUNCHED.index("nisa.tensor_copy")].count("\n") + 1
    assert hazard.startswith(f"double.py:{line}: hazard: reads tensor [64, 1] in nl.sbuf made at ")
    assert call(*words, "--strict").out == said.out
    assert call(*words, "--strict").code == 1
    assert call("verify", str(launched), "--shape", SHAPE, "--strict").code == 0
