"""Moving keys: rotations compose, and moved keys are the keys that the model computes at the target positions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.cache_utils import DynamicCache

from pipeline.engine import LatentModel, prefill
from pipeline.engine.rotary import mover, switch_of_frequencies
from pipeline.memory import Memory
from tiny import tiny_model

ROPES = {
    "default": {"rope_type": "default", "rope_theta": 10000.0},
    "linear": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
    "llama3": {
        "rope_type": "llama3",
        "rope_theta": 10000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 512,
    },
    "yarn": {
        "rope_type": "yarn",
        "rope_theta": 10000.0,
        "factor": 4.0,
        "original_max_position_embeddings": 1024,
        "attention_factor": 1.3,
    },
}
CHANGING = {
    "dynamic": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0},
    "longrope": {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0, 1.1, 1.2, 1.3],
        "long_factor": [2.0, 3.0, 4.0, 5.0],
        "original_max_position_embeddings": 64,
        "factor": 4.0,
    },
}


@pytest.fixture(scope="module", params=[*ROPES, *CHANGING, "gemma3 (per layer)", "phi3 (partial)"])
def roped(request):
    rope = {**ROPES, **CHANGING}.get(request.param)
    if rope is None:
        partial = {"rope_parameters": {**ROPES["default"], "partial_rotary_factor": 0.5}}
        return tiny_model("gemma3") if "gemma3" in request.param else tiny_model("phi3", **partial)
    return tiny_model("llama", rope_parameters=rope, max_position_embeddings=64 if request.param == "dynamic" else 256)


@torch.inference_mode()
def keys_at(lm, start: int, ids: list[int]) -> torch.Tensor:
    """Keys [L, N, T, H] of a prompt computed from scratch at a position: nothing before it is visible."""
    positions = torch.arange(start, start + len(ids))[None]
    cache = DynamicCache()
    lm.decoder(input_ids=torch.tensor([ids]), position_ids=positions, past_key_values=cache, use_cache=True)
    return torch.stack([layer.keys[0] for layer in cache.layers])


@pytest.mark.parametrize(("start", "end"), [(0, 13), (13, 0), (3, 40)])
def test_moved_keys_are_the_keys_computed_at_the_target_positions(roped, start, end):
    ids = [5, 9, 11, 30, 31, 7]
    moved = roped.move(keys_at(roped, start, ids), torch.full((len(ids),), end - start))
    wanted = keys_at(roped, end, ids)
    torch.testing.assert_close(moved[0], wanted[0], atol=1e-5, rtol=1e-5)  # layer 0 has seen nothing but embeddings
    torch.testing.assert_close(moved, wanted, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(keys_at(roped, start, ids)[0], wanted[0], atol=1e-3)  # there was something to move


@settings(max_examples=25, deadline=None)
@given(a=st.integers(-60, 60), b=st.integers(-60, 60), seed=st.integers(0, 99))
def test_moving_by_a_and_then_by_b_is_moving_by_their_sum(a, b, seed):
    lm = _yarn()
    keys = torch.randn(3, 2, 4, 8, generator=torch.Generator().manual_seed(seed))
    by = torch.ones(4, dtype=torch.int64)
    torch.testing.assert_close(
        lm.move(lm.move(keys, a * by), b * by), lm.move(keys, (a + b) * by), atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(lm.move(lm.move(keys, a * by), -a * by), keys, atol=1e-5, rtol=1e-4)


_models = {}


def _yarn():
    if "yarn" not in _models:
        _models["yarn"] = tiny_model("llama", rope_parameters=ROPES["yarn"])
    return _models["yarn"]


def test_attention_scaling_is_not_applied_twice():
    keys = torch.randn(3, 2, 4, 8)
    moved = _yarn().move(keys, torch.arange(4))
    torch.testing.assert_close(
        moved.norm(dim=-1), keys.norm(dim=-1)
    )  # a rotation, though cos and sin are scaled by 1.3
    assert float(_yarn().decoder.rotary_emb(keys, torch.zeros(1, 1))[0].max()) == pytest.approx(1.3)


@pytest.mark.parametrize(("name", "length"), [("dynamic", 64), ("longrope", 64)])
def test_a_rope_whose_frequencies_change_is_used_up_to_the_switch_and_refused_past_it(name, length):
    lm = tiny_model("llama", rope_parameters=CHANGING[name], max_position_embeddings=64 if name == "dynamic" else 256)
    assert switch_of_frequencies(lm.causal_lm.config) == (length, name)
    assert lm.context == length
    words = f"the model's context is 64 .*its {name} rotary frequencies change with the length"
    with pytest.raises(ValueError, match=words):
        LatentModel(lm).think("x" * 60)


def test_a_model_that_does_more_than_rotate_is_found_out():
    lm = tiny_model("llama")
    original = lm.decoder.rotary_emb.forward
    # Frequencies that depend on the position itself: no rotation by a difference can follow them.
    lm.decoder.rotary_emb.forward = lambda x, position_ids: original(x, position_ids.float() ** 2)
    with pytest.raises(ValueError, match="can't be placed at other positions.*differ from computed ones"):
        mover(lm.causal_lm)(torch.zeros(3, 2, 1, 8), torch.ones(1, dtype=torch.int64))


def test_a_slot_whose_keys_were_moved_goes_on_as_if_they_had_been_made_there(lm):
    """Two prompts read independently and put one after the other: the second one's keys are moved."""
    first, second = [5, 9, 11, 30], [7, 8, 40]
    segments = []
    for prompt in (first, second):
        slots = lm.open([Memory()], columns=len(prompt))
        prefill(lm, slots, [prompt])
        segments.append(slots[0].cut(0, role="r", question_id="q", fingerprint=lm.fingerprint, latent_steps=0))
    [merged] = lm.open([Memory.of(segments)], columns=1)
    assert merged.length == 7
    moved = merged.cache.caches[0].keys_LRNCH[:, merged.row, :, 4:7]
    torch.testing.assert_close(moved, keys_at(lm, 4, second), atol=1e-4, rtol=1e-4)
