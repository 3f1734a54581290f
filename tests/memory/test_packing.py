from dataclasses import replace

import pytest
import torch

from pipeline.memory import KVBatch, KVShape, Memory, Segment, Stage, immovable
from pipeline.memory import open_batch as open_with

CPU = torch.device("cpu")
SHAPE = KVShape(layers=3, heads=3, key_size=4, value_size=5, dtype=torch.float32, device=CPU)


def stages(*ends: int) -> tuple[Stage, ...]:
    return tuple(Stage(first=first, end=end, device=CPU) for first, end in zip((0, *ends), ends, strict=False))


@pytest.fixture(params=[(3,), (1, 3), (1, 2, 3)], ids=["1 stage", "2 stages", "3 stages"])
def shape(request):
    return replace(SHAPE, spread=stages(*request.param))


def keys_of(batch: KVBatch) -> torch.Tensor:
    """The keys of all layers, wherever they are."""
    return torch.cat([cache.keys_LBNCH for cache in batch.caches])


def open_batch(shape, memories, *, columns):
    return open_with(shape, memories, columns=columns, move=immovable("nothing here has to be moved"))


def segment(length: int, start: int = 0, role: str = "planner") -> Segment:
    return Segment(
        keys_LNTH=torch.randn(3, 3, length, 4),
        values_LNTH=torch.randn(3, 3, length, 5),
        positions_T=torch.arange(start, start + length),
        role=role,
        question_id="q",
        fingerprint="f",
    )


def write(batch: KVBatch, lengths: list[int]) -> None:
    """Writes a turn of ragged length the way the engine does: right-aligned, padding on the left."""
    columns = max(lengths)
    batch.reserve(columns)
    start, end = batch.cursor, batch.cursor + columns
    positions = torch.full((batch.rows, columns), -1)
    for row, length in enumerate(lengths):
        positions[row, columns - length :] = int(batch.next_positions()[row]) + torch.arange(length)
    batch.positions_BC[:, start:end] = positions
    for cache in batch.caches:
        cache.keys_LBNCH[:, :, :, start:end] = torch.randn_like(cache.keys_LBNCH[:, :, :, start:end])
        cache.values_LBNCH[:, :, :, start:end] = torch.randn_like(cache.values_LBNCH[:, :, :, start:end])
    batch.cursor = end


def cut(batch: KVBatch, row: int, start: int, role: str = "planner") -> Segment:
    return batch.cut(row, start, role=role, question_id=f"q{row}", fingerprint="f", latent_steps=0)


def test_what_goes_in_comes_out_without_padding(shape):
    memories = [Memory.of([segment(3), segment(2, 3, "critic")]), Memory(), Memory.of([segment(7)])]
    batch = open_batch(shape, memories, columns=1)
    assert (batch.cursor, batch.capacity) == (7, 8)
    assert batch.next_positions().tolist() == [5, 0, 7]
    for row, memory in enumerate(memories):
        held = (batch.positions_BC[row] >= 0).nonzero().flatten()
        assert batch.positions_BC[row, held].tolist() == list(range(len(memory)))
        keys = torch.cat([s.keys_LNTH for s in memory], dim=2) if memory else torch.empty(3, 3, 0, 4)
        assert torch.equal(keys_of(batch)[:, row][:, :, held], keys)


def test_a_segment_is_a_view_of_the_cache_without_padding():
    batch = open_batch(SHAPE, [Memory()] * 3, columns=4)
    write(batch, [4, 1, 2])
    pieces = [cut(batch, row, 0) for row in range(3)]
    assert [len(piece) for piece in pieces] == [4, 1, 2]
    assert pieces[1].positions_T.tolist() == [0]
    assert pieces[1].keys_LNTH.untyped_storage().data_ptr() == batch.caches[0].keys_LBNCH.untyped_storage().data_ptr()
    assert pieces[1].nbytes == SHAPE.bytes_per_position


