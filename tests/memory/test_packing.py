import pytest
import torch

from pipeline.memory import KVBatch, KVShape, Memory, Segment, immovable
from pipeline.memory import open_batch as open_with

SHAPE = KVShape(layers=2, heads=3, key_size=4, value_size=5, dtype=torch.float32, device=torch.device("cpu"))


def open_batch(shape, memories, *, columns):
    return open_with(shape, memories, columns=columns, move=immovable("nothing here has to be moved"))


def segment(length: int, start: int = 0, role: str = "planner") -> Segment:
    return Segment(
        keys_LNTH=torch.randn(2, 3, length, 4),
        values_LNTH=torch.randn(2, 3, length, 5),
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
    batch.keys_LBNCH[:, :, :, start:end] = torch.randn(2, batch.rows, 3, columns, 4)
    batch.values_LBNCH[:, :, :, start:end] = torch.randn(2, batch.rows, 3, columns, 5)
    batch.cursor = end


def cut(batch: KVBatch, row: int, start: int, role: str = "planner") -> Segment:
    return batch.cut(row, start, role=role, question_id=f"q{row}", fingerprint="f", latent_steps=0)


def test_what_goes_in_comes_out_without_padding():
    memories = [Memory.of([segment(3), segment(2, 3, "critic")]), Memory(), Memory.of([segment(7)])]
    batch = open_batch(SHAPE, memories, columns=1)
    assert (batch.cursor, batch.capacity) == (7, 8)
    assert batch.next_positions().tolist() == [5, 0, 7]
    for row, memory in enumerate(memories):
        held = (batch.positions_BC[row] >= 0).nonzero().flatten()
        assert batch.positions_BC[row, held].tolist() == list(range(len(memory)))
        keys = torch.cat([s.keys_LNTH for s in memory], dim=2) if memory else torch.empty(2, 3, 0, 4)
        assert torch.equal(batch.keys_LBNCH[:, row][:, :, held], keys)


def test_a_segment_is_a_view_of_the_cache_without_padding():
    batch = open_batch(SHAPE, [Memory()] * 3, columns=4)
    write(batch, [4, 1, 2])
    pieces = [cut(batch, row, 0) for row in range(3)]
    assert [len(piece) for piece in pieces] == [4, 1, 2]
    assert pieces[1].positions_T.tolist() == [0]
    assert pieces[1].keys_LNTH.untyped_storage().data_ptr() == batch.keys_LBNCH.untyped_storage().data_ptr()
    assert pieces[1].nbytes == SHAPE.bytes_per_position


def test_memory_that_never_left_its_batch_is_taken_over_in_place():
    batch = open_batch(SHAPE, [Memory()] * 2, columns=8)
    write(batch, [3, 2])
    memories = [Memory.of([cut(batch, row, 0)]) for row in range(2)]
    assert open_batch(SHAPE, memories, columns=2) is batch
    assert open_batch(SHAPE, memories[::-1], columns=2) is not batch
    assert open_batch(SHAPE, memories[:1], columns=2) is not batch


def test_memory_is_not_taken_over_once_something_else_was_written_after_it():
    batch = open_batch(SHAPE, [Memory()] * 2, columns=8)
    write(batch, [3, 2])
    memories = [Memory.of([cut(batch, row, 0)]) for row in range(2)]
    write(batch, [1, 1])
    again = open_batch(SHAPE, memories, columns=2)
    assert again is not batch
    assert again.next_positions().tolist() == [3, 2]


def test_a_segment_keeps_its_content_when_the_cache_grows_or_is_written_on():
    batch = open_batch(SHAPE, [Memory()] * 2, columns=4)
    write(batch, [4, 2])
    kept = cut(batch, 1, 0)
    before = kept.keys_LNTH.clone()
    write(batch, [3, 3])
    batch.reserve(500)
    write(batch, [1, 5])
    assert torch.equal(kept.keys_LNTH, before)


def test_a_turn_after_ragged_memory_is_cut_to_its_own_positions():
    batch = open_batch(SHAPE, [Memory()] * 2, columns=4)
    write(batch, [4, 2])
    for row in range(2):
        cut(batch, row, 0)
    start = batch.cursor
    write(batch, [1, 3])
    second = cut(batch, 1, start, role="critic")
    assert second.positions_T.tolist() == [2, 3, 4]


def test_selected_rows_lose_the_columns_that_none_of_them_uses():
    batch = open_batch(SHAPE, [Memory()] * 3, columns=9)
    write(batch, [9, 2, 4])
    chosen = batch.select([2, 1])
    assert (chosen.rows, chosen.cursor) == (2, 4)
    assert chosen.next_positions().tolist() == [4, 2]
    assert torch.equal(chosen.keys_LBNCH[:, 0, :, :4], batch.keys_LBNCH[:, 2, :, 5:9])


def test_memories_add_up():
    a, b = Memory.of([segment(3)]), Memory.of([segment(2, 3, "critic")])
    assert [s.role for s in a + b] == ["planner", "critic"]
    assert len(a + b) == 5
    assert (a + b).nbytes == 5 * SHAPE.bytes_per_position


def test_memory_of_another_question_is_refused_naming_both():
    with pytest.raises(ValueError, match="question q.*question other"):
        Memory.of([segment(1)]).check(shape=SHAPE, fingerprints={"f"}, question_id="other")
