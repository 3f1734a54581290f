"""Slots: what goes in comes out, segments are views of one place, and nobody gets a slot that somebody still reads."""

import gc
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.memory import KVCache, KVShape, Memory, Segment, Slot, Stage, immovable, slots

CPU = torch.device("cpu")
SHAPE = KVShape(layers=3, heads=3, key_size=4, value_size=5, dtype=torch.float32, device=CPU)
FIXED = immovable("nothing here has to be moved")


def stages(*ends: int) -> tuple[Stage, ...]:
    return tuple(Stage(first=first, end=end, device=CPU) for first, end in zip((0, *ends), ends, strict=False))


@pytest.fixture(params=[(3,), (1, 3), (1, 2, 3)], ids=["1 stage", "2 stages", "3 stages"])
def shape(request):
    return replace(SHAPE, spread=stages(*request.param))


def keys_of(slot: Slot) -> torch.Tensor:
    """The keys that a slot holds, of all layers, wherever they are."""
    return torch.cat([cache.keys_LRNCH[:, slot.row, :, : slot.length] for cache in slot.cache.caches])


def values_of(slot: Slot) -> torch.Tensor:
    return torch.cat([cache.values_LRNCH[:, slot.row, :, : slot.length] for cache in slot.cache.caches])


def segment(length: int, start: int = 0, role: str = "planner") -> Segment:
    return Segment(
        keys_LNTH=torch.randn(3, 3, length, 4),
        values_LNTH=torch.randn(3, 3, length, 5),
        positions_T=torch.arange(start, start + length),
        role=role,
        question_id="q",
        fingerprint="f",
    )


def write(slot: Slot, length: int) -> None:
    """Writes a turn, the way the engine does: column after column."""
    slot.reserve(length)
    columns = slice(slot.length, slot.length + length)
    slot.write(columns, torch.randn(3, 3, length, 4), torch.randn(3, 3, length, 5))
    slot.length += length


def cut(slot: Slot, start: int, role: str = "planner") -> Segment:
    return slot.cut(start, role=role, question_id="q", fingerprint="f", latent_steps=0)


def turn(slot: Slot, length: int, role: str = "planner") -> Segment:
    start = slot.length
    write(slot, length)
    return cut(slot, start, role)


def test_what_goes_in_comes_out_without_padding(shape):
    cache = KVCache(shape)
    for memory in (Memory.of([segment(3), segment(2, 3, "critic")]), Memory(), Memory.of([segment(7)])):
        slot = cache.open(memory, columns=1, move=FIXED)
        assert slot.length == len(memory)
        for held, name in ((keys_of(slot), "keys_LNTH"), (values_of(slot), "values_LNTH")):
            parts = [getattr(one, name) for one in memory]
            assert torch.equal(held, torch.cat(parts, dim=2) if parts else held[:, :, :0])


def test_a_segment_is_a_view_of_the_cache_without_padding():
    cache = KVCache(SHAPE, rows=3, columns=4)
    pieces = [turn(cache.slot(), length) for length in (4, 1, 2)]
    assert [len(piece) for piece in pieces] == [4, 1, 2]
    assert pieces[1].positions_T.tolist() == [0]
    storage = cache.caches[0].keys_LRNCH.untyped_storage()
    assert all(piece.keys_LNTH.untyped_storage().data_ptr() == storage.data_ptr() for piece in pieces)
    assert pieces[1].nbytes == SHAPE.bytes_per_position


def test_a_segment_of_several_stages_is_a_copy_of_all_layers_in_order():
    slot = KVCache(replace(SHAPE, spread=stages(1, 3)), rows=1, columns=4).slot()
    piece = turn(slot, 2)
    assert torch.equal(piece.keys_LNTH, keys_of(slot))
    assert torch.equal(piece.values_LNTH, values_of(slot))
    assert piece.keys_LNTH.untyped_storage().nbytes() == piece.keys_LNTH.nbytes


@pytest.mark.parametrize("ends", [(1, 2), (2, 1, 3), (3, 4)])
def test_stages_hold_every_layer_once_and_in_order(ends):
    with pytest.raises(AssertionError):
        replace(SHAPE, spread=stages(*ends))


def test_memory_of_another_cache_is_copied_whatever_its_division(shape):
    memory = Memory.of([turn(KVCache(shape, rows=1, columns=8).slot(), 3)])
    other = KVCache(replace(shape, spread=stages(2, 3)))
    slot = other.open(memory, columns=5, move=FIXED)
    assert slot.cache is other
    assert torch.equal(keys_of(slot), memory.segments[0].keys_LNTH)


