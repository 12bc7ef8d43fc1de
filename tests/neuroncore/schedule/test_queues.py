"""Which engine, queue and window an instruction gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.neuroncore.programs import Builder, elementwise, load, matmul, store
from tuner.neuroncore import Policy, policy
from tuner.neuroncore.program import Engine, Space, Work
from tuner.neuroncore.schedule.queues import engine_of, engines_of, queues, trigger_of

HBM, SBUF, PSUM = Space
ANY, VECTOR, SCALAR, GPSIMD = Engine.ANY, Engine.VECTOR, Engine.SCALAR, Engine.GPSIMD
NKI = policy("nki")

DRAIN = elementwise(ANY, 64, SBUF, PSUM)
MOVE = elementwise(ANY, 64, SBUF, SBUF)
INTO_PSUM = elementwise(ANY, 64, PSUM, SBUF)
CLEAR = elementwise(ANY, 64, SBUF, opcode="memset")
SCALE = elementwise(ANY, 64, SBUF, SBUF, opcode="tensor_scalar")._replace(table="copy")
COMPARE = elementwise(ANY, 64, SBUF, SBUF, opcode="tensor_scalar")
SUM = elementwise(ANY, 64, SBUF, SBUF, SBUF, opcode="tensor_tensor")
CHOICES = {
    "copy_engine": [DRAIN],
    "move_engine": [MOVE, INTO_PSUM],
    "scale_engine": [SCALE],
    "memset_engine": [CLEAR],
}


@pytest.mark.parametrize("setting", CHOICES)
@pytest.mark.parametrize("engine", ["vector", "scalar", "gpsimd"])
def test_a_setting_settles_what_it_is_about_and_nothing_else(setting: str, engine: str) -> None:
    before = NKI
    after = replace(NKI, **{setting: engine})  # type: ignore[arg-type]
    for name, works in CHOICES.items():
        for work in works:
            if name == setting:
                assert engine_of(work, after) == Engine[engine.upper()]
            else:
                assert engine_of(work, after) == engine_of(work, before)
    for work in (SUM, COMPARE):
        assert engine_of(work, after) == VECTOR


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nki", (VECTOR, VECTOR, VECTOR, GPSIMD)),
        ("nki:guide", (VECTOR, VECTOR, VECTOR, VECTOR)),
        ("nki:as-written", (VECTOR, VECTOR, VECTOR, GPSIMD)),
        ("beta1", (SCALAR, SCALAR, SCALAR, GPSIMD)),
        ("beta1:2.20", (VECTOR, GPSIMD, SCALAR, GPSIMD)),
    ],
)
def test_engines_of_the_compilers(name: str, expected: tuple[Engine, ...]) -> None:
    chosen = policy(name)
    assert tuple(engine_of(work, chosen) for work in (DRAIN, MOVE, SCALE, CLEAR)) == expected
    assert engine_of(SUM, chosen) == engine_of(COMPARE, chosen) == VECTOR


@pytest.mark.parametrize("engine", [VECTOR, SCALAR, GPSIMD])
def test_an_engine_that_the_kernel_names_stays(engine: Engine) -> None:
    everything = replace(NKI, copy_engine="scalar", move_engine="scalar", scale_engine="scalar")
    for work in (DRAIN, MOVE, INTO_PSUM, CLEAR, SCALE, COMPARE, SUM):
        assert engine_of(work._replace(engine=engine), everything) == engine


def test_engines_that_no_policy_settles() -> None:
    assert engine_of(matmul(), NKI) == Engine.TENSOR
    assert engine_of(load(), NKI) == Engine.LOAD
    assert engine_of(store(), NKI) == Engine.STORE
    b = Builder()
    x, y = b.tensor(SBUF, 64), b.tensor(HBM, 64)
    b.add(load(), x, y)
    b.add(MOVE, x, x)
    b.add(store(), y, x)
    b.add(MOVE, x, x)
    assert engines_of(b.program(), NKI) == (Engine.LOAD, VECTOR, Engine.STORE)


def test_a_trigger_takes_the_time_of_who_makes_the_descriptors() -> None:
    expected = {("hwdge", SCALAR): SCALAR, ("swdge", GPSIMD): GPSIMD}
    for dge in ("unknown", "none", "hwdge", "swdge"):
        for trigger in (None, VECTOR, SCALAR, GPSIMD):
            work = load()._replace(dge=dge, trigger=trigger)
            found = trigger_of(work)
            assert found == (expected.get((dge, trigger)) if trigger is not None else None)
    assert trigger_of(matmul()) is None


def lanes(works: Sequence[Work], chosen: Policy) -> list[int]:
    b = Builder()
    x, y = b.tensor(SBUF, 64), b.tensor(SBUF, 64)
    for work in works:
        b.add(work, x, y)
    found: list[int] = queues(b.program(), chosen).lane.tolist()
    return found


def test_transfers_take_the_queues_of_their_direction_in_turn() -> None:
    chosen = replace(NKI, load_queues=3, store_queues=2)
    wide = load(run_bytes=64)  # another work takes the same turn
    works: list[Work] = [load(), store(), wide, load(), store(), MOVE, load(), store()]
    assert lanes(works, chosen) == [4, 7, 5, 6, 8, 1, 4, 7]
    assert lanes(works, replace(NKI, load_queues=1, store_queues=1)) == [4, 5, 4, 4, 5, 1, 4, 5]


def test_triggered_transfers_have_lanes_of_their_own() -> None:
    chosen = replace(NKI, load_queues=2, store_queues=1)
    by_scalar = load()._replace(dge="hwdge", trigger=SCALAR)
    by_gpsimd = store()._replace(dge="swdge", trigger=GPSIMD)
    assert lanes([load(), by_scalar, load(), by_gpsimd, load()], chosen) == [4, 7, 5, 8, 4]
    b = Builder()
    b.add(load(), b.tensor(SBUF, 64), b.tensor(HBM, 64))
    assert queues(b.program(), chosen).stream_of.tolist() == [0, 1, 2, 3, 4, 5, 6, 2, 3]


def test_windows_are_the_policy_s() -> None:
    chosen = replace(NKI, load_queues=1, store_queues=1, tensor_window=5, vector_window=3)
    assert queues(Builder().program(), chosen).window.tolist() == [5, 3, 3, 1, 1, 1]
