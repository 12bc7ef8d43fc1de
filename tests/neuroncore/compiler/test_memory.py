from __future__ import annotations

from itertools import count, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.neuroncore.compiler.memory_programs import BANK_BYTES, Builder, programs, rules, small
from tuner.neuroncore import Policy
from tuner.neuroncore.compiler.memory import CapacityError, MemoryPlan, live_ranges, plan_memory
from tuner.neuroncore.program import TENSOR, Program, Space

HBM, SBUF, PSUM = Space


def plan(builder: Builder, sbuf: int = 4096, depth: int = 2, banks: int = 8) -> MemoryPlan:
    return plan_memory(builder.program(), small(sbuf, banks), rules(depth=depth))


def heirs(found: MemoryPlan) -> dict[int, list[int]]:
    """The tensors that take over memory, each with those it takes it from."""
    lists = [found.bequeathers[a:b].tolist() for a, b in pairwise(found.first_heir)]
    return {t: sorted(those) for t, those in enumerate(lists) if those}


def test_too_much_sbuf_is_refused_with_numbers() -> None:
    b = Builder()
    x = b.tensor(SBUF, 3000, "mlp.py:10", "weights")
    y = b.tensor(SBUF, 1001, "mlp.py:11")
    z = b.tensor(SBUF, 96, "mlp.py:12", "bias")
    b.add([x], [y, z])
    with pytest.raises(CapacityError) as caught:
        plan(b, 4096)
    assert str(caught.value) == (
        "out of memory in SBUF: 4100 bytes per partition asked, 4096 available; "
        "largest: weights 3000 (mlp.py:10), tensor 1004 (mlp.py:11), bias 96 (mlp.py:12)"
    )
    assert (caught.value.space, caught.value.asked_bytes, caught.value.available_bytes) == (
        SBUF,
        4100,
        4096,
    )
    assert plan(b, 4100).sbuf_peak_bytes == 4100


def test_what_is_asked_is_the_most_of_all_instructions() -> None:
    b = Builder()
    b.add([b.tensor(SBUF, 5000)])
    b.add([b.tensor(SBUF, 7000, "mlp.py:7"), b.tensor(SBUF, 8)])
    b.add([b.tensor(SBUF, 6000)])
    with pytest.raises(CapacityError, match=r"7008 bytes .*; largest: tensor 7000 \(mlp.py:7\)"):
        plan(b)


def test_too_much_psum_is_refused_in_whole_banks() -> None:
    b = Builder()
    for bank in range(9):
        b.tensor(PSUM, 4, f"mlp.py:{bank}")
    b.add(range(3))
    b.add(range(3, 6))
    b.add(range(6, 9), [0])
    assert plan(b).psum_peak_bytes == 4 * 2048
    b.add(range(9))
    message = r"PSUM: 18432 bytes per partition asked, 16384 available; largest: tensor 2048"
    for on_overflow in ("error", "spill"):
        with pytest.raises(CapacityError, match=message):
            plan_memory(b.program(), small(), rules(on_overflow))
    assert plan_memory(b.program(), small(), rules("ignore")).psum_peak_bytes == 18432


def test_ignored_overflow_gets_room_and_rotates() -> None:
    b = Builder()
    for _ in range(5):
        b.add([b.tensor(SBUF, 3000)])
        b.add([b.tensor(SBUF, 5000, "kernel.py:4")])
    found = plan_memory(b.program(), small(4096), rules("ignore"))
    assert found.sbuf_peak_bytes == 5000
    assert heirs(found)[2] == [0]
    with pytest.raises(CapacityError):
        plan(b, 4096)


def test_allocation_in_a_loop_rotates_over_two_buffers() -> None:
    b = Builder()
    for _ in range(5):
        t = b.tensor(SBUF, 100)
        b.add([t], [t])
    assert heirs(plan(b)) == {2: [0], 3: [1], 4: [2]}
    assert heirs(plan(b, depth=3)) == {3: [0], 4: [1]}
    at_least_four = rules(depth=2, buffers_min=4)
    assert heirs(plan_memory(b.program(), small(), at_least_four)) == {4: [0]}


