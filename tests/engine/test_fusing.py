"""Parts of layers in fewer kernels: used where they agree with the original, and only inside the engine's forward."""

import sys

import pytest
import torch

from pipeline.config import DecodingConfig
from pipeline.engine import decode, fusing, prefill
from pipeline.engine.attention import on_lanes
from pipeline.engine.fusing import fuse, fuse_norms, fuse_rotary
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
    monkeypatch.setattr(fusing, "DEVICES", {"cpu"})
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


@pytest.mark.parametrize("family", ["qwen3", "llama"])
def test_a_model_with_fused_parts_writes_the_same_text(family):
    expected, lm = text(tiny_model(family)), tiny_model(family)
    norms = fuse_norms(lm.causal_lm)
    assert norms == sum(type(module).__name__.endswith("RMSNorm") for module in lm.causal_lm.modules()) > 0
    fuse_rotary(lm.causal_lm, rotate)
    calls = rotate.calls
    assert text(lm) == expected
    assert rotate.calls > calls


def test_norms_that_compute_something_else_stay():
    lm = tiny_model("gemma2")
    assert fuse_norms(lm.causal_lm) == 0


def test_a_rotation_that_differs_stays(llama):
    assert fuse_rotary(llama.causal_lm, lambda vectors, cosine, sine: vectors) == 0


def test_a_part_of_a_head_is_rotated_by_the_familys_own_function():
    """A family's function is shared by models that rotate whole heads and models that rotate a part."""
    module = sys.modules["transformers.models.llama.modeling_llama"]
    original = module.apply_rotary_pos_emb
    assert fuse_rotary(tiny_model("llama").causal_lm, rotate) == 1
    calls, vectors, angle = rotate.calls, torch.randn(1, 2, 3, 8), torch.randn(1, 3, 1)
    with on_lanes(object()):
        found = module.apply_rotary_pos_emb(vectors, vectors, angle.cos(), angle.sin())
    assert rotate.calls == calls
    assert torch.equal(found[0], original(vectors, vectors, angle.cos(), angle.sin())[0])


def test_outside_the_engines_forward_the_original_runs():
    lm = tiny_model("qwen3")
    ids = torch.tensor([PROMPTS[0]])
    with torch.inference_mode():
        expected = lm.causal_lm(ids).logits
        fuse_norms(lm.causal_lm)
        fuse_rotary(lm.causal_lm, rotate)
        calls = rotate.calls
        assert torch.equal(lm.causal_lm(ids).logits, expected)
        assert rotate.calls == calls
    norm = lm.decoder.norm
    with on_lanes(object()):
        assert norm(torch.ones(2, 32)).shape == (2, 32)


def test_on_a_cpu_nothing_is_replaced(llama):
    assert fuse(llama.causal_lm) == 0