def test_memory_that_never_left_its_slot_is_taken_over_in_place(shape, monkeypatch):
    cache = KVCache(shape, rows=2, columns=8)
    memories = [Memory.of([turn(cache.slot(), length)]) for length in (3, 2)]
    homes = [memory.segments[0].home for memory in memories]
    monkeypatch.setattr(Slot, "write", lambda *_: pytest.fail("memory was copied"))
    assert [cache.open(memory, columns=2, move=FIXED) for memory in memories] == homes
    assert [cache.open(memory, columns=2, move=FIXED) for memory in memories[::-1]] == homes[::-1]


def test_a_chain_of_turns_stays_in_one_slot_and_one_storage():
    cache = KVCache(SHAPE, rows=1, columns=20)
    memory, storages = Memory(), set()
    for role in ("planner", "critic", "refiner"):
        slot = cache.open(memory, columns=4, move=FIXED)
        memory += Memory.of([turn(slot, 4, role)])
        storages.add(memory.segments[-1].keys_LNTH.untyped_storage().data_ptr())
    assert (cache.busy, len(storages), slot.length) == (1, 1, 12)
    assert [piece.positions_T[0] for piece in memory] == [0, 4, 8]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda slot, one, other: (write(slot, 1), Memory.of([one, other]))[1],
        lambda slot, one, other: Memory.of([one]),
        lambda slot, one, other: Memory.of([other.part("prompt"), one]),
        lambda slot, one, other: Memory.of([one, replace(other, keys_LNTH=other.keys_LNTH.clone())]),
        lambda slot, one, other: (setattr(slot, "taken", True), Memory.of([one, other]))[1],
    ],
    ids=["written on", "a part", "another order", "a copy", "somebody writes"],
)
def test_memory_that_is_not_what_its_slot_holds_is_placed_elsewhere(spoil):
    cache = KVCache(SHAPE, rows=2, columns=12)
    home = cache.slot()
    one, other = turn(home, 3), turn(home, 2, "critic")
    memory = spoil(home, one, other)
    before = keys_of(home).clone()
    again = cache.open(memory, columns=4, move=lambda keys, by: keys)
    assert again is not home
    assert again.length == len(memory)
    assert torch.equal(keys_of(again), torch.cat([piece.keys_LNTH for piece in memory], dim=2))
    write(again, 4)
    assert torch.equal(keys_of(home), before)


def test_two_readers_of_one_memory_do_not_write_into_each_others_columns():
    cache = KVCache(SHAPE)
    known = turn(cache.slot(), 3)
    first, second = (cache.open(Memory.of([known]), columns=4, move=FIXED), None)
    first.taken = True
    second = cache.open(Memory.of([known]), columns=4, move=FIXED)
    assert first is known.home
    assert second is not first
    mine, yours = turn(first, 4), turn(second, 4)
    assert torch.equal(keys_of(first), torch.cat([known.keys_LNTH, mine.keys_LNTH], dim=2))
    assert torch.equal(keys_of(second), torch.cat([known.keys_LNTH, yours.keys_LNTH], dim=2))


def test_a_text_that_is_given_up_leaves_the_memory_before_it_in_place():
    cache = KVCache(SHAPE)
    memory = Memory.of([turn(cache.slot(), 3)])
    slot = cache.open(memory, columns=5, move=FIXED)
    write(slot, 5)
    slot.length = 3
    assert cache.open(memory, columns=1, move=FIXED) is slot


def test_memory_placed_elsewhere_is_gone_on_from_in_place_there(shape):
    cache = KVCache(shape)
    brought = Memory.of([segment(3), segment(2, 3)])
    slot = cache.open(brought, columns=4, move=FIXED)
    memory = brought + Memory.of([turn(slot, 4, "critic")])
    assert cache.open(memory, columns=2, move=FIXED) is slot


def test_keys_are_moved_to_where_they_come_to_lie_and_only_where_that_is_elsewhere():
    moved = []

    def move(keys_LNTH, by_T):
        moved.append(by_T.tolist())
        return keys_LNTH + by_T[:, None]

    memory = Memory.of([segment(3), segment(2), segment(2, 5), segment(3, 2)])
    slot = KVCache(SHAPE).open(memory, columns=0, move=move)
    assert moved == [[3, 3], [5, 5, 5]]
    by = (0, 3, 0, 5)
    expected = torch.cat([piece.keys_LNTH + shift for piece, shift in zip(memory, by, strict=True)], dim=2)
    assert torch.equal(keys_of(slot), expected)
    assert torch.equal(values_of(slot), torch.cat([piece.values_LNTH for piece in memory], dim=2))


