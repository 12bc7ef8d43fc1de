from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.papi.closed_form import crossing_alpha, tokens_to_try
from tuner.papi.costs import Costs
from tuner.papi.decode import CERTAIN, FINEST, Speculation, decode, steps_of
from tuner.papi.models import model
from tuner.papi.oracle import oracle_ns
from tuner.papi.policies import Policy, always
from tuner.papi.systems import system
from tuner.papi.traces import Batches, Trace, trace, trace_names
from tuner.runtime.errors import TunerError

PAPI = Costs(system("papi"), model("llama-65b"))
TRIES = (1, 2, 3, 4, 6, 8)
ALPHA = crossing_alpha(PAPI)


def batches(*louts: int, lin: int = 10) -> Batches:
    lout = np.sort(np.array([louts]))
    return Batches(np.full_like(lout, lin), lout)


requests = st.lists(st.integers(1, 40), min_size=1, max_size=12)


def test_requests_leave_as_their_responses_end() -> None:
    steps = steps_of(batches(2, 3, 3), lambda _: 1)
    assert steps.rlp.tolist() == [3, 3, 2]
    assert steps.rows.tolist() == [3, 3, 2]
    assert steps.length.tolist() == [10, 11, 12]
    assert (steps.prompts.tolist(), steps.tokens.tolist()) == ([30], [8])


def test_speculation_that_is_always_right_takes_as_many_steps_less() -> None:
    steps = steps_of(batches(9), lambda _: 4)
    assert (len(steps.rlp), steps.rows.tolist()) == (3, [4, 4, 4])


def test_acceptance_is_the_expected_number_of_tokens() -> None:
    assert Speculation(0.5).parts(3) == round(1.75 * FINEST)
    assert Speculation(1.0).parts(3) == 3 * FINEST
    assert Speculation(1e-9).parts(8) == FINEST


