from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.runtime.errors import TunerError
from tuner.runtime.expressions import Expression
from tuner.space import find
from tuner.space.terms import MAX_TEXT, Terms


def test_terms_stand_for_their_expressions() -> None:
    terms = Terms({"tiles": "ceil_div(M, 128)", "bytes": "tiles*2 + 1"}, {"M"})
    text = terms.put_in("3*bytes <= device.bytes and word == 'bytes'")
    assert Expression(text, "").evaluate({"M": 300, "device.bytes": 21, "word": "bytes"})
    assert not Expression(text, "").evaluate({"M": 300, "device.bytes": 20, "word": "bytes"})


@given(st.integers(-9, 9), st.integers(-9, 9), st.integers(-9, 9))
def test_a_term_binds_as_if_in_brackets(a: int, b: int, c: int) -> None:
    text = Terms({"t": "a - b"}, set()).put_in("c*t - t")
    assert Expression(text, "").evaluate({"a": a, "b": b, "c": c}) == c * (a - b) - (a - b)


def test_texts_without_terms_stay_as_they_are() -> None:
    terms = Terms({"t": "1"}, set())
    assert terms.put_in("M  <=  2") == "M  <=  2"
    assert terms.put_in("M <=") == "M <="  # whoever reads the expression says what is wrong


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"M": "1"}, "terms.M: 'M' cannot be the name"),
        ({"a b": "1"}, "cannot be the name of a term"),
        ({"t": "1 +"}, "terms.t: '1 \\+' is no expression"),
    ],
)
def test_wrong_terms_are_named(texts: dict[str, str], message: str) -> None:
    with pytest.raises(TunerError, match=message):
        Terms(texts, {"M"})


def test_terms_that_grow_without_bound_are_refused() -> None:
    texts = {"t0": "M + M"} | {f"t{i}": f"t{i - 1}*t{i - 1}" for i in range(1, 30)}
    with pytest.raises(TunerError, match=f"longer than {MAX_TEXT}"):
        Terms(texts, {"M"})


def test_a_file_s_terms_reach_parameters_and_constraints(tmp_path: Path) -> None:
    source = Path(find("matmul").path)
    text = source.read_text()
    text = text.replace("[terms]", '[terms]\nm_all = "ceil_div(M, 128)"', 1)
    text += """
[[constraints]]
expr = "tiles_m <= m_all"
why = "made for a test"
"""
    folder = tmp_path / "spaces"
    folder.mkdir()
    path = folder / "matmul.toml"
    path.write_text(text)
    (tmp_path / "kernels").symlink_to(source.parent.parent / "kernels")
    constraint = find(str(path)).rules.constraints[-1]
    assert constraint.expr.names == {"tiles_m", "M"}
    path.write_text(text.replace("m_all =", "dtype ="))
    with pytest.raises(TunerError, match=r"matmul\.toml: terms\.dtype"):
        find(str(path))