def test_allocation_outside_all_loops_is_one_buffer() -> None:
    b = Builder()
    for _ in range(3):
        b.add([b.tensor(SBUF, 100, looped=False), b.tensor(PSUM, 100, "kernel.py:4", looped=False)])
    many = rules(depth=3, buffers_min=4)
    assert heirs(plan_memory(b.program(), small(), many)) == {2: [0], 3: [1], 4: [2], 5: [3]}
    b.add(reads=[0, 2])
    assert heirs(plan_memory(b.program(), small(), many)) == {3: [1], 5: [3]}


def test_rotation_counts_from_what_is_live_at_once() -> None:
    b = Builder()
    tiles = [b.tensor(SBUF, 100) for _ in range(6)]
    for a, c in pairwise(tiles):
        b.add([c], [a])
    assert heirs(plan(b)) == {4: [0], 5: [1]}


def test_rotation_needs_room() -> None:
    b = Builder()
    for _ in range(3):
        b.add([b.tensor(SBUF, 3000)])
    assert heirs(plan(b, 4096)) == {1: [0], 2: [1]}


def test_different_places_keep_their_memory_while_there_is_more() -> None:
    b = Builder()
    for line in range(8):
        b.add([b.tensor(SBUF, 512, f"kernel.py:{line}", looped=False)])
    assert heirs(plan(b, 4096)) == {}
    assert heirs(plan(b, 3584)) == {7: [0]}


def test_large_tensor_takes_over_several_small_ones() -> None:
    b = Builder()
    for line in range(4):
        b.add([b.tensor(SBUF, 1024, f"kernel.py:{line}")])
    b.add([b.tensor(SBUF, 2560, "kernel.py:9")])
    assert heirs(plan(b, 4096)) == {4: [0, 1, 2]}


def one_by_one(sizes: list[int]) -> Builder:
    """Tensors of different places, each gone when the next one comes."""
    b = Builder()
    for line, size in enumerate(sizes):
        b.add([b.tensor(SBUF, size, f"kernel.py:{line}")])
    return b


def test_large_tensor_takes_a_piece_that_is_enough_before_small_ones() -> None:
    sizes = [512, 1024, 2048, 512]  # 4096 in all
    assert heirs(plan(one_by_one([*sizes, 1024]), 4096)) == {4: [1]}
    assert heirs(plan(one_by_one([*sizes, 1028]), 4096)) == {4: [2]}
    assert heirs(plan(one_by_one([*sizes, 2052]), 4096)) == {4: [0, 1, 2]}
    assert heirs(plan(one_by_one([*sizes, 1024, 1536, 512]), 4096)) == {4: [1], 5: [2], 6: [0]}


def test_what_is_left_of_a_piece_may_be_enough() -> None:
    assert heirs(plan(one_by_one([512, 3584, 2048, 1536, 512]), 4096)) == {
        2: [1],
        3: [1],
        4: [0],
    }


def test_fresh_memory_goes_before_a_piece() -> None:
    assert heirs(plan(one_by_one([512, 2048, 1024, 1024]), 4096)) == {3: [0]}


@pytest.mark.parametrize(("small_ones", "taken"), [(63, [63]), (64, [*range(64)])])
def test_a_piece_is_looked_for_among_the_oldest_64(small_ones: int, taken: list[int]) -> None:
    """The large piece is the next one after so many small ones of 4 bytes each."""
    sizes = [*[4] * small_ones, 4096]
    b = one_by_one([*sizes, 256])
    assert heirs(plan(b, sum(sizes))) == {len(sizes): taken}


def test_pieces_of_which_nothing_is_left_do_not_count() -> None:
    sizes = [*[4] * 64, 4096]
    b = one_by_one([*sizes, 4, 256])  # the first of the small ones is gone
    assert heirs(plan(b, sum(sizes))) == {65: [0], 66: [64]}