@given(requests, st.sampled_from(TRIES), st.sampled_from([0.3, 0.8, 1.0]))
def test_every_token_is_made_and_no_step_is_without_a_request(
    louts: list[int], tlp: int, acceptance: float
) -> None:
    speculation = Speculation(acceptance)
    steps = steps_of(batches(*louts), lambda _: tlp, speculation)
    step = speculation.parts(tlp)
    for lout in louts:
        live = -(-lout * FINEST // step)
        assert live <= len(steps.rlp)
    expected = [
        sum(lout * FINEST > index * step for lout in louts) for index in range(len(steps.rlp))
    ]
    assert steps.rlp.tolist() == expected


@given(st.lists(requests.filter(lambda each: len(each) > 0), min_size=2, max_size=3))
def test_batches_are_decoded_one_after_the_other(many: list[list[int]]) -> None:
    size = min(map(len, many))
    lout = np.sort(np.array([each[:size] for each in many]), axis=1)
    together = decode(PAPI, steps_of(Batches(lout * 2, lout), lambda _: 2), Policy(6, 6))
    alone = [
        decode(PAPI, steps_of(Batches(row[None] * 2, row[None]), lambda _: 2), Policy(6, 6))
        for row in lout
    ]
    assert together.decode_ns == pytest.approx(sum(each.decode_ns for each in alone))
    assert together.energy_pj == pytest.approx(sum(each.energy_pj for each in alone))
    assert together.changes == sum(each.changes for each in alone)


@given(st.lists(st.integers(0, 60), min_size=1, max_size=40), st.integers(0, 40), st.data())
def test_hysteresis_and_dwell_are_the_obvious_loop(
    rows: list[int], down: int, data: st.DataObject
) -> None:
    up, dwell = data.draw(st.integers(down, 60)), data.draw(st.integers(0, 5))
    found = Policy(up, down, dwell).on_gpu(np.array(rows)).tolist()
    expected, gpu, kept = [], rows[0] > up, 0
    for n in rows:
        wants = n > up if not gpu else n > down
        if wants != gpu and kept >= dwell and kept > 0:
            gpu, kept = wants, 0
        expected.append(gpu)
        kept += 1
    assert found == expected


def test_a_policy_that_cannot_be_is_told() -> None:
    with pytest.raises(TunerError, match="alpha_down = 5: expected 0 to alpha_up = 4"):
        Policy(4, 5)
    with pytest.raises(TunerError, match="dwell = -1: expected 0 or more"):
        Policy(4, 4, -1)
    for numbers in ((), ((8, 1), (4, 2)), ((4, 1), (4, 2)), ((0, 1),)):
        with pytest.raises(TunerError, match="expected rising live requests"):
            Policy(4, 4, 0, numbers)
    with pytest.raises(TunerError, match="tlp_by_rlp: 0 tokens: expected 1 to 1024"):
        Policy(4, 4, 0, ((8, 0),))
    with pytest.raises(TunerError, match=r"acceptance = 1\.5"):
        Speculation(1.5)
    with pytest.raises(TunerError, match="draft_share = nan"):
        Speculation(draft_share=float("nan"))


def least_by_trying_all(costs: Costs, lout: list[int], speculation: Speculation) -> float:
    """All sequences of units and tries, one iteration after the other."""
    step = {tlp: speculation.parts(tlp) for tlp in (1, 2)}
    order = sorted(lout)

    def rest(at: int, before: str | None) -> float:
        live = sum(each * FINEST > at for each in order)
        if not live:
            return 0.0
        found = []
        for tlp, unit in itertools.product((1, 2), ("gpu", "pim")):
            rows = live * tlp
            taken = costs.fc_ns(unit, rows) + costs.communication_ns(rows)
            taken += costs.attention_ns(live, tlp, 10 + at / FINEST)
            cheap = min(costs.fc_ns("gpu", live), costs.fc_ns("pim", live))
            taken += (tlp - 1) * speculation.draft_share * cheap
            if before not in (None, unit):
                taken += costs.system.reschedule_us * 1e3
            found.append(float(taken) + rest(at + step[tlp], unit))
        return min(found)

    return rest(0, None)


@settings(max_examples=20)
@given(
    st.lists(st.sampled_from([1, 2, 3, 4]), min_size=1, max_size=30),
    st.sampled_from([0.0, 5.0, 1e4]),
    st.sampled_from([0.4, 1.0]),
)
def test_the_oracle_is_the_least_of_all_ways(
    lout: list[int], reschedule_us: float, acceptance: float
) -> None:
    moving = msgspec.structs.replace(system("papi"), reschedule_us=reschedule_us)
    costs, speculation = Costs(moving, model("llama-65b")), Speculation(acceptance, 0.02)
    found = oracle_ns(costs, batches(*lout), (1, 2), speculation)
    assert found == pytest.approx(least_by_trying_all(costs, lout, speculation), rel=1e-9)


@settings(max_examples=30)
@given(
    requests,
    st.sampled_from(TRIES),
    st.integers(0, 80),
    st.sampled_from([0.6, 0.9, 1.0]),
    st.sampled_from([0.0, 20_000.0]),
)
def test_no_policy_beats_the_oracle(
    louts: list[int], tlp: int, alpha: int, acceptance: float, reschedule_us: float
) -> None:
    moving = msgspec.structs.replace(system("papi"), reschedule_us=reschedule_us)
    costs, speculation = Costs(moving, model("llama-65b")), Speculation(acceptance, 0.02)
    steps = steps_of(batches(*louts), lambda _: tlp, speculation)
    taken = decode(costs, steps, Policy(alpha, alpha), speculation).decode_ns
    assert oracle_ns(costs, batches(*louts), TRIES, speculation) <= taken * (1 + 1e-9)


@pytest.mark.parametrize("equal", [True, False])
def test_where_changing_is_free_the_crossing_has_no_regret(equal: bool) -> None:
    given_ = trace("creative_writing").batches(16, 4, seed=2, equal=equal)
    taken = decode(PAPI, steps_of(given_, lambda _: 4), Policy(ALPHA, ALPHA)).decode_ns
    assert taken == pytest.approx(oracle_ns(PAPI, given_, (4,)), rel=1e-9)


def test_units_that_are_never_left_are_the_systems_that_lack_the_other() -> None:
    steps = steps_of(trace("open_qa").batches(16, 2), lambda _: 2)
    alone = decode(Costs(system("pim_only_papi"), PAPI.model), steps, Policy(0, 0))
    assert not alone.on_gpu.any()
    assert decode(PAPI, steps, always("pim")).decode_ns == pytest.approx(alone.decode_ns)
    assert decode(PAPI, steps, always("gpu")).on_gpu.all()


def test_the_same_numbers_draw_the_same_batches() -> None:
    first, again = (trace("open_qa").batches(8, 3, seed=5) for _ in range(2))
    assert np.array_equal(first.lout, again.lout)
    assert not np.array_equal(first.lout, trace("open_qa").batches(8, 3, seed=6).lout)
    equal = trace("open_qa").batches(8, 3, seed=5, equal=True)
    assert np.array_equal(equal.lout[:, 0], np.rint(first.lout.mean(axis=1)))


def test_the_shipped_traces_are_what_was_counted() -> None:
    assert trace_names() == ["creative_writing", "open_qa"]
    assert [len(trace(name).lin) for name in trace_names()] == [709, 3742]
    assert trace("creative_writing").lout.mean() == pytest.approx(221.8, abs=0.1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a line with the names of the columns"),
        ("# only a remark\n", "expected a line with the names"),
        ("lin,tokens\n1,2\n", "lacks the column lout, has lin, tokens"),
        ("lin,lout\n", "0 requests: expected 1 to 1,000,000"),
        ("lin,lout\n3,x\n", r"line 2: lout = 'x': expected 1 to 1,000,000 tokens"),
        ("lin,lout\n3,4\n-3,4\n", r"line 3: lin = '-3'"),
        ("lin,lout\n3,0\n", r"lout = '0'"),
        ("lin,lout\n3,1000001\n", r"lout = '1000001'"),
        ("lin,lout\n3," + "9" * 5000 + "\n", r"lout = '9{40}'"),
        ("lin,lout\n3,4,5\n", "line 2: 3 columns, expected 2"),
        ('lin,lout\n3,"4\n', "unexpected end of data"),
    ],
)
def test_a_wrong_trace_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(TunerError, match=message) as raised:
        trace(str(path))
    assert "\n" not in str(raised.value)