def test_memory_that_cannot_be_moved_is_refused_and_its_slot_given_back():
    cache = KVCache(SHAPE, rows=1, columns=8)
    with pytest.raises(ValueError, match="nothing here has to be moved"):
        cache.open(Memory.of([segment(3), segment(2)]), columns=1, move=FIXED)
    assert cache.busy == 0


def test_parts_are_placed_one_after_another_with_the_positions_in_between_closed():
    whole = replace(segment(6), latent_steps=2)
    memory = Memory.of([whole.part("thoughts"), whole.part("prompt")])
    slot = KVCache(SHAPE).open(memory, columns=0, move=lambda keys, by: keys + by[:, None])
    keys = whole.keys_LNTH
    assert torch.equal(keys_of(slot), torch.cat([keys[:, :, 4:] - 4, keys[:, :, :4] + 2], dim=2))


@pytest.mark.parametrize("sizes", [{"rows": 9}, {"columns": 500}, {"rows": 5, "columns": 60}], ids=str)
def test_a_segment_keeps_its_content_when_the_cache_grows_or_is_written_on(shape, sizes):
    cache = KVCache(shape, rows=2, columns=4)
    slot, other = cache.slot(), cache.slot()
    kept = turn(slot, 4)
    keys, values = kept.keys_LNTH.clone(), kept.values_LNTH.clone()
    write(slot, 3)
    write(other, 3)
    held = keys_of(slot).clone(), keys_of(other).clone()
    cache.reserve(**sizes)
    assert (cache.rows, cache.columns) >= (sizes.get("rows", 2), sizes.get("columns", 4))
    assert all(torch.equal(keys_of(one), before) for one, before in zip((slot, other), held, strict=True))
    write(slot, 5)
    write(other, 9)
    assert torch.equal(kept.keys_LNTH, keys)
    assert torch.equal(kept.values_LNTH, values)


def test_memory_stays_in_place_though_its_cache_has_grown(shape):
    cache = KVCache(shape, rows=1, columns=4)
    memory = Memory.of([turn(cache.slot(), 4)])
    slot = cache.open(memory, columns=700, move=FIXED)
    assert slot is memory.segments[0].home
    assert torch.equal(keys_of(slot), memory.segments[0].keys_LNTH)


@pytest.mark.parametrize("inside", [True, False])
def test_a_cache_that_was_made_or_grew_in_inference_mode_can_be_written_to_outside_and_inside_of_it(shape, inside):
    with torch.inference_mode(inside):
        cache = KVCache(shape, rows=1, columns=2)
        slot = cache.slot()
        kept = turn(slot, 4)
    with torch.inference_mode(not inside):
        again = cache.open(Memory.of([replace(kept, home=None)]), columns=300, move=FIXED)
        turn(again, 3)
        turn(slot, 3)
    turn(cache.open(Memory.of([kept]), columns=1, move=FIXED), 1)
    assert torch.equal(keys_of(slot)[:, :, :4], kept.keys_LNTH)


def test_a_cache_grows_in_steps_that_long_texts_need_rarely():
    cache, sizes = KVCache(SHAPE, rows=1, columns=1), set()
    slot = cache.slot()
    for _ in range(600):
        write(slot, 1)
        sizes.add(cache.columns)
    assert len(sizes) == 4
    assert cache.columns < 600 + slots.GROWTH + 1


def test_no_more_columns_are_reserved_than_asked_for_at_first():
    cache = KVCache(SHAPE)
    cache.open(Memory(), columns=17, move=FIXED)
    assert (cache.rows, cache.columns) == (1, 17)
    assert cache.nbytes == sum(c.keys_LRNCH.nbytes + c.values_LRNCH.nbytes for c in cache.caches)


def test_a_turn_is_cut_to_its_own_positions():
    slot = KVCache(SHAPE).slot()
    turn(slot, 4)
    second = turn(slot, 3, "critic")
    assert second.positions_T.tolist() == [4, 5, 6]
    assert torch.equal(second.keys_LNTH, keys_of(slot)[:, :, 4:])