def test_a_segment_of_several_stages_is_a_copy_of_all_layers_in_order():
    batch = open_batch(replace(SHAPE, spread=stages(1, 3)), [Memory()] * 2, columns=4)
    write(batch, [4, 2])
    piece = cut(batch, 1, 0)
    assert torch.equal(piece.keys_LNTH, keys_of(batch)[:, 1, :, 2:4])
    assert torch.equal(piece.values_LNTH, torch.cat([cache.values_LBNCH for cache in batch.caches])[:, 1, :, 2:4])
    assert piece.keys_LNTH.untyped_storage().nbytes() == piece.keys_LNTH.nbytes


@pytest.mark.parametrize("ends", [(1, 2), (2, 1, 3), (3, 4)])
def test_stages_hold_every_layer_once_and_in_order(ends):
    with pytest.raises(AssertionError):
        replace(SHAPE, spread=stages(*ends))


def test_a_batch_of_one_division_is_not_taken_over_by_another(shape):
    batch = open_batch(shape, [Memory()], columns=8)
    write(batch, [3])
    memory = Memory.of([cut(batch, 0, 0)])
    other = replace(shape, spread=stages(2, 3))
    assert torch.equal(keys_of(open_batch(other, [memory], columns=5)), keys_of(batch))


def test_memory_that_never_left_its_batch_is_taken_over_in_place(shape):
    batch = open_batch(shape, [Memory()] * 2, columns=8)
    write(batch, [3, 2])
    memories = [Memory.of([cut(batch, row, 0)]) for row in range(2)]
    assert open_batch(shape, memories, columns=2) is batch
    assert open_batch(shape, memories[::-1], columns=2) is not batch
    assert open_batch(shape, memories[:1], columns=2) is not batch


def test_memory_is_not_taken_over_once_something_else_was_written_after_it(shape):
    batch = open_batch(shape, [Memory()] * 2, columns=8)
    write(batch, [3, 2])
    memories = [Memory.of([cut(batch, row, 0)]) for row in range(2)]
    write(batch, [1, 1])
    again = open_batch(shape, memories, columns=2)
    assert again is not batch
    assert again.next_positions().tolist() == [3, 2]


def test_a_segment_keeps_its_content_when_the_cache_grows_or_is_written_on(shape):
    batch = open_batch(shape, [Memory()] * 2, columns=4)
    write(batch, [4, 2])
    kept = cut(batch, 1, 0)
    before = kept.keys_LNTH.clone()
    write(batch, [3, 3])
    batch.reserve(500)
    write(batch, [1, 5])
    assert torch.equal(kept.keys_LNTH, before)


def test_a_turn_after_ragged_memory_is_cut_to_its_own_positions(shape):
    batch = open_batch(shape, [Memory()] * 2, columns=4)
    write(batch, [4, 2])
    for row in range(2):
        cut(batch, row, 0)
    start = batch.cursor
    write(batch, [1, 3])
    second = cut(batch, 1, start, role="critic")
    assert second.positions_T.tolist() == [2, 3, 4]


def test_selected_rows_lose_the_columns_that_none_of_them_uses(shape):
    batch = open_batch(shape, [Memory()] * 3, columns=9)
    write(batch, [9, 2, 4])
    chosen = batch.select([2, 1])
    assert (chosen.rows, chosen.cursor) == (2, 4)
    assert chosen.next_positions().tolist() == [4, 2]
    assert torch.equal(keys_of(chosen)[:, 0, :, :4], keys_of(batch)[:, 2, :, 5:9])


def test_memories_add_up():
    a, b = Memory.of([segment(3)]), Memory.of([segment(2, 3, "critic")])
    assert [s.role for s in a + b] == ["planner", "critic"]
    assert len(a + b) == 5
    assert (a + b).nbytes == 5 * SHAPE.bytes_per_position


def test_memory_of_another_question_is_refused_naming_both():
    with pytest.raises(ValueError, match="question q.*question other"):
        Memory.of([segment(1)]).check(shape=SHAPE, fingerprints={"f"}, question_id="other")
