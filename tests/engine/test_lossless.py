"""Lossless: an agent on received memory computes what it would have computed, had it been fed the same itself.

The reference is the Hugging Face model in one pass without a cache of ours, over token embeddings and latent vectors
in order; for memory that was placed elsewhere, one pass per expert, whose cache is rotated here by the textbook.
"""

import pytest
import torch
from transformers.cache_utils import DynamicCache

from pipeline.config import DecodingConfig
from pipeline.engine import build_alignment, decode, prefill, think
from pipeline.memory import Memory
from tiny import tiny_model

STEPS = 5
TOKENS = 4
ATOL = 1e-4
PROMPTS = {"a": [5, 9, 11, 30, 31, 8, 8, 14], "b": [7, 8, 40], "c": [20, 21, 22, 23, 24, 25, 26, 27, 40, 41, 42]}


def alignment_of(lm):
    return build_alignment("ridge", input_VD=lm.input_vectors(), output_VD=lm.output_vectors())


def thinks(lm, prompt, memory, steps=STEPS):
    """One latent agent's turn by the engine."""
    [slot] = lm.open([memory], columns=len(prompt) + steps)
    start = slot.length
    think(lm, [slot], prefill(lm, [slot], [prompt]), alignment_of(lm), steps)
    return slot.cut(start, role="r", question_id="q", fingerprint=lm.fingerprint, latent_steps=steps)


def answers(lm, prompt, memory):
    """Logits after the prompt, and the greedy tokens that follow, by the engine."""
    slots = lm.open([memory], columns=len(prompt))
    hidden = prefill(lm, slots, [prompt])
    config = DecodingConfig(temperature=0, max_new_tokens=TOKENS)
    original, lm.stop_ids = lm.stop_ids, frozenset()
    try:
        written = decode(lm, slots, hidden, noise_keys=[("q", "solver")], budgets=[TOKENS], config=config)[0]
    finally:
        lm.stop_ids = original
    return lm.logits(hidden)[0], written.token_ids


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
def reference_answer(lm, turns):
    """The same from one pass over everything, computed again for every token."""
    inputs, logits = reference_inputs(lm, turns), []
    for _ in range(TOKENS):
        logits.append(lm.causal_lm(inputs_embeds=inputs).logits[0, -1])
        inputs = torch.cat([inputs, lm.embed(logits[-1].argmax()[None, None])], dim=1)
    return logits[0], [int(token.argmax()) for token in logits]


def same(ours, reference):
    torch.testing.assert_close(ours[0], reference[0], atol=ATOL, rtol=ATOL)
    assert ours[1] == reference[1]


@pytest.mark.parametrize("steps", [0, STEPS])
def test_a_sequential_chain_is_one_pass_over_everything_that_was_fed(family_lm, steps):
    lm, memory = family_lm, Memory()
    for name in "abc":
        memory += Memory.of([thinks(lm, PROMPTS[name], memory, steps)])
    same(
        answers(lm, [9, 10, 11], memory),
        reference_answer(lm, [*((PROMPTS[n], steps) for n in "abc"), ([9, 10, 11], 0)]),
    )


def test_memory_that_left_its_replica_gives_the_same_as_memory_in_place(family_lm):
    lm = family_lm
    here = Memory.of([thinks(lm, PROMPTS["a"], Memory())])
    there = Memory.of(
        type(s)(**{**vars(s), "keys_LNTH": s.keys_LNTH.clone(), "values_LNTH": s.values_LNTH.clone(), "home": None})
        for s in here
    )
    (apart, apart_tokens), (together, together_tokens) = (answers(lm, [9, 10], memory) for memory in (there, here))
    assert torch.equal(apart, together)
    assert apart_tokens == together_tokens


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
    return continued(lm, cache, position, prompt)


@torch.inference_mode()
def continued(lm, cache, position, prompt):
    """Logits after a prompt on top of a library cache, and the greedy tokens that follow."""
    logits, fed = [], prompt
    for _ in range(TOKENS):
        positions = torch.arange(position, position + len(fed))[None]
        out = lm.causal_lm(input_ids=torch.tensor([fed]), past_key_values=cache, position_ids=positions, use_cache=True)
        logits.append(out.logits[0, -1])
        position, fed = position + len(fed), [int(logits[-1].argmax())]
    return logits[0], [int(token.argmax()) for token in logits]


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
    ours = answers(plain, [9, 10, 11], Memory.of(expert.part(part) for expert in experts))
    pieces = [([(PROMPTS[name], STEPS)], kept) for name in "abc"]
    same(ours, placed_reference(plain, pieces, [9, 10, 11]))


@pytest.mark.parametrize(("part", "kept"), [("thoughts", THOUGHTS), ("prompt", PROMPT)])
def test_an_agent_that_gets_a_part_computes_what_the_model_would(plain, part, kept):
    first = thinks(plain, PROMPTS["a"], Memory())
    handed = Memory.of([first.part(part)])
    same(answers(plain, PROMPTS["b"], handed), placed_reference(plain, [([(PROMPTS["a"], STEPS)], kept)], PROMPTS["b"]))
    assert plain.open([handed], columns=1)[0].length == len(handed)


@torch.inference_mode()
def shifted_reference(lm, pieces, prompt):
    """As `placed_reference`, for every family: nothing is rotated, each pass is computed where it ends up."""
    cache, position = DynamicCache(), 0
    for turns, kept in pieces:
        inputs = reference_inputs(lm, turns)
        chosen = torch.arange(inputs.shape[1])[kept]
        positions = torch.arange(inputs.shape[1])[None] + position - int(chosen[0])
        past = lm.causal_lm.get_decoder()(
            inputs_embeds=inputs, position_ids=positions, use_cache=True, past_key_values=DynamicCache()
        )
        for index, layer in enumerate(past.past_key_values.layers):
            cache.update(layer.keys[:, :, chosen], layer.values[:, :, chosen], index)
        position += len(chosen)
    return continued(lm, cache, position, prompt)


@pytest.mark.parametrize(("part", "kept"), [("full", EVERYTHING), ("thoughts", THOUGHTS), ("prompt", PROMPT)])
def test_merged_experts_of_every_family_are_what_the_model_would_have_computed_there(family_lm, part, kept):
    experts = [thinks(family_lm, PROMPTS[name], Memory()) for name in "abc"]
    ours = answers(family_lm, [9, 10, 11], Memory.of(expert.part(part) for expert in experts))
    pieces = [([(PROMPTS[name], STEPS)], kept) for name in "abc"]
    same(ours, shifted_reference(family_lm, pieces, [9, 10, 11]))
