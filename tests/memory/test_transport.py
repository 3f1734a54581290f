"""Parcels: what is packed comes out as it went in, takes no more room than that, and is never written to."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import CARRIERS, DecodingConfig
from pipeline.engine import decode, prefill
from pipeline.memory import Inputs, KVCache, KVShape, Memory, Segment, pack, unpack_inputs, unpack_segments
from pipeline.memory.transport import ALIGNED
from tiny import tiny_model

STORE, RECALL, DIRECT = CARRIERS["object_store"], CARRIERS["reencode"], CARRIERS["gloo"]
CPU = torch.device("cpu")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
MAKER = ("role", "question_id", "fingerprint", "latent_steps", "digest")


def segment(length, *, start=0, name="q", dtype=torch.float32, strided=False, steps=0, key_size=4, value_size=5):
    """A segment; if asked for as views of a wider cache, as agents cut them."""
    generator = torch.Generator().manual_seed(length)
    room = length + 7 if strided else length
    keys, values = (torch.randn(2, 3, room, size, generator=generator).to(dtype) for size in (key_size, value_size))
    inputs = Inputs(token_ids=torch.arange(length), latents_MD=torch.randn(steps, 8, generator=generator).to(dtype))
    return Segment(
        keys_LNTH=keys[:, :, room - length :],
        values_LNTH=values[:, :, room - length :],
        positions_T=torch.arange(start, start + length),
        role="planner",
        question_id=name,
        fingerprint="f",
        latent_steps=min(steps, length),
        digest="d",
        inputs=inputs,
    )


def received(parcel):
    """A parcel as the object store gives it: bytes that can't be written to."""
    payload = np.frombuffer(parcel.payload.tobytes(), dtype=np.uint8)
    assert not payload.flags.writeable
    return replace(parcel, payload=payload)


def same(came, went):
    assert torch.equal(came.keys_LNTH, went.keys_LNTH)
    assert torch.equal(came.values_LNTH, went.values_LNTH)
    assert torch.equal(came.positions_T, went.positions_T)
    assert (came.keys_LNTH.dtype, came.sizes) == (went.keys_LNTH.dtype, went.sizes)
    assert [getattr(came, name) for name in MAKER] == [getattr(went, name) for name in MAKER]


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 30), st.integers(0, 4)), max_size=5),
    dtype=st.sampled_from(DTYPES),
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    strided=st.booleans(),
)
def test_what_is_packed_comes_out_as_it_went_in(lengths, dtype, sizes, strided):
    key_size, value_size = sizes
    made = {
        f"q{row}": segment(
            length,
            start=start if length else 0,
            name=f"q{row}",
            dtype=dtype,
            strided=strided,
            steps=steps,
            key_size=key_size,
            value_size=value_size,
        )
        for row, (length, start, steps) in enumerate(lengths)
    }
    came = unpack_segments(STORE, received(pack(STORE, list(made.items()))), CPU, 1.0)
    assert list(came) == list(made)
    for name, went in made.items():
        same(came[name], went)
    fed = unpack_inputs(received(pack(RECALL, list(made.items()))), CPU)
    assert list(fed) == list(made)
    for name, went in made.items():
        assert torch.equal(fed[name].token_ids, went.inputs.token_ids)
        assert torch.equal(fed[name].latents_MD, went.inputs.latents_MD)
        assert fed[name].latents_MD.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("carrier", [STORE, RECALL])
def test_a_parcel_holds_the_bytes_of_its_segments_and_no_padding_but_alignment(carrier, dtype):
    made = [segment(length, dtype=dtype, strided=True, steps=2) for length in (1, 9, 4)]
    exact = sum(one.inputs.nbytes if carrier.inputs else one.nbytes for one in made)
    nbytes = pack(carrier, [(f"q{row}", one) for row, one in enumerate(made)]).nbytes
    assert exact <= nbytes < exact + 2 * len(made) * ALIGNED
    aligned = segment(16, dtype=dtype, steps=2, key_size=16, value_size=16)
    assert pack(STORE, [("q", aligned)]).nbytes == aligned.nbytes


def test_every_tensor_begins_where_any_number_format_can_be_viewed():
    parcel = pack(STORE, [(f"q{row}", segment(length, dtype=torch.bfloat16)) for row, length in enumerate((1, 3, 2))])
    start = parcel.payload.ctypes.data
    for came in unpack_segments(STORE, parcel, CPU, 0.0).values():
        assert (came.keys_LNTH.data_ptr() - start) % ALIGNED == 0
        assert (came.values_LNTH.data_ptr() - start) % ALIGNED == 0


