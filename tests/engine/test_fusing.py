"""Small parts of layers in fewer operations: only where they agree with the original, in the engine's forward alone."""

import copy
import pickle
import sys

import pytest
import torch
from torch import nn

from pipeline.config import DecodingConfig
from pipeline.engine import decode, fusing, prefill, wrap_model
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
    monkeypatch.setattr(fusing, "_norms", {})
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
    """A tiny model with nothing replaced."""
    lm = tiny_model(family)
    fusing._norms.clear()
    fusing._rotates.clear()
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


def wrapped(causal_lm, lm):
    return wrap_model(causal_lm, lm.tokenizer, name="other")


def test_a_model_converted_in_place_computes_as_the_library_does_in_its_new_format():
    lm = tiny_model("qwen3")
    fused = dict(fusing._norms), dict(fusing._rotates)
    expected = hidden_states(wrapped(bare("qwen3").causal_lm.to(torch.bfloat16), lm))
    fusing._norms.update(fused[0])
    fusing._rotates.update(fused[1])
    assert torch.equal(hidden_states(wrapped(lm.causal_lm.to(torch.bfloat16), lm)), expected)


def test_a_copy_has_norms_of_its_own():
    lm = tiny_model("llama")
    copied = copy.deepcopy(lm.causal_lm)
    for module in copied.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.weight.data *= 3
    assert not torch.allclose(hidden_states(wrapped(copied, lm)), hidden_states(lm), atol=0.1)
    assert wrapped(copied.to(torch.bfloat16), lm).shape.dtype == torch.bfloat16
    pickle.loads(pickle.dumps(lm.causal_lm))


class OddRMSNorm(nn.Module):
    """Of a family that is built differently."""

    eps = 1e-6

    def __init__(self, shift):
        super().__init__()
        self.weight, self.shift = nn.Parameter(torch.ones(8)), shift

    def forward(self, hidden, second):
        return hidden, second


class ShiftedRMSNorm(OddRMSNorm):
    def forward(self, hidden):
        return norm_in_place(hidden, self.weight, self.eps) + self.shift


def test_norms_that_can_not_be_tried_stay():
    assert fuse_norms(nn.ModuleList([OddRMSNorm(0)]), norm_in_place, torch.equal) == 0
    hidden = torch.randn(2, 8)
    with on_lanes(object()):
        assert OddRMSNorm(0)(hidden, 5) == (hidden, 5)


@torch.inference_mode()
def test_a_class_of_which_one_norm_differs_stays_for_all():
    plain, hidden = ShiftedRMSNorm(0), torch.randn(2, 8)
    assert fuse_norms(plain, norm_in_place, torch.equal) == 1
    shifted = nn.ModuleList([ShiftedRMSNorm(0), ShiftedRMSNorm(1)])
    assert fuse_norms(shifted, norm_in_place, torch.equal) == 0
    with on_lanes(object()):
        assert torch.equal(shifted[1](hidden), shifted[0](hidden) + 1)


def test_rotary_embeddings_that_can_not_be_tried_stay(llama):
    lm = bare("llama")

    def broken(*_):
        raise AttributeError("None_inv_freq")

    lm.decoder.rotary_emb.forward = broken
    assert fuse_rotary(lm.causal_lm, rotate, close) == 0


def test_what_does_not_run_here_is_told_and_stays(caplog):
    def broken(*_):
        raise RuntimeError("no compiler\nlong story")

    assert fuse_rotary(bare("llama").causal_lm, broken, close) == 0
    assert "no compiler" in caplog.text
    assert "long story" not in caplog.text
