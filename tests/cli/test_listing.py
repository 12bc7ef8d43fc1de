from __future__ import annotations

from pathlib import Path

from tests.backends.small_kernel import CONFIGS, SHAPE
from tests.cli.console import Call
from tuner.job import Job, prepare
from tuner.neuroncore import constants, device_names


def test_devices_are_listed(call: Call) -> None:
    said = call("devices")
    assert said.code == 0
    rows = [line.split()[0] for line in said.out.splitlines() if " x 128 " in line]
    assert rows == list(device_names())


def test_every_constant_of_a_device_has_its_source(call: Call) -> None:
    said = call("devices", "trn2")
    assert said.code == 0
    for constant in constants("trn2"):
        assert f" {constant.name} {constant.value} " in said.flat.replace(" .. ", "..")
        assert " ".join(constant.source.split()) in said.flat


def test_spaces_are_listed_with_their_files(call: Call) -> None:
    said = call("spaces")
    assert said.code == 0
    assert "matmul M, K, N bfloat16, float32, float8_e4m3 12 " in said.flat
    assert "search_spaces/matmul.toml" in said.out


def test_a_space_shows_parameters_and_constraints(call: Call, space_file: Path) -> None:
    said = call("spaces", str(space_file))
    assert said.code == 0
    assert "columns 64 128 256 512 64 " in said.flat
    assert "engine vector gpsimd vector columns > 64" in said.flat
    assert "columns <= N a tile is no wider than the tensor" in said.flat


def test_with_a_shape_the_valid_configs_are_counted(call: Call, space_file: Path) -> None:
    said = call("spaces", str(space_file), "--shape", SHAPE, "--device", "trn1")
    assert f"double M=256,N=512 float32 on trn1: {CONFIGS} valid of 24 configs" in said.out
    space = prepare(Job("matmul", "M=256,K=512,N=1024", dtype="float32")).space
    said = call("spaces", "matmul", "--shape", "M=256,K=512,N=1024", "--dtype", "float32")
    assert f"float32 on trn2: {len(space):,} valid of {space.raw_size:,} configs" in said.out
