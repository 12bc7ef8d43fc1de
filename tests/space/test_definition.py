from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner import bundled
from tuner.runtime.errors import TunerError
from tuner.space import Argument, Definition, SearchSpace, bundled_spaces, find, read

TRN2 = {"sbuf_usable_bytes_per_partition": 212728, "generation": 3}
MATMUL = find("matmul")

SPACE = """
kind = "kernel"
[kernel]
file = "copy.py"
entry = "copy"
reference = "copy_reference"
[workload]
dims = ["M", "N"]
dtypes = ["float32"]
inputs = { x = "dtype[M,N]" }
outputs = { out = "dtype[M,N]" }
flops = "M*N"
[verification]
blocks = { M = "128*tiles", N = "N" }
[parameters]
tiles = { values = [4, 1, 2], default = 2 }
order = { values = ["mn", "nm"], default = "mn", when = "tiles > 1" }
[[constraints]]
expr = "tiles < M"
why = "a block is at most M"
"""


def written(folder: Path, text: str) -> Path:
    (folder / "copy.py").touch()
    path = folder / "copy.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", bundled_spaces())
def test_every_bundled_space_reads(name: str) -> None:
    definition = find(name)
    assert definition.name == name
    assert definition.kernel_file.parent == bundled.folder("kernels")


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"M": 1024, "K": 4096, "N": 4096}, (8, 2, 8, "nkm")),
        ({"M": 4096, "K": 8192, "N": 8192}, (16, 2, 8, "nkm")),
    ],
)
def test_the_default_matmul_is_that_of_the_tutorial(
    sizes: dict[str, int], expected: tuple[Any, ...]
) -> None:
    scope = MATMUL.scope(MATMUL.workload(sizes, "bfloat16"), TRN2)
    space = SearchSpace(MATMUL.rules, scope)
    config = space.config(space.default)
    names = ("tiles_m", "tiles_n", "tiles_k", "loop_order")
    assert tuple(config[name] for name in names) == expected


def test_a_definition_knows_its_tensors_and_its_work() -> None:
    workload = MATMUL.workload({"M": 2, "K": 3, "N": 5})
    assert workload.dtype == "bfloat16"
    assert MATMUL.arguments(workload) == (
        Argument("lhsT", (3, 2), "bfloat16"),
        Argument("rhs", (3, 5), "bfloat16"),
    )
    assert MATMUL.bytes_moved_at_least(workload) == 2 * (3 * 2 + 3 * 5 + 2 * 5)
    assert MATMUL.flops.evaluate(dict(workload.sizes)) == 2 * 2 * 3 * 5
    assert MATMUL.scope(workload, {"banks": 8}) == {
        "M": 2,
        "K": 3,
        "N": 5,
        "layout": "KM",
        "out": "MN",
        "epilogue": "none",
        "result": "same",
        "dtype_bytes": 2,
        "device.banks": 8,
    }


def test_a_file_of_ones_own_is_read(tmp_path: Path) -> None:
    definition = find(str(written(tmp_path, SPACE)))
    assert definition.name == "copy"
    assert definition.kernel_file == tmp_path / "copy.py"
    assert [p.values for p in definition.rules.parameters] == [(1, 2, 4), ("mn", "nm")]
    assert definition.rules.checked({"tiles": 1}, {"M": 8, "N": 8}) == {"tiles": 1}


def test_the_kernel_may_lie_one_folder_above(tmp_path: Path) -> None:
    (tmp_path / "spaces").mkdir()
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "copy.py").touch()
    path = tmp_path / "spaces" / "copy.toml"
    path.write_text(SPACE.replace('"copy.py"', '"kernels/copy.py"'))
    assert read(path).kernel_file == tmp_path / "kernels" / "copy.py"


