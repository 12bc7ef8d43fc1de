"""Search spaces whose workloads have variants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.backends.variant_kernel import SPACE, write_variants
from tuner.runtime.errors import TunerError
from tuner.space import Argument, Definition, SearchSpace, read


@pytest.fixture
def join(tmp_path: Path) -> Definition:
    return read(write_variants(tmp_path))


def sizes(**variants: str) -> dict[str, int | str]:
    return {"M": 200, "N": 300, **variants}


def test_the_first_word_is_the_default_and_not_printed(join: Definition) -> None:
    plain = join.workload(sizes(how="copy", result="same"))
    assert plain == join.workload(sizes())
    assert str(plain) == "join M=200,N=300 bfloat16"
    wide = join.workload(sizes(result="wide", how="add"))
    assert str(wide) == "join M=200,N=300,how=add,result=wide bfloat16"
    assert join.variants_of(plain) == {"how": "copy", "result": "same"}
    assert join.variants_of(wide) == {"how": "add", "result": "wide"}


def test_tensors_depend_on_the_variant(join: Definition) -> None:
    x, rest = (Argument(name, (200, 300), "bfloat16") for name in ("x", "rest"))
    plain, both = join.workload(sizes()), join.workload(sizes(how="add", result="wide"))
    assert join.arguments(plain) == (x,)
    assert join.arguments(both) == (x, rest)
    assert join.bytes_moved_at_least(plain) == 200 * 300 * (2 + 2)
    assert join.bytes_moved_at_least(both) == 200 * 300 * (2 + 2 + 4)


def test_flops_depend_on_the_variant(join: Definition) -> None:
    assert join.flops_of(join.workload(sizes())) == 0
    assert join.flops_of(join.workload(sizes(how="scale"))) == 200 * 300


def test_flops_may_depend_on_the_dtype(tmp_path: Path) -> None:
    path = write_variants(tmp_path)
    path.write_text(SPACE.replace("\"M*N*(how != 'copy')\"", '"M*dtype_bytes"'))
    join = read(path)
    assert join.flops_of(join.workload(sizes(), "float8_e4m3")) == 200


def test_valid_configs_depend_on_the_variant(join: Definition) -> None:
    def columns(**variants: str) -> set[Any]:
        workload = join.workload({"M": 256, "N": 512, **variants})
        space = SearchSpace(join.rules, join.scope(workload, {}))
        return {space.config(row)["columns"] for row in range(len(space))}

    assert columns() == {64, 128, 256, 512}
    assert columns(how="add") == {64, 128, 256}
    assert columns(result="wide") == {64, 128, 256, 512}


def test_a_parameter_may_have_a_value_for_one_variant_only(join: Definition) -> None:
    plain = join.rules.complete({}, join.scope(join.workload(sizes()), {}))
    scaled = join.rules.complete({}, join.scope(join.workload(sizes(how="scale")), {}))
    assert scaled == {**plain, "fault": "none"}


def test_the_verification_workload_is_of_the_same_variant(join: Definition) -> None:
    workload = join.workload(sizes(how="add", result="wide"), "float32")
    small = join.verification_workload(workload, {"columns": 64, "buffers": 1})
    assert str(small) == "join M=200,N=172,how=add,result=wide float32"


def test_words_beside_other_names_are_no_mistake(tmp_path: Path) -> None:
    path = write_variants(tmp_path)
    path.write_text(SPACE.replace("or how == 'copy'", "or buffers == 2*(how == 'add')"))
    assert read(path).rules.constraints[0].expr.names == {"columns", "N", "buffers", "how"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('["same", "wide"]', "[]", "workload.variants.result: expected at least one word"),
        ('["same", "wide"]', '["a", "a"]', "workload.variants.result: .*each once"),
        ('["same", "wide"]', '["a b"]', "workload.variants.result: 'a b' is no word"),
        ('["same", "wide"]', '["1"]', "workload.variants.result: '1' is no word"),
        ('["same", "wide"]', "[1]", r"Expected `str`, got `int` - at `\$.workload.variants"),
        ("{ how", "{ M", "'M' is both a dim and a variant"),
        ("{ how", "{ buffers", "'buffers' is both a variant and a parameter"),
        ("{ how", "{ dtype", "'dtype' cannot be the name of a dim, variant or parameter"),
        ("{ x =", "{ how =", "'how' is both an input and a variant"),
        ("{ x =", "{ columns =", "'columns' is both an input and a parameter"),
        ("] if how !=", "] if who !=", "name in the condition of rest: 'who'; did you mean how"),
        ("] if how != 'copy'", "] if how !=", "rest: 'how !=' is not an expression"),
        ("] if how != 'copy'", "] when how", "rest = .*: expected something like"),
        ("] if how != 'copy'", "] if columns > 64", "name in the condition of rest: 'columns'"),
        ('["float32[M,N] if result == \'wide\'", "dtype[M,N]"]', "[]", "out = .*at least one"),
        ("32[M,N] if result == 'wide'", "32[M,N]", "'dtype.M,N.' is never chosen, 'float32.M,N.'"),
        ("float32[M,N] if", "float[M,N] if", "unknown dtype of out: 'float'"),
        (
            "] if how != 'copy'",
            "] if how != 'cpy'",
            "value of how in the condition of rest: 'cpy'; did",
        ),
        (
            "\"how == 'scale'\"",
            "\"how in ('scal', 'add')\"",
            "how in parameters.fault.when: 'scal'; did",
        ),
        (
            "or how == 'copy'",
            "or 'ad' == how",
            r"how in constraints\[0\].expr: 'ad'; did you mean add",
        ),
        (
            "or how == 'copy'",
            "or columns == 'x'",
            "value of columns in .*: 'x' .known: 64, 128, 256",
        ),
        ("*(how != 'copy')", "*(how != 'cop')", "value of how in workload.flops: 'cop'; did you"),
        (
            "result == 'wide'))",
            "result == 'wid'))",
            "of result in verification.blocks.N: 'wid'; did",
        ),
    ],
    ids=lambda text: text[:24],
)
def test_a_broken_file_is_one_line_with_file_and_place(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert SPACE.count(old) == 1
    path = write_variants(tmp_path)
    path.write_text(SPACE.replace(old, new))
    with pytest.raises(TunerError, match=rf"join\.toml: .*{message}") as caught:
        read(path)
    assert "\n" not in str(caught.value)