def test_the_lowest_free_slot_comes_first():
    cache = KVCache(SHAPE, rows=4, columns=2)
    held = [cache.slot() for _ in range(4)]
    assert [slot.row for slot in held] == [0, 1, 2, 3]
    held[2] = held[0] = held[3] = None
    assert cache.busy == 1
    assert [(held.append(cache.slot()), held[-1].row)[1] for _ in range(3)] == [0, 2, 3]


def test_a_cache_without_a_free_slot_gets_more_and_those_in_use_stay():
    cache = KVCache(SHAPE, rows=2, columns=3)
    held = [cache.slot(), cache.slot()]
    for slot in held:
        write(slot, 3)
    before = [keys_of(slot).clone() for slot in held]
    held += [cache.slot() for _ in range(3)]
    assert [slot.row for slot in held] == list(range(5))
    assert all(torch.equal(keys_of(slot), keys) for slot, keys in zip(held, before, strict=False))


def test_as_long_as_a_part_of_a_segment_lives_nobody_gets_its_slot():
    gc.disable()
    try:
        cache = KVCache(SHAPE, rows=1, columns=6)
        slot = cache.slot()
        write(slot, 6)
        part = replace(cut(slot, 0), latent_steps=2).part("thoughts")
        keys = part.keys_LNTH.clone()
        del slot
        other = cache.slot()
        write(other, 6)
        assert other.row == 1
        assert torch.equal(part.keys_LNTH, keys)
        del part
        assert cache.slot().row == 0
    finally:
        gc.enable()


def test_a_slot_comes_back_without_what_it_held():
    cache = KVCache(SHAPE, rows=1, columns=6)
    slot = cache.slot()
    turn(slot, 5)
    slot.taken = True
    del slot
    again = cache.slot()
    assert (again.row, again.length, again.taken, again.contents) == (0, 0, False, ())


@settings(max_examples=60, deadline=None)
@given(data=st.data(), spread=st.sampled_from([(3,), (2, 3)]))
def test_whatever_comes_and_goes_every_memory_stays_what_it_was(data, spread):
    """Memories are made, gone on from, copied in part and dropped in any order, while the cache grows under them."""
    cache = KVCache(replace(SHAPE, spread=stages(*spread)), rows=1, columns=2)
    alive: list[tuple[Memory, torch.Tensor]] = []
    for _ in range(data.draw(st.integers(1, 25))):
        what = data.draw(st.sampled_from(["new", "on", "last", "drop"])) if alive else "new"
        place = data.draw(st.integers(0, len(alive) - 1)) if alive else 0
        if what == "drop":
            del alive[place]
        else:
            alive.append(_gone_on(cache, what, *alive[place : place + 1], length=data.draw(st.integers(1, 3))))
        assert cache.busy == len({id(piece.home) for known, _ in alive for piece in known})
        for known, content in alive:
            assert torch.equal(torch.cat([piece.keys_LNTH for piece in known], dim=2), content)
        known = None


def _gone_on(cache, what, *before, length):
    """A memory and its keys, after a turn on nothing, on a memory from before or on its last segment alone."""
    memory, keys = (Memory(), torch.zeros(3, 3, 0, 4)) if what == "new" else before[0]
    if what == "last":
        memory = Memory.of([memory.segments[-1]])
        keys = memory.segments[0].keys_LNTH.clone()
    slot = cache.open(memory, columns=3, move=lambda keys, by: keys)
    assert torch.equal(keys_of(slot), keys)
    added = turn(slot, length)
    return memory + Memory.of([added]), torch.cat([keys, added.keys_LNTH.clone()], dim=2)


def test_memories_add_up():
    a, b = Memory.of([segment(3)]), Memory.of([segment(2, 3, "critic")])
    assert [s.role for s in a + b] == ["planner", "critic"]
    assert len(a + b) == 5
    assert (a + b).nbytes == 5 * SHAPE.bytes_per_position


def test_memory_of_another_question_is_refused_naming_both():
    with pytest.raises(ValueError, match="question q.*question other"):
        Memory.of([segment(1)]).check(shape=SHAPE, fingerprints={"f"}, question_id="other")


def test_a_slot_that_is_held_to_the_end_of_the_process_goes_without_a_word():
    """As one does that a script's memory lies in; modules may have gone before it."""
    script = """
import torch
from pipeline.memory import KVCache, KVShape, slots
shape = KVShape(layers=1, heads=1, key_size=4, value_size=4, dtype=torch.float32, device=torch.device("cpu"))
slot = KVCache(shape, rows=1, columns=8, most=64).slot()
slot.reserve(4)
slots.held = slot
del slot
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
