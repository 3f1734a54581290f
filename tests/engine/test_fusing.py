"""Parts of layers in fewer kernels: used where they agree with the original, and only inside the engine's forward."""

import sys

import pytest
import torch

from pipeline.config import DecodingConfig
from pipeline.engine import decode, fusing, prefill
from pipeline.engine.attention import on_lanes
from pipeline.engine.fusing import fuse, fuse_norms, fuse_rotary, norm_in_one, norm_in_place, rotate_in_place
from pipeline.memory import Memory
from tiny import tiny_model

PROMPTS = [[5, 9, 11, 30, 31], [7, 8], [20, 21, 22, 23, 24]]


def rotate(vectors, cosine, sine):
    """What the kernel computes, in plain operations."""
    rotate.calls += 1
    one, other = vectors.chunk(2, dim=-1)
    return vectors * cosine[:, None] + torch.cat([-other, one], dim=-1) * sine[:, None]


@pytest.fixture(autouse=True)
def own_function(monkeypatch):
    """Whatever a test makes of a family's function is undone."""
    rotate.calls = 0
    monkeypatch.setattr(fusing, "_rotates", {})
    for family in ("qwen3", "llama", "phi3"):
        tiny_model(family)
        module = sys.modules[f"transformers.models.{family}.modeling_{family}"]
        monkeypatch.setattr(module, "apply_rotary_pos_emb", module.apply_rotary_pos_emb)


def text(lm):
    lm.stop_ids = frozenset()
    slots = lm.open([Memory()] * len(PROMPTS), columns=8)
    config = DecodingConfig(temperature=0, max_new_tokens=12)
    keys = [(str(i), "") for i in range(len(PROMPTS))]
    goals = decode(lm, slots, prefill(lm, slots, PROMPTS), noise_keys=keys, budgets=[12] * 3, config=config)
    return [goal.token_ids for goal in goals]


def close(found, own):
    return torch.allclose(found, own, atol=1e-5)


def bare(family):
    """A tiny model as the library makes it."""
    lm = tiny_model(family)
    module = sys.modules[type(lm.decoder).__module__]
    module.apply_rotary_pos_emb = getattr(module.apply_rotary_pos_emb, "original", module.apply_rotary_pos_emb)
    for part in lm.causal_lm.modules():
        vars(part).pop("forward", None)
    return lm


@pytest.mark.parametrize("family", ["qwen3", "llama"])
def test_a_model_with_fused_parts_writes_the_same_text(family):
    expected, lm = text(bare(family)), bare(family)
    norms = fuse_norms(lm.causal_lm, norm_in_one, close)
    assert norms == sum(type(module).__name__.endswith("RMSNorm") for module in lm.causal_lm.modules()) > 0
    fuse_rotary(lm.causal_lm, rotate, close)
    calls = rotate.calls
    assert text(lm) == expected
    assert rotate.calls > calls


def test_norms_that_compute_something_else_stay():
    lm = bare("gemma2")
    assert fuse_norms(lm.causal_lm, norm_in_one, close) == 0
    assert fuse_norms(lm.causal_lm, norm_in_place, close) == 0


def test_a_rotation_that_differs_stays(llama):
    assert fuse_rotary(llama.causal_lm, lambda vectors, cosine, sine: vectors, close) == 0


def test_a_part_of_a_head_is_rotated_by_the_familys_own_function():
    """A family's function is shared by models that rotate whole heads and models that rotate a part."""
    module = sys.modules["transformers.models.llama.modeling_llama"]
    lm = bare("llama")
    original = module.apply_rotary_pos_emb
    assert fuse_rotary(lm.causal_lm, rotate, close) == 1
    calls, vectors, angle = rotate.calls, torch.randn(1, 2, 3, 8), torch.randn(1, 3, 1)
    with on_lanes(object()):
        found = module.apply_rotary_pos_emb(vectors, vectors, angle.cos(), angle.sin())
    assert rotate.calls == calls
    assert torch.equal(found[0], original(vectors, vectors, angle.cos(), angle.sin())[0])


def test_outside_the_engines_forward_the_original_runs():
    lm = bare("qwen3")
    ids = torch.tensor([PROMPTS[0]])
    with torch.inference_mode():
        expected = lm.causal_lm(ids).logits
        fuse_norms(lm.causal_lm, norm_in_one, close)
        fuse_rotary(lm.causal_lm, rotate, close)
        calls = rotate.calls
        assert torch.equal(lm.causal_lm(ids).logits, expected)
        assert rotate.calls == calls
    norm = lm.decoder.norm
    with on_lanes(object()):
        assert norm(torch.ones(2, 32)).shape == (2, 32)


def hidden_states(lm):
    slots = lm.open([Memory()] * len(PROMPTS), columns=8)
    return prefill(lm, slots, PROMPTS)


@pytest.mark.parametrize("family", ["qwen3", "llama"])
def test_on_a_cpu_the_replacements_compute_the_same_to_the_last_bit(family, monkeypatch):
    expected, lm = hidden_states(bare(family)), bare(family)
    norms = [module for module in lm.causal_lm.modules() if type(module).__name__.endswith("RMSNorm")]
    assert fuse(lm.causal_lm) == len(norms) + 1
    signed = []
    monkeypatch.setattr(fusing, "_signed", lambda sine, own=fusing._signed: signed.append(sine) or own(sine))
    assert torch.equal(hidden_states(lm), expected)
    assert len(signed) == 1, "all layers share the signs of a forward"
    assert text(lm) == text(bare(family))


@pytest.mark.parametrize("positions", [1, 7, 600])
def test_halves_are_rotated_as_the_library_does(positions):
    bare("llama")
    original = sys.modules["transformers.models.llama.modeling_llama"].apply_rotary_pos_emb
    queries = torch.randn(1, positions, 9, 64).transpose(1, 2)
    angles = torch.randn(1, positions, 32).repeat(1, 1, 2)
    expected, _ = original(queries, queries, angles.cos(), angles.sin())
    assert torch.equal(rotate_in_place(queries, angles.cos(), angles.sin()), expected)


def test_other_number_formats_on_a_cpu_are_left_as_they_are():
    assert fuse(bare("llama").causal_lm.to(torch.bfloat16)) == 0
