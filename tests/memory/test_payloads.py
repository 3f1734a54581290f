"""Payloads: large pieces of a cache are sent where they lie, others are copied first, and all come out as they were."""

import pickle
from dataclasses import replace
from itertools import accumulate, pairwise
from pickle import PickleBuffer

import numpy as np
import pytest
import torch

from pipeline.config import CARRIERS
from pipeline.memory import KVCache, KVShape, Segment, Staging, pack, unpack_segments
from pipeline.memory.payloads import PIECE, as_they_lie

STORE = CARRIERS["object_store"]
CPU = torch.device("cpu")
LAYERS, HEADS = 2, 3
LONG = PIECE // 64
"""Positions whose keys are worth a piece for every layer, in each number format."""


def segment(keys, values, name="q"):
    return Segment(
        keys_LNTH=keys,
        values_LNTH=values,
        positions_T=torch.arange(keys.shape[2]),
        role="planner",
        question_id=name,
        fingerprint="f",
    )


def segments(rows, positions, room=0, dtype=torch.float32):
    """Segments as they are cut from the rows of one cache; with room they are views of parts of it."""
    cache = torch.randn(2, LAYERS, rows, positions + room, HEADS, 64).to(dtype).transpose(3, 4)
    return [(f"q{row}", segment(*cache[:, :, row, :, room:], name=f"q{row}")) for row in range(rows)]


def received(parcel):
    """A parcel as the object store gives it: pieces of one run of bytes that can't be written to."""
    run, ends = memoryview(b"".join(parcel.payload)), accumulate(memoryview(piece).nbytes for piece in parcel.payload)
    return replace(parcel, payload=tuple(run[begin:end] for begin, end in pairwise([0, *ends])))


def address(payload):
    return np.frombuffer(payload, np.uint8).ctypes.data


def check(parcel, sent):
    """Fails unless what comes out of a parcel is what was sent."""
    came = unpack_segments(STORE, parcel, CPU, 0.0)
    assert list(came) == [name for name, _ in sent]
    for name, went in sent:
        assert torch.equal(came[name].keys_LNTH, went.keys_LNTH)
        assert torch.equal(came[name].values_LNTH, went.values_LNTH)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_large_pieces_of_a_cache_are_sent_where_they_lie(dtype):
    sent = segments(2, LONG, room=5, dtype=dtype)
    parcel = pack(STORE, sent)
    assert len(parcel.payload) == 2 * 2 * LAYERS  # keys and values of two rows
    assert parcel.nbytes == sum(one.nbytes for _, one in sent)
    assert address(parcel.payload[0]) == sent[0][1].keys_LNTH.data_ptr()
    check(received(parcel), sent)


def test_pieces_that_came_in_one_object_are_not_copied_again():
    parcel = received(pack(STORE, segments(2, LONG)))
    first, second = unpack_segments(STORE, parcel, CPU, 0.0).values()
    start = address(parcel.payload[0])
    assert [one.keys_LNTH.data_ptr() - start for one in (first, second)] == [0, first.nbytes]


@pytest.mark.parametrize("kind", [PickleBuffer, bytes, bytearray])
def test_pieces_that_lie_anywhere_come_out_as_they_went_in(kind):
    sent = segments(2, LONG, room=3)
    parcel = pack(STORE, sent)
    check(replace(parcel, payload=tuple(map(kind, parcel.payload))), sent)


def test_pieces_with_gaps_between_them_come_out_as_they_went_in():
    sent = segments(1, LONG)
    parcel = pack(STORE, sent)
    spread = memoryview(b"".join(bytes(piece) + bytes(64) for piece in parcel.payload))
    step = len(spread) // len(parcel.payload)
    check(replace(parcel, payload=tuple(spread[at : at + step - 64] for at in range(0, len(spread), step))), sent)


def test_a_whole_cache_is_one_piece_for_keys_and_one_for_values():
    sent = [("q", segment(*torch.randn(2, LAYERS, LONG, HEADS, 64).transpose(2, 3)))]
    parcel = pack(STORE, sent)
    assert len(parcel.payload) == 2
    check(received(parcel), sent)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(4, 3, LONG)[:, :, ::2],  # its numbers lie apart
        torch.zeros(4, 10, PIECE)[:, :5, :-1],  # runs that would need padding
        torch.zeros(64, 20, 16)[:, :10],  # runs that are too small
        torch.zeros(4, LONG, 16, device="meta"),  # on another device
        torch.zeros(4, 0),
    ],
)
def test_what_the_store_can_not_take_as_it_lies_is_copied_first(tensor):
    assert as_they_lie([tensor]) is None


def test_staging_is_used_again_once_nobody_holds_what_was_copied_into_it():
    staging, sent = Staging(), segments(1, 9)
    first, second = (pack(STORE, sent, staging) for _ in range(2))
    assert not np.shares_memory(first.payload, second.payload)
    start, came = address(first.payload), unpack_segments(STORE, first, CPU, 0.0)["q0"]
    del first
    assert address(pack(STORE, segments(1, 4), staging).payload) != start  # what was unpacked still needs it
    assert torch.equal(came.keys_LNTH, sent[0][1].keys_LNTH)
    del came
    assert address(pack(STORE, segments(1, 4), staging).payload) == start
    larger = segments(1, 20)
    check(pack(STORE, larger, staging), larger)


def test_a_slot_is_nobody_elses_until_the_parcel_that_is_views_of_it_has_been_sent():
    shape = KVShape(layers=1, heads=1, key_size=64, value_size=64, dtype=torch.float32, device=CPU)
    cache = KVCache(shape, rows=1, columns=LONG)
    slot = cache.slot()
    slot.length = LONG
    made = slot.cut(0, role="planner", question_id="q", fingerprint="f", latent_steps=0)
    parcel = pack(STORE, [("q", made)])
    assert len(parcel.payload) == 2
    del slot, made
    assert cache.busy == 1
    pieces = []
    told = pickle.dumps(parcel, protocol=5, buffer_callback=pieces.append)
    assert pickle.loads(told, buffers=pieces).held == ()
    del parcel, pieces
    assert cache.busy == 0


@pytest.mark.parametrize("transport", ["object_store", "gloo"])
def test_a_parcel_that_was_copied_keeps_no_slot(transport):
    shape = KVShape(layers=1, heads=1, key_size=64, value_size=64, dtype=torch.float32, device=CPU)
    cache = KVCache(shape, rows=1, columns=9)
    slot = cache.slot()
    slot.length = 9
    made = slot.cut(0, role="planner", question_id="q", fingerprint="f", latent_steps=0)
    parcel = pack(CARRIERS[transport], [("q", made)])
    del slot, made
    assert cache.busy == 0
    assert parcel.nbytes == 2 * 9 * 64 * 4
