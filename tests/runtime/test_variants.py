"""Tables of kernels whose workloads have variants."""

from __future__ import annotations

from typing import Any

import pytest

from tests.runtime.small_table import VARIED, Open, join, with_records, with_variants
from tuner.runtime import TunerError


def test_a_variant_has_its_own_record(opened: Open) -> None:
    table = opened(VARIED)
    answer = table.lookup("copy", M=1024, N=512, how="add")
    assert (answer.match, answer.config["tiles"]) == ("exact", 4)
    assert answer.why.startswith("copy M=1024,N=512,how=add bfloat16 on trn2: simulated record M=")
    assert table.lookup("copy", M=1024, N=512).config["tiles"] == 8


def test_the_default_may_be_said_and_is_not_printed(opened: Open) -> None:
    answer = opened(VARIED).lookup("copy", M=1024, result="same", how="copy", N=512)
    assert (answer.match, answer.config["tiles"]) == ("exact", 8)
    assert answer.why == "copy M=1024,N=512 bfloat16 on trn2: simulated record M=1024,N=512"


def test_another_variant_is_never_near(opened: Open) -> None:
    table = opened(VARIED)
    near = table.lookup("copy", M=2048, N=512, how="add")
    assert (near.match, near.config["tiles"]) == ("nearest", 4)
    assert "nearest simulated record M=1024,N=512,how=add, 1.00 away" in near.why
    alone = table.lookup("copy", M=1024, N=512, result="wide", max_distance=99)
    assert (alone.match, alone.config) == ("default", {"tiles": 2, "order": "mn"})
    assert alone.why == (
        "copy M=1024,N=512,result=wide bfloat16 on trn2: the default config, because the table has "
        "records of other variants only; to tune it: nki-tuner tune copy --shape "
        "M=1024,N=512,result=wide --dtype bfloat16 --device trn2"
    )


def test_constraints_see_every_variant(opened: Open) -> None:
    illegal = with_variants(join(1024, {"tiles": 8, "order": "nm"}, how="add"))
    answer = opened(illegal).lookup("copy", M=1025, N=512, how="add")
    assert answer.match == "default"
    assert "is not legal here (two are too many)" in answer.why


def test_records_may_say_the_default(opened: Open) -> None:
    said = join(1024, {"tiles": 4, "order": "nm"}, how="copy", result="wide")
    (kept,) = opened(with_variants(said)).records
    assert kept.sizes == {"M": 1024, "N": 512, "result": "wide"}


def test_a_table_from_before_there_were_variants_takes_none(opened: Open) -> None:
    table = opened(with_records())
    assert table.kernels["copy"].variants == {}
    with pytest.raises(TunerError, match="unknown dim of copy: 'how'"):
        table.lookup("copy", M=1024, N=512, how="add")


@pytest.mark.parametrize("words", [[], "copy", [1], [["copy"]], {"copy": 1}, None])
def test_broken_variants_are_an_error(opened: Open, words: Any) -> None:
    data = with_variants()
    data["kernels"]["copy"]["variants"]["how"] = words
    with pytest.raises(TunerError, match="'copy': the values of variant 'how' are no words"):
        opened(data)


def test_a_record_of_an_unknown_variant_is_an_error(opened: Open) -> None:
    broken = with_variants(join(1024, {"tiles": 4}, how="ad"))
    with pytest.raises(TunerError, match="unknown value of copy's variant how: 'ad'; did you"):
        opened(broken)