def test_what_is_unpacked_are_views_of_the_parcel():
    parcel = received(pack(STORE, [("q", segment(5))]))
    came = unpack_segments(STORE, parcel, CPU, 0.0)["q"]
    start = parcel.payload.ctypes.data
    assert start <= came.keys_LNTH.data_ptr() < came.values_LNTH.data_ptr() < start + parcel.nbytes


def test_a_row_is_known_by_the_question_that_is_asked_not_by_the_one_it_was_made_for():
    made = {"asked": segment(3, name="made for"), "other": segment(2, name="asked")}
    came = unpack_segments(STORE, pack(STORE, list(made.items())), CPU, 0.0)
    assert {row: one.question_id for row, one in came.items()} == {"asked": "made for", "other": "asked"}


def test_nobody_is_warned_of_bytes_that_cannot_be_written_to():
    parcels = [received(pack(carrier, [("q", segment(3, steps=1))])) for carrier in (STORE, RECALL)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        unpack_segments(STORE, parcels[0], CPU, 0.0)
        unpack_inputs(parcels[1], CPU)


def test_a_parcel_of_nothing_is_empty():
    parcel = pack(STORE, [])
    assert (parcel.nbytes, unpack_segments(STORE, parcel, CPU, 0.0), unpack_inputs(parcel, CPU)) == (0, {}, {})


def test_bytes_that_go_from_device_to_device_stay_a_tensor():
    made = segment(4, strided=True)
    parcel = pack(DIRECT, [("q", made)])
    assert isinstance(parcel.payload, torch.Tensor)
    same(unpack_segments(DIRECT, parcel, CPU, 0.0)["q"], made)


def test_segments_share_the_time_that_their_parcel_took():
    parcel = replace(pack(STORE, [("a", segment(3)), ("b", segment(5))]), seconds=1.0)
    came = unpack_segments(STORE, parcel, CPU, 3.0)
    assert [(one.arrival.transport, one.arrival.seconds) for one in came.values()] == [("object_store", 2.0)] * 2
    assert [one.arrival.bytes for one in came.values()] == [segment(3).nbytes, segment(5).nbytes]


def test_a_signed_segment_can_be_verified_after_its_way():
    made = segment(6, strided=True, dtype=torch.bfloat16).signed()
    parcel = received(pack(STORE, [("q", made)]))
    unpack_segments(STORE, parcel, CPU, 0.0)["q"].verify()
    broken = parcel.payload.copy()
    broken[3] ^= 1
    with pytest.raises(ValueError, match="was changed on its way"):
        unpack_segments(STORE, replace(parcel, payload=broken), CPU, 0.0)["q"].verify()


def test_opening_a_slot_copies_what_came_and_leaves_it_as_it_was():
    shape = KVShape(layers=2, heads=3, key_size=4, value_size=5, dtype=torch.float32, device=CPU)
    parcel = received(pack(STORE, [("q", segment(5))]))
    before = parcel.payload.tobytes()
    cache = KVCache(shape, rows=1, columns=8)
    came = unpack_segments(STORE, parcel, CPU, 0.0)["q"]
    slot = cache.open(Memory.of([came]), columns=3, move=lambda keys, by: keys)
    assert slot.length == 5
    cache.caches[0].keys_LRNCH.zero_()
    cache.caches[0].values_LRNCH.zero_()
    assert parcel.payload.tobytes() == before


@pytest.mark.parametrize("family", ["llama", "gemma3", "qwen3_moe"])
def test_a_model_goes_on_from_what_came_as_from_what_was_there_and_changes_none_of_it(family):
    lm = tiny_model(family)
    lm.stop_ids = frozenset()
    prompts, later = [[5, 9, 11, 30], [7]], [[12, 13], [40, 41, 42]]
    slots = lm.open([Memory()] * 2, columns=4)
    prefill(lm, slots, prompts)
    made = [slot.cut(0, role="planner", question_id="q", fingerprint=lm.fingerprint, latent_steps=0) for slot in slots]
    parcel = received(pack(STORE, [(f"q{row}", one) for row, one in enumerate(made)]))
    before = parcel.payload.tobytes()
    came = list(unpack_segments(STORE, parcel, CPU, 0.0).values())
    assert written(lm, came, later) == written(lm, [replace(one, home=None) for one in made], later)
    assert parcel.payload.tobytes() == before


def written(lm, segments, prompts):
    """The tokens that a model writes on top of some memory."""
    slots = lm.open([Memory.of([one]) for one in segments], columns=30)
    hidden = prefill(lm, slots, prompts)
    config = DecodingConfig(temperature=1.0)
    keys = [("q0", "solver"), ("q1", "solver")]
    texts = decode(lm, slots, hidden, noise_keys=keys, budgets=[20, 20], config=config)
    tokens = [one.token_ids for one in texts]
    assert all(len(row) == 20 for row in tokens)
    return tokens
