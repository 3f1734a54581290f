"""Lossless: an agent on received memory computes what it would have computed, had it been fed the same itself.

The reference is the Hugging Face model in one pass without a cache of ours, over token embeddings and latent vectors
in order; for memory that was placed elsewhere, one pass per expert, whose cache is rotated here by the textbook.
"""

import pytest
import torch
from transformers.cache_utils import DynamicCache

from pipeline.engine import build_alignment, prefill, think
from pipeline.memory import Memory
from tiny import tiny_model

STEPS = 5
ATOL = 1e-4
PROMPTS = {"a": [5, 9, 11, 30, 31, 8, 8, 14], "b": [7, 8, 40], "c": [20, 21, 22, 23, 24, 25, 26, 27, 40, 41, 42]}


def alignment_of(lm):
    return build_alignment("ridge", input_VD=lm.input_vectors(), output_VD=lm.output_vectors())


def thinks(lm, prompt, memory, steps=STEPS):
    """One latent agent's turn by the engine."""
    batch = lm.open([memory], columns=len(prompt) + steps)
    start = batch.cursor
    think(lm, batch, prefill(lm, batch, [prompt]), alignment_of(lm), steps)
    return batch.cut(0, start, role="r", question_id="q", fingerprint=lm.fingerprint, latent_steps=steps)


def answers(lm, prompt, memory):
    batch = lm.open([memory], columns=len(prompt))
    return lm.logits(prefill(lm, batch, [prompt]))[0]


@torch.inference_mode()
def reference_inputs(lm, turns):
    """Everything fed so far, [1, T, D]: prompts and the latent inputs that one cache-less pass after another gives."""
    alignment, model = alignment_of(lm), lm.causal_lm
    fed = []
    for prompt, steps in turns:
        fed.append(lm.embed(torch.tensor([prompt])))
        for _ in range(steps):
            hidden = model.get_decoder()(inputs_embeds=torch.cat(fed, 1)).last_hidden_state[:, -1]
            fed.append(alignment(hidden)[:, None])
    return torch.cat(fed, 1)


@torch.inference_mode()
def reference_logits(lm, turns):
    return lm.causal_lm(inputs_embeds=reference_inputs(lm, turns)).logits[0, -1]


def close(a, b):
    torch.testing.assert_close(a, b, atol=ATOL, rtol=ATOL)
    assert int(a.argmax()) == int(b.argmax())


@pytest.mark.parametrize("steps", [0, STEPS])
def test_a_sequential_chain_is_one_pass_over_everything_that_was_fed(family_lm, steps):
    lm, memory = family_lm, Memory()
    for name in "abc":
        memory += Memory.of([thinks(lm, PROMPTS[name], memory, steps)])
    close(
        answers(lm, [9, 10, 11], memory),
        reference_logits(lm, [*((PROMPTS[n], steps) for n in "abc"), ([9, 10, 11], 0)]),
    )


def test_memory_that_left_its_replica_gives_the_same_as_memory_in_place(family_lm):
    lm = family_lm
    here = Memory.of([thinks(lm, PROMPTS["a"], Memory())])
    there = Memory.of(
        type(s)(**{**vars(s), "keys_LNTH": s.keys_LNTH.clone(), "values_LNTH": s.values_LNTH.clone(), "home": None})
        for s in here
    )
    assert torch.equal(answers(lm, [9, 10], there), answers(lm, [9, 10], here))


@torch.inference_mode()
def placed_reference(lm, pieces, prompt):
    """Logits of `prompt` after pieces of independent passes, put one after another in the library's own cache.

    A piece is (turns, which positions of the pass are kept). Keys are rotated here, dimension pair by dimension pair.
    """
    cache, position = DynamicCache(), 0
    for turns, kept in pieces:
        inputs = reference_inputs(lm, turns)
        past = lm.causal_lm.get_decoder()(inputs_embeds=inputs, use_cache=True, past_key_values=DynamicCache())
        chosen = torch.arange(inputs.shape[1])[kept]
        by = position + torch.arange(len(chosen)) - chosen
        for index, layer in enumerate(past.past_key_values.layers):
            keys = textbook_rotation(layer.keys[:, :, chosen], by, theta=10000.0)
            cache.update(keys, layer.values[:, :, chosen], index)
        position += len(chosen)
    return lm.causal_lm(input_ids=torch.tensor([prompt]), past_key_values=cache, use_cache=True).logits[0, -1]


def textbook_rotation(keys, by, theta):
    """Rotates dimension i with dimension i + H/2 by the angle `by * theta ** (-2i / H)`."""
    half = keys.shape[-1] // 2
    angle = by[:, None] * theta ** (-torch.arange(half) * 2.0 / keys.shape[-1])
    x, y = keys[..., :half], keys[..., half:]
    return torch.cat([x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos()], dim=-1)


EVERYTHING, THOUGHTS, PROMPT = slice(None), slice(-STEPS, None), slice(0, -STEPS)


@pytest.fixture(scope="module", params=["llama", "qwen3", "qwen2", "olmo2"])
def plain(request):
    """Families whose rotary embedding is the textbook's."""
    return tiny_model(request.param, rope_parameters={"rope_type": "default", "rope_theta": 10000.0})


@pytest.mark.parametrize(("part", "kept"), [("full", EVERYTHING), ("thoughts", THOUGHTS), ("prompt", PROMPT)])
def test_independent_experts_are_placed_one_after_another(plain, part, kept):
    experts = [thinks(plain, PROMPTS[name], Memory()) for name in "abc"]
    logits = answers(plain, [9, 10, 11], Memory.of(expert.part(part) for expert in experts))
    pieces = [([(PROMPTS[name], STEPS)], kept) for name in "abc"]
    close(logits, placed_reference(plain, pieces, [9, 10, 11]))


@pytest.mark.parametrize(("part", "kept"), [("thoughts", THOUGHTS), ("prompt", PROMPT)])
def test_a_chain_that_hands_over_a_part_is_exact_from_hop_to_hop(plain, part, kept):
    first = thinks(plain, PROMPTS["a"], Memory())
    handed = Memory.of([first.part(part)])
    close(
        answers(plain, PROMPTS["b"], handed), placed_reference(plain, [([(PROMPTS["a"], STEPS)], kept)], PROMPTS["b"])
    )
    assert int(plain.open([handed], columns=1).next_positions()[0]) == len(handed)


def test_experts_of_every_family_merge_without_stale_phases(family_lm):
    """Moving each expert to where it lies equals computing it there: positions only, nothing else changes."""
    lm = family_lm
    experts = [thinks(lm, PROMPTS[name], Memory()) for name in "ab"]
    merged = lm.open([Memory.of(experts)], columns=1)
    batch = lm.open([Memory()], columns=len(PROMPTS["b"]) + STEPS)
    inputs = reference_inputs(lm, [(PROMPTS["b"], STEPS)])
    start = len(experts[0])
    lm.forward(batch, inputs, torch.arange(start, start + inputs.shape[1])[None])
    torch.testing.assert_close(
        merged.keys_LBNCH[:, 0, :, start : start + inputs.shape[1]],
        batch.keys_LBNCH[:, 0, :, : inputs.shape[1]],
        atol=ATOL,
        rtol=ATOL,
    )
