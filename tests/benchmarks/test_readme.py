from __future__ import annotations

import pytest

from benchmarks.readme import written

BEGIN, END = "<!-- printed by one -->", "<!-- end of one -->"


def test_only_what_stands_between_the_markers_is_written() -> None:
    other = "<!-- printed by two -->\nkept\n<!-- end of two -->\n"
    before = f"a\n{BEGIN}\nold\n{END}\n{other}"
    assert written(before, "new\n", "one") == f"a\n{BEGIN}\n\nnew\n\n{END}\n{other}"


def test_missing_markers_are_named() -> None:
    with pytest.raises(ValueError, match="expected the lines '<!-- printed by one -->'"):
        written("a", "new", "one")