def test_a_trace_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("user,lout,lin\n# nobody\nme,4,3\nyou, 6 ,5\n")
    mine = trace(str(path))
    assert isinstance(mine, Trace)
    assert (mine.lin.tolist(), mine.lout.tolist()) == ([3, 5], [4, 6])
    with pytest.raises(TunerError, match="unknown trace 'open'; did you mean open_qa"):
        trace("open")
    assert CERTAIN.acceptance == 1


@given(st.sampled_from([0.5, 0.8, 1.0]), st.integers(1, 40), st.integers(1, 500))
def test_the_tokens_to_try_are_the_best_of_one_iteration(
    acceptance: float, requests: int, length: int
) -> None:
    speculation = Speculation(acceptance, 0.02)
    table = tokens_to_try(PAPI, speculation, TRIES, requests, length)
    assert [most for most, _ in table] == sorted({most for most, _ in table})
    assert table[-1][0] == requests
    policy = Policy(ALPHA, ALPHA, tlp_by_rlp=table)

    def per_token(live: int, tlp: int) -> float:
        quick = min(PAPI.fc_ns(unit, live * tlp) for unit in ("gpu", "pim"))
        draft = 0.02 * min(PAPI.fc_ns(unit, live) for unit in ("gpu", "pim")) * (tlp - 1)
        others = PAPI.communication_ns(live * tlp) + PAPI.attention_ns(live, tlp, length)
        return float(quick + draft + others) / speculation.parts(tlp)

    for live in {1, requests // 2 + 1, requests}:
        least = min(per_token(live, tlp) for tlp in TRIES)
        assert per_token(live, policy.tlp(live)) == pytest.approx(least)
