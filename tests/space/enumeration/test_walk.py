from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.runtime.small_rules import SCOPE, legal_configs, parameter, rules_of, small_rules
from tuner.runtime.errors import TunerError
from tuner.runtime.rules import Rules
from tuner.space import SearchSpace
from tuner.space.codes import INACTIVE, Radix
from tuner.space.enumeration import conditions, enumerate_codes, walk


def expected_codes(rules: Rules, radix: Radix) -> list[int]:
    rows = [
        [p.values.index(config[p.name]) if p.name in config else INACTIVE for p in rules.parameters]
        for config in legal_configs(rules, SCOPE)
    ]
    indices = np.array(rows, int).reshape(len(rows), len(rules.parameters))
    return sorted(radix.encode(indices).tolist())


@pytest.mark.parametrize("chunk", [1, 7, conditions.CHUNK])
@pytest.mark.parametrize("table", [0, 6, conditions.MAX_TABLE])
@given(rules=small_rules(), look_ahead=st.booleans(), trial=st.sampled_from([0, 10**9]))
def test_every_way_finds_exactly_the_legal_configs(
    chunk: int, table: int, rules: Rules, look_ahead: bool, trial: int
) -> None:
    radix = Radix(rules.parameters, np.array([p.when is not None for p in rules.parameters]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk, "CHUNK", chunk)
        patch.setattr(conditions, "CHUNK", chunk)
        patch.setattr(conditions, "MAX_TABLE", table)
        patch.setattr(conditions, "TRIAL", trial)
        patch.setattr(walk, "WORTH_A_LOOK_AHEAD", 0 if look_ahead else 1 << 15)
        found = enumerate_codes(rules, SCOPE, radix)
    assert found.tolist() == expected_codes(rules, radix)


def test_a_constraint_may_keep_another_from_a_division_by_zero() -> None:
    w, z = parameter("w", [1, 2, 3], 1), parameter("z", [0, 3], 3)
    space = SearchSpace(rules_of([w, z], "z + w > 3", "6 % z == 0"), SCOPE)
    assert [space.config(row)["z"] for row in range(len(space))] == [3, 3, 3]


def test_a_constraint_over_no_parameter_counts() -> None:
    p = parameter("p", [1, 2], 1)
    assert len(SearchSpace(rules_of([p], "K > 3"), SCOPE)) == 2
    with pytest.raises(TunerError, match="no config is valid here: 'K > 4'"):
        SearchSpace(rules_of([p], "K > 4"), SCOPE)


def test_a_billion_combinations() -> None:
    names = "abcdefghi"
    values = {name: list(range(1, 11)) for name in names}
    space = SearchSpace.of_values(values, [f"{' + '.join(names)} <= 11", "a * b % 2 == 0"])
    ones = [1] * 9
    expected = []
    for extra in (0, 1, 2):
        for places in itertools.combinations_with_replacement(range(9), extra):
            row = [one + places.count(i) for i, one in enumerate(ones)]
            if row[0] * row[1] % 2 == 0:
                expected.append(dict(zip(names, row, strict=True)))
    found = [space.config(row) for row in range(len(space))]
    assert sorted(map(str, found)) == sorted(map(str, expected))


def test_it_gives_up_where_constraints_decide_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "MAX_CANDIDATES", 100_000)
    values = {name: list(range(10)) for name in "abcdefgh"}
    with pytest.raises(TunerError, match=r"gave up after 1e\+05 partial configs: add constraints"):
        SearchSpace.of_values(values, ["(a + b + c + d + e + f + g + h) % 97 == 96"])


def test_too_many_rows_are_an_error_before_they_are_held() -> None:
    values = {name: list(range(10)) for name in "abcdefghi"}
    with pytest.raises(TunerError, match=r"more than 30000000 configs are valid \(of 1\.0e\+09 "):
        SearchSpace.of_values(values)