@pytest.mark.parametrize("name", ["matmull", "m" * 300, ".", "a\0b"], ids=ascii)
def test_an_unknown_name_is_an_error_that_names_the_nearest(name: str) -> None:
    with pytest.raises(TunerError, match=r"unknown kernel .*known: .*matmul"):
        find(name)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kind = "kernel"', "kind = ", "Invalid value .*line 2"),
        ('kind = "kernel"', f"kind = {'9' * 5000}", "digits"),
        ('kind = "kernel"', f"kind = {'[' * 5000}", "nested too deeply"),
        ('kind = "kernel"', 'kind = "other"', r"'other' - at `\$.kind`"),
        ('"copy"', "5", r"Expected `str`, got `int` - at `\$.kernel.entry`"),
        ('entry = "copy"', "", r"missing required field `entry` - at `\$.kernel`"),
        ('entry = "copy"', 'entry = "copy"\nx = 1', "unknown field `x` - at `.*kernel`"),
        ('"copy.py"', '"other.py"', "kernel.file: there is no 'other.py' beside the file"),
        ('["M", "N"]', "[]", "workload.dims: expected at least one dim"),
        ('["M", "N"]', '["M", "M"]', "workload.dims: .*each once"),
        ('["M", "N"]', '["M", "N", "dtype"]', "'dtype' cannot be the name of a dim"),
        ('["M", "N"]', '["M", "N", "tiles"]', "'tiles' is both a dim and a parameter"),
        ('["float32"]', '["float"]', "unknown dtype in workload.dtypes: 'float'; did you mean"),
        ('x = "dtype[M,N]"', 'x = "dtype[M,L]"', "unknown dim of x: 'L'"),
        ('"M*N"', '"M*device.x"', "unknown name in workload.flops: 'device.x'"),
        (', N = "N"', "", "verification.blocks: expected one entry a dim"),
        (
            '"128*tiles"',
            '"128*tile"',
            "unknown name in verification.blocks.M: 'tile'; did you mean t",
        ),
        ('"128*tiles"', '"128*device.x"', "unknown name in verification.blocks.M: 'device.x'"),
        ("[4, 1, 2]", "[4, 1, 2.0]", "parameters.tiles.values: expected 1 to 1000 values of one"),
        ("[4, 1, 2]", "[]", "parameters.tiles.values: expected 1 to 1000"),
        ("[4, 1, 2]", "[4, 1, 2, 1]", "parameters.tiles.values: a value stands twice"),
        ("default = 2", "default = 3", "parameters.tiles.default: 3 is none of its values"),
        ("default = 2", "default = 2.0", "parameters.tiles.default: 2.0 is none of its values"),
        ("default = 2", "default = 2, when = 'order > 1'", "parameters.tiles.when: 'order'"),
        ("tiles > 1", "tiles >", "parameters.order.when: 'tiles >' is not an expression"),
        ("tiles < M", "tiles < m", r"unknown name in constraints\[0\].expr: 'm'; did you mean M"),
        ("tiles < M", "tiles[0]", r"constraints\[0\].expr: 'tiles\[0\]': Subscript is not allowed"),
    ],
    ids=lambda text: text[:24],
)
def test_a_broken_file_is_one_line_with_file_and_place(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert SPACE.count(old) == 1
    path = written(tmp_path, SPACE.replace(old, new))
    with pytest.raises(TunerError, match=rf"copy\.toml: .*{message}") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TunerError, match=r"none\.toml: No such file"):
        find(str(tmp_path / "none.toml"))
    with pytest.raises(TunerError, match="Is a directory"):
        read(tmp_path)
    (tmp_path / "large.toml").write_bytes(b"\n" * ((1 << 20) + 1))
    with pytest.raises(TunerError, match=r"large\.toml: larger than 1048576 bytes"):
        read(tmp_path / "large.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff")
    with pytest.raises(TunerError, match=r"bytes\.toml: not a text file \('utf-8' codec"):
        read(tmp_path / "bytes.toml")