def test_memory_is_taken_over_once() -> None:
    b = Builder()
    for _ in range(3):
        b.add([b.tensor(SBUF, 1024)])
    b.add([b.tensor(SBUF, 4096, "kernel.py:9")])
    assert heirs(plan(b, 4096)) == {2: [0], 3: [1, 2]}


def test_untouched_tensors_and_hbm_take_no_memory() -> None:
    b = Builder()
    b.tensor(SBUF, 1 << 20)
    b.tensor(PSUM, 1 << 20)
    b.add([b.tensor(SBUF, 8)], [b.tensor(HBM, 1 << 30)])
    found = plan(b)
    assert (found.sbuf_peak_bytes, found.psum_peak_bytes) == (8, 0)
    assert found.first_bank.tolist() == [-1, -1, -1, -1]
    first, last = live_ranges(b.program())
    assert (first.tolist(), last.tolist()) == ([1, 1, 0, 0], [-1, -1, 0, 0])


def test_empty_program_takes_no_memory() -> None:
    found = plan(Builder())
    assert (found.sbuf_peak_bytes, found.psum_peak_bytes, heirs(found)) == (0, 0, {})


def test_psum_tensors_rotate_over_banks() -> None:
    b = Builder()
    for _ in range(4):
        b.add([b.tensor(PSUM, 2048), b.tensor(PSUM, 4096, "kernel.py:4")])
    found = plan(b)
    assert found.first_bank.tolist() == [0, 1, 3, 4, 0, 1, 3, 4]
    assert heirs(found) == {4: [0], 5: [1], 6: [2], 7: [3]}


def test_wide_psum_tensor_takes_over_every_bank_it_covers() -> None:
    b = Builder()
    for line in range(3):
        b.add([b.tensor(PSUM, 2048, f"kernel.py:{line}")])
    b.add([b.tensor(PSUM, 6144, "kernel.py:9")])
    assert heirs(plan(b, banks=3)) == {3: [0, 1, 2]}


def test_rotation_does_not_cut_up_what_a_wide_tensor_needs() -> None:
    b = Builder()
    single = [b.tensor(PSUM, 2048, f"kernel.py:{line}") for line in range(3)]
    for t in single:
        b.add([t])
    b.add([b.tensor(PSUM, 4096, "kernel.py:9")], [single[1]])
    assert plan(b, banks=3).first_bank.tolist() == [2, 2, 1, 0]


def test_free_banks_that_lie_apart_are_refused() -> None:
    b = Builder()
    parts = [b.tensor(PSUM, 2048, f"mlp.py:{line}", "part") for line in range(4)]
    b.add(parts)
    b.add([b.tensor(PSUM, 3 * 2048, "mlp.py:20", "out")], [parts[1]])
    with pytest.raises(CapacityError) as caught:
        plan(b, banks=4)
    assert caught.value.apart
    assert str(caught.value) == (
        "out of memory in PSUM: 6144 bytes per partition asked side by side, 6144 free, but apart;"
        " largest: out 6144 (mlp.py:20), part 2048 (mlp.py:1)"
    )
    assert plan(b, banks=5).first_bank.tolist() == [0, 1, 2, 3, 2]
    assert plan_memory(b.program(), small(banks=4), rules("ignore")).psum_peak_bytes == 4 * 2048


