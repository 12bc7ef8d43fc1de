"""What the compiler does, in its order: renaming, hoisting, spilling, memory."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.neuroncore.compiler.memory_programs import BANK_BYTES, Builder, programs, rules, small
from tuner.neuroncore import policy
from tuner.neuroncore.compiler.building import build
from tuner.neuroncore.compiler.memory import CapacityError, plan_memory
from tuner.neuroncore.compiler.rewriting import rewrite
from tuner.neuroncore.compiler.spilling import spill
from tuner.neuroncore.program import Program, Space

HBM, SBUF, PSUM = Space


def loop() -> Builder:
    """Three passes that load the same into a tile, a small one, and write another tile."""
    b = Builder()
    x, out = (b.tensor(HBM, 64, "argument", looped=False) for _ in range(2))
    results = b.tensor(SBUF, 64, "kernel.py:2", looped=False)
    work = b.tensor(SBUF, 64, "kernel.py:3")
    for _ in range(3):
        tile = b.tensor(SBUF, 64, "kernel.py:5")
        b.load(tile, x)
        b.add([work], [tile])
        b.add([(results, 0, 1, 0, 8)], [work])
    b.add([out], [results])
    return b


def test_a_policy_that_leaves_all_as_written_changes_nothing() -> None:
    program = loop().program()
    found = build(program, small(), rules())
    assert found.program is program
    moved = (found.spill_saved_bytes, found.spill_reloaded_bytes, found.reread_bytes)
    assert moved == (0, 0, 0)
    assert found.memory.sbuf_peak_bytes == 3 * 64


def test_renaming_hoisting_and_memory_follow_each_other() -> None:
    program = loop().program()
    program.line_of[1:9] = [1, 2, 0] * 2 + [1, 2]
    program = replace(program, lines=("a", "b", "c"))
    both = replace(rules(), renames=True, hoists=True)
    found = build(program, small(), both)
    assert len(found.program) == len(program) - 4  # loaded once, and so is what is computed from it
    assert len(found.program.space) == len(program.space) + 2  # two more working tiles
    assert found.memory.sbuf_peak_bytes == 2 * 64
    assert len(found.memory.first_bank) == len(found.program.space)


def test_what_is_spilled_fits() -> None:
    program = loop().program()
    found = build(program, small(128), rules("spill"))
    assert found.memory.sbuf_peak_bytes <= 128
    assert found.spill_saved_bytes > 0
    assert found.spill_reloaded_bytes > 0
    with pytest.raises(CapacityError, match="192 bytes per partition asked, 128 available"):
        build(program, small(128), rules("error"))
    assert build(program, small(128), rules("ignore")).memory.sbuf_peak_bytes == 192


def test_psum_that_does_not_fit_is_refused_whatever_the_policy() -> None:
    b = Builder()
    b.add([b.tensor(PSUM, BANK_BYTES) for _ in range(9)])
    for name in ("nki", "nki:guide", "beta1"):
        with pytest.raises(CapacityError, match="PSUM"):
            build(b.program(), small(), policy(name))


@settings(max_examples=60)
@given(
    programs(unit=8, loading=True),
    st.sampled_from([64, 200, 4096]),
    st.sampled_from(["error", "spill"]),
    st.booleans(),
    st.booleans(),
)
def test_it_is_its_steps_in_order(
    program: Program, sbuf: int, on_overflow: str, renames: bool, hoists: bool
) -> None:
    chosen = replace(rules(on_overflow), renames=renames, hoists=hoists)
    core = small(sbuf, banks=1000)
    try:
        spilled = spill(rewrite(program, core, chosen), core, chosen)
        expected = plan_memory(spilled.program, core, chosen)
    except CapacityError:
        with pytest.raises(CapacityError):
            build(program, core, chosen)
        return
    found = build(program, core, chosen)
    assert found.program.accesses.tolist() == spilled.program.accesses.tolist()
    assert found.memory.first_heir.tolist() == expected.first_heir.tolist()
    assert found.memory.bequeathers.tolist() == expected.bequeathers.tolist()
    assert found.memory.sbuf_peak_bytes == expected.sbuf_peak_bytes <= sbuf
    assert found.spill_saved_bytes == spilled.saved_bytes
    assert found.spill_reloaded_bytes == spilled.reloaded_bytes
    assert found.reread_bytes == spilled.reread_bytes
