from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.papi.costs import Costs
from tuner.papi.decode import FINEST, Speculation, decode, steps_of
from tuner.papi.models import model
from tuner.papi.policies import NEVER, Policy, always
from tuner.papi.serving import Arrivals, Server, arrivals, serve
from tuner.papi.systems import system
from tuner.papi.traces import Batches, trace
from tuner.runtime.errors import TunerError

PAPI = Costs(system("papi"), model("llama-65b"))
SLOW = Costs(msgspec.structs.replace(system("papi"), reschedule_us=2000.0), model("llama-65b"))


def asked(*requests: tuple[float, int, int]) -> Arrivals:
    at, lin, lout = zip(*requests, strict=True)
    return Arrivals(np.array(at, float) * 1e6, np.array(lin), np.array(lout))


def plainly(costs: Costs, requests: Arrivals, server: Server, policy: Policy) -> Any:
    """The same in plain words: lists of requests instead of slots and tables."""
    coming = [
        {"at": at, "prompt": int(lin), "context": float(lin), "left": float(lout), "n": i}
        for i, (at, lin, lout) in enumerate(
            zip(requests.at_ns, requests.lin, requests.lout, strict=True)
        )
    ]
    waiting: list[Any] = []
    live: list[Any] = []
    clock, taken_ns, rows_of, units, latency = 0.0, [], [], [], {}
    unit, kept = None, 0
    while coming or waiting or live:
        while coming and coming[0]["at"] <= clock and len(waiting) + len(live) < server.slots:
            waiting.append(coming.pop(0))
        if not waiting and not live:
            clock = coming[0]["at"]
            continue
        chunk, ready = 0, []
        while waiting and chunk < server.chunk:
            part = min(waiting[0]["prompt"], server.chunk - chunk)
            chunk += part
            waiting[0]["prompt"] -= part
            if waiting[0]["prompt"]:
                break
            ready.append(waiting.pop(0))
        tried = policy.tlp(len(live)) if live else 0
        rows = len(live) * tried + chunk
        taken = 0.0
        if unit is None:
            unit = "gpu" if rows > policy.alpha_up else "pim"
        else:
            wants = rows <= policy.alpha_down if unit == "gpu" else rows > policy.alpha_up
            if wants and kept >= policy.dwell:
                unit, kept = ("pim" if unit == "gpu" else "gpu"), 0
                taken += costs.system.reschedule_us * 1e3
        kept += 1
        taken += float(costs.fc_ns(unit, rows) + costs.communication_ns(rows))
        if live:
            length = sum(each["context"] for each in live) / len(live)
            taken += float(costs.attention_ns(len(live), tried, length))
        clock += taken
        taken_ns.append(taken)
        rows_of.append(rows)
        units.append(unit == "gpu")
        for each in live:
            each["left"] -= tried
            each["context"] += tried
            if each["left"] <= 0:
                latency[each["n"]] = clock - each["at"]
        live = [each for each in live if each["left"] > 0] + ready
    return taken_ns, rows_of, units, [latency[i] for i in sorted(latency)]


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 60), st.integers(1, 30), st.integers(1, 12)),
        min_size=1,
        max_size=25,
    ),
    st.integers(1, 8),
    st.sampled_from([1, 5, 40]),
    st.integers(0, 20),
    st.integers(0, 10),
    st.sampled_from([0, 1, 4]),
    st.sampled_from([1, 2, 4]),
)
def test_it_is_the_plain_loop(
    requests: list[tuple[int, int, int]],
    slots: int,
    chunk: int,
    down: int,
    band: int,
    dwell: int,
    tried: int,
) -> None:
    given_ = asked(*sorted(requests))
    server, policy = Server(slots, chunk), Policy(down + band, down, dwell, ((NEVER, tried),))
    found = serve(SLOW, given_, server, policy)
    taken, rows, units, latency = plainly(SLOW, given_, server, policy)
    assert found.rows.tolist() == rows
    assert found.on_gpu.tolist() == units
    assert found.iteration_ns == pytest.approx(taken)
    assert found.latency_ns == pytest.approx(latency)
    assert found.changes == sum(a != b for a, b in pairwise(units))


def test_who_come_together_with_room_for_all_decode_as_a_batch() -> None:
    lout = np.array([3, 5, 9, 9])
    together = Arrivals(np.zeros(4), np.full(4, 10), lout)
    served = serve(PAPI, together, Server(4, 40), Policy(6, 6, 0, ((NEVER, 2),)))
    batch = decode(
        PAPI, steps_of(Batches(np.full((1, 4), 10), lout[None]), lambda _: 2), Policy(6, 6)
    )
    assert served.iteration_ns[1:] == pytest.approx(batch.iteration_ns)
    assert served.iteration_ns[0] == pytest.approx(
        PAPI.fc_ns("gpu", 40) + PAPI.communication_ns(40)
    )
    assert served.tokens == batch.tokens


def test_rows_never_exceed_slots_and_chunk_and_everybody_is_served() -> None:
    many = arrivals(trace("open_qa"), 300, per_s=20.0, seed=3)
    served = serve(PAPI, many, Server(16, 64), Policy(36, 36, 0, ((NEVER, 2),)))
    assert served.rows.max() <= 16 * 2 + 64
    assert (served.latency_ns > 0).all()
    assert served.busy_ns <= served.end_ns
    assert served.energy_pj > 0
    alone = Costs(system("pim_only_papi"), PAPI.model)
    assert not serve(alone, many, Server(16, 64), Policy(0, 0)).on_gpu.any()
    assert serve(PAPI, many, Server(16, 64), always("gpu")).on_gpu.all()


def test_hysteresis_changes_less_often() -> None:
    many = arrivals(trace("creative_writing"), 400, per_s=15.0, seed=1)
    often, seldom = (
        serve(SLOW, many, Server(64, 16), Policy(36 + band, 36)).changes for band in (0, 8)
    )
    assert seldom < often


def test_speculation_that_is_seldom_right_serves_later() -> None:
    many = arrivals(trace("open_qa"), 40, per_s=5.0)
    good, bad = (
        serve(PAPI, many, Server(8), Policy(36, 36, 0, ((NEVER, 4),)), Speculation(beta)).end_ns
        for beta in (1.0, 0.2)
    )
    assert good < bad
    assert Speculation(0.2).parts(4) < 4 * FINEST


@pytest.mark.parametrize("per_s", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_told(per_s: float) -> None:
    with pytest.raises(TunerError, match="arrivals a second = "):
        arrivals(trace("open_qa"), 3, per_s)


def test_wrong_servers_and_requests_without_room_are_told() -> None:
    with pytest.raises(TunerError, match="slots = 0: expected 1 to 4096"):
        Server(0)
    with pytest.raises(TunerError, match="chunk = 100000: expected 1 to 16384"):
        Server(4, 100_000)
    with pytest.raises(TunerError, match="a request has 500,001 tokens, there is room"):
        serve(PAPI, asked((0, 1, 500_000)), Server(1), Policy(0, 0))