class Expected:
    """Planning once more, the slow and obvious way."""

    def __init__(self, program: Program, policy: Policy) -> None:
        self.program, self.policy = program, policy
        self.sbuf = self.banks = 0
        self.row_bytes: list[int] = program.row_bytes.tolist()
        self.spaces: list[int] = program.space.tolist()
        self.sites: list[int] = program.site.tolist()
        n, tensors = len(program), range(len(program.space))
        touched = [
            set(program.accesses[a:b, TENSOR].tolist()) for a, b in pairwise(program.first_access)
        ]
        self.uses = [[i for i in range(n) if t in touched[i]] for t in tensors]
        self.live = [
            [t for t in tensors if self.uses[t] and self.uses[t][0] <= i <= self.uses[t][-1]]
            for i in range(n)
        ]
        self.sbuf_peak = max((sum(map(self.bytes, self.of(SBUF, i))) for i in range(n)), default=0)
        self.banks_peak = max((sum(map(self.width, self.of(PSUM, i))) for i in range(n)), default=0)

    def bytes(self, t: int) -> int:
        return -(-self.row_bytes[t] // 4) * 4

    def width(self, t: int) -> int:
        return -(-self.row_bytes[t] // BANK_BYTES)

    def of(self, space: Space, i: int) -> list[int]:
        return [t for t in self.live[i] if self.spaces[t] == space]

    def buffers(self, t: int) -> int:
        site = self.sites[t]
        on_chip = [self.of(SBUF, i) + self.of(PSUM, i) for i in range(len(self.live))]
        most = max(len([u for u in those if self.sites[u] == site]) for those in on_chip)
        if not self.program.sites[site].looped:
            return most
        return max(most * self.policy.rotation_depth, self.policy.buffers_min)

    def steps(self, space: Space) -> list[tuple[bool, int]]:
        """Comings and goings."""
        found = []
        for i in range(len(self.live)):
            found += [(True, t) for t in self.of(space, i) if self.uses[t][0] == i]
            found += [(False, t) for t in self.of(space, i) if self.uses[t][-1] == i]
        return found

    def sbuf_heirs(self) -> dict[int, list[int]]:
        """Every word by itself: freed ones are (site, tensor), in the order of freeing."""
        fresh, freed, heirs = self.sbuf, list[tuple[int, int]](), dict[int, list[int]]()
        made: dict[int, int] = {}
        for comes, t in self.steps(SBUF):
            site, need = self.sites[t], self.bytes(t) // 4
            if not comes:
                freed += [(site, t)] * need
                continue
            if made.get(site, 0) < self.buffers(t) and fresh >= self.bytes(t):
                made[site] = made.get(site, 0) + 1
                fresh -= self.bytes(t)
                continue
            own = [k for k, (whose, _) in enumerate(freed) if whose == site][:need]
            given = min(need - len(own), fresh // 4)
            fresh -= 4 * given
            others = [k for k in range(len(freed)) if k not in set(own)]
            wanted = need - len(own) - given
            for piece in list(dict.fromkeys(freed[k][1] for k in others))[:64]:
                of_piece = [k for k in others if freed[k][1] == piece]
                if len(of_piece) >= wanted:
                    others = of_piece
                    break
            taken = own + others[:wanted]
            heirs[t] = sorted({freed[k][1] for k in taken})
            freed = [piece for k, piece in enumerate(freed) if k not in set(taken)]
        return {t: those for t, those in heirs.items() if those}

    def place(self, packed: bool) -> tuple[dict[int, int], dict[int, list[int]]] | None:
        """First banks and heirs; None where some tensor finds no place."""
        holder: list[int | None] = [None] * self.banks
        freed_at: list[int | None] = [0] * self.banks  # None: in use
        clock = count(1)
        first, heirs = dict[int, int](), dict[int, list[int]]()
        made: dict[int, int] = {}
        for comes, t in self.steps(PSUM):
            width, s = self.width(t), self.sites[t]
            if not comes:
                freed_at[first[t] : first[t] + width] = [next(clock)] * width
                continue
            ranked = []
            for at in range(self.banks - width + 1):
                times = freed_at[at : at + width]
                if None in times:
                    continue
                newest = max(time for time in times if time is not None)
                own = all(h is not None and self.sites[h] == s for h in holder[at : at + width])
                grows = newest == 0 and made.get(s, 0) < self.buffers(t)
                kind = [grows, own, newest == 0, True].index(True)
                ranked.append(((kind, newest, at), at))
                if packed:
                    ranked[-1] = ((0, 0, at if width > 1 else -at), at)
            if not ranked:
                return None
            first[t] = at = min(ranked)[1]
            made[s] = made.get(s, 0) + (max(x or 0 for x in freed_at[at : at + width]) == 0)
            before = {h for h in holder[at : at + width] if h is not None}
            heirs |= {t: sorted(before)} if before else {}
            holder[at : at + width] = [t] * width
            freed_at[at : at + width] = [None] * width
        return first, heirs


def planned(program: Program, sbuf: int, banks: int, policy: Policy) -> MemoryPlan | CapacityError:
    try:
        return plan_memory(program, small(sbuf, banks), policy)
    except CapacityError as error:
        return error


@settings(max_examples=200)
@given(
    programs(),
    st.sampled_from([-4, 0, 0, 4, 300, 1000, 4000]),
    st.sampled_from([-1, 0, 0, 0, 1, 2, 5]),
    st.integers(1, 3),
    st.integers(1, 4),
)
def test_plan_equals_the_obvious_one(
    program: Program, more_bytes: int, more_banks: int, depth: int, buffers_min: int
) -> None:
    """With so much more memory than the program needs."""
    policy = rules(depth=depth, buffers_min=buffers_min)
    expected = Expected(program, policy)
    sbuf = expected.sbuf = max(1, expected.sbuf_peak + more_bytes)
    banks = expected.banks = max(1, expected.banks_peak + more_banks)
    found = planned(program, sbuf, banks, policy)
    if isinstance(found, CapacityError):
        if found.apart:
            assert expected.banks_peak <= banks
            assert expected.place(packed=False) is None
            assert expected.place(packed=True) is None
            assert found.available_bytes >= found.asked_bytes
        elif found.space == SBUF:
            assert found.asked_bytes == expected.sbuf_peak > sbuf
        else:
            assert found.asked_bytes == expected.banks_peak * BANK_BYTES > banks * BANK_BYTES
        return
    assert found.sbuf_peak_bytes == expected.sbuf_peak <= sbuf
    assert found.psum_peak_bytes == expected.banks_peak * BANK_BYTES <= banks * BANK_BYTES
    placed = expected.place(packed=False) or expected.place(packed=True)
    assert placed is not None
    first_bank, in_psum = placed
    assert {t: at for t, at in enumerate(found.first_bank.tolist()) if at >= 0} == first_bank
    assert {t: sorted(set(those)) for t, those in heirs(found).items()} == (
        expected.sbuf_heirs() | in_psum
    )


@given(programs(widest=1), st.sampled_from([1536, 4096]), st.sampled_from([1, 2, 8]))
def test_verdict_is_about_live_bytes_only(program: Program, sbuf: int, banks: int) -> None:
    expected = Expected(program, rules())
    fits = expected.sbuf_peak <= sbuf and expected.banks_peak <= banks
    for depth in (1, 4):
        found = planned(program, sbuf, banks, rules(depth=depth))
        assert isinstance(found, MemoryPlan) == fits


@given(programs(), st.sampled_from([512, 4096]), st.sampled_from([1, 8]))
def test_ignored_overflow_always_has_a_plan(program: Program, sbuf: int, banks: int) -> None:
    found = plan_memory(program, small(sbuf, banks), rules("ignore"))
    expected = Expected(program, rules())
    assert found.sbuf_peak_bytes == expected.sbuf_peak
    assert found.psum_peak_bytes == expected.banks_peak * BANK_BYTES
    for i in range(len(program)):  # no bank is in two hands
        taken = [
            found.first_bank[t] + k for t in expected.of(PSUM, i) for k in range(expected.width(t))
        ]
        assert len(taken) == len(np.unique(taken))
    for heir, those in heirs(found).items():
        assert all(expected.uses[other][-1] < expected.uses[heir][0] for other in those)
        assert {program.space[other] for other in those} == {program.space[heir]}