def test_space_hash_depends_on_content_alone(tmp_path: Path) -> None:
    plain = read(written(tmp_path, SPACE)).space_hash
    laid_out = SPACE.replace("[kernel]", "# a comment\n\n[kernel]  # another").replace(", ", " ,  ")
    assert read(written(tmp_path, laid_out)).space_hash == plain
    entry, reference = 'entry = "copy"\n', 'reference = "copy_reference"\n'
    moved = SPACE.replace(entry + reference, reference + entry)
    assert moved != SPACE
    assert read(written(tmp_path, moved)).space_hash == plain
    for old, new in [("128*tiles", "64*tiles"), ("default = 2", "default = 4"), ("at most", "<=")]:
        assert read(written(tmp_path, SPACE.replace(old, new))).space_hash != plain


SIZES = st.integers(1, 20_000) | st.integers(1, 16).map(lambda blocks: 2048 * blocks)


@st.composite
def matmul_trials(draw: st.DrawFn) -> tuple[dict[str, int], str, dict[str, Any]]:
    sizes = {dim: draw(SIZES) for dim in MATMUL.dims}
    chosen = {p.name: draw(st.sampled_from(p.values)) for p in MATMUL.rules.parameters}
    return sizes, draw(st.sampled_from(MATMUL.dtypes)), chosen


@given(matmul_trials())
def test_the_verification_workload_runs_every_loop_twice_with_the_same_remainder(
    trial: tuple[dict[str, int], str, dict[str, Any]],
) -> None:
    sizes, dtype, chosen = trial
    workload = MATMUL.workload(sizes, dtype)
    config = MATMUL.rules.complete(chosen, MATMUL.scope(workload, TRN2))
    small = MATMUL.verification_workload(workload, config)
    blocks = {
        "M": 128 * chosen["tiles_m"],
        "K": 128 * chosen["tiles_k"],
        "N": 512 * chosen["tiles_n"],
    }
    assert (small.kernel, small.dtype) == (workload.kernel, dtype)
    for dim, size in small.sizes:
        assert blocks[dim] < size <= 2 * blocks[dim]  # not clamped, two iterations
        assert size % blocks[dim] == sizes[dim] % blocks[dim]


@pytest.mark.parametrize("block", ["tiles - 2", "tiles / 2", "'tiles'"])
def test_a_block_that_is_no_size_is_an_error(tmp_path: Path, block: str) -> None:
    definition: Definition = read(written(tmp_path, SPACE.replace("128*tiles", block)))
    workload = definition.workload({"M": 8, "N": 8})
    with pytest.raises(TunerError, match=r"copy\.toml: verification\.blocks\.M: .* is "):
        definition.verification_workload(workload, {"tiles": 2, "order": "mn"})


def test_a_kernel_file_is_no_search_space() -> None:
    with pytest.raises(TunerError, match=r"mm\.py is a kernel file: give the search space"):
        find("mm.py")


@pytest.mark.parametrize(
    "flops", ["'many'", "0 - M", "9**64 * 9**64 * 9**64 * 9**64 * 9**64", "1e400"]
)
def test_flops_that_are_no_number_are_an_error(tmp_path: Path, flops: str) -> None:
    lines = SPACE.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("flops"))
    lines[at] = f'flops = "{flops}"'
    definition = read(written(tmp_path, "\n".join(lines)))
    workload = definition.workload(dict.fromkeys(definition.dims, 128))
    with pytest.raises(TunerError, match=r"workload\.flops: "):
        definition.flops_of(workload)


def test_terms_may_not_multiply_without_limit(tmp_path: Path) -> None:
    terms = ['t0 = "M+M"'] + [f't{i} = "{"+".join([f"t{i - 1}"] * 40)}"' for i in range(1, 9)]
    text = SPACE + "\n[terms]\n" + "\n".join(terms) + "\n"
    with pytest.raises(TunerError, match="longer than 20000 characters without terms"):
        read(written(tmp_path, text))


def test_a_kernel_is_a_python_file(tmp_path: Path) -> None:
    text = SPACE.replace('file = "', 'file = "/etc/passwd" #', 1)
    with pytest.raises(TunerError, match=r"'/etc/passwd' is no Python file: expected NAME\.py"):
        read(written(tmp_path, text))
