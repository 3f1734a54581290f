"""The engine's forward against the model's own, and its masks against their definition."""

import pytest
import torch

from pipeline.engine import prefill, think
from pipeline.engine.alignment import build_alignment
from pipeline.engine.inspection import attention_windows, first_layer
from pipeline.engine.model import slot_mask
from pipeline.memory import Memory
from tiny import tiny_model

PROMPTS = [[5, 9, 11, 30, 31], [7, 8], [20, 21, 22, 23, 24, 25, 26, 27, 40]]


@pytest.fixture(scope="module")
def alignment(lm):
    return build_alignment("ridge", input_VD=lm.input_vectors(), output_VD=lm.output_vectors())


def reference_rollout(lm, prompt, alignment, steps):
    """A plain loop over the Hugging Face model, one question, no padding, its own cache."""
    model = lm.causal_lm
    with torch.inference_mode():
        out = model.model(input_ids=torch.tensor([prompt]), use_cache=True)
        hiddens = [out.last_hidden_state[:, -1]]
        for _ in range(steps):
            embeds = alignment(hiddens[-1])[:, None]
            out = model.model(inputs_embeds=embeds, past_key_values=out.past_key_values, use_cache=True)
            hiddens.append(out.last_hidden_state[:, -1])
    return hiddens, out.past_key_values


def test_prefill_of_ragged_prompts_equals_each_prompt_alone(lm):
    slots = lm.open([Memory()] * 3, columns=9)
    logits_BV = lm.logits(prefill(lm, slots, PROMPTS))
    for logits_V, prompt in zip(logits_BV, PROMPTS, strict=True):
        expected = lm.causal_lm(input_ids=torch.tensor([prompt])).logits[0, -1]
        torch.testing.assert_close(logits_V, expected, atol=1e-4, rtol=1e-4)


def test_a_latent_rollout_equals_a_plain_loop_over_the_model(lm, alignment):
    steps = 6
    slots = lm.open([Memory()] * 3, columns=9 + steps)
    hidden_BD = think(lm, slots, prefill(lm, slots, PROMPTS), alignment, steps)
    for slot, hidden_D, prompt in zip(slots, hidden_BD, PROMPTS, strict=True):
        hiddens, cache = reference_rollout(lm, prompt, alignment, steps)
        torch.testing.assert_close(hidden_D, hiddens[-1][0], atol=1e-4, rtol=1e-4)
        segment = slot.cut(0, role="planner", question_id="q", fingerprint=lm.fingerprint, latent_steps=steps)
        assert segment.positions_T.tolist() == list(range(len(prompt) + steps))
        for layer in range(lm.shape.layers):
            torch.testing.assert_close(segment.keys_LNTH[layer], cache.layers[layer].keys[0], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(segment.values_LNTH[layer], cache.layers[layer].values[0], atol=1e-4, rtol=1e-4)


def test_a_second_prompt_continues_where_the_memory_ends(lm):
    first, second = PROMPTS[0], PROMPTS[2]
    slots = lm.open([Memory()], columns=len(first) + len(second))
    prefill(lm, slots, [first])
    logits_BV = lm.logits(prefill(lm, slots, [second]))
    expected = lm.causal_lm(input_ids=torch.tensor([first + second])).logits[:, -1]
    torch.testing.assert_close(logits_BV, expected, atol=1e-4, rtol=1e-4)


def test_the_head_is_applied_to_last_positions_only(lm, alignment):
    seen = []
    hook = lm.head.register_forward_hook(lambda module, args, out: seen.append(args[0].shape))
    try:
        slots = lm.open([Memory()] * 3, columns=12)
        hidden_BD = prefill(lm, slots, PROMPTS)
        think(lm, slots, hidden_BD, alignment, 3)
        assert seen == []
        lm.logits(hidden_BD)
    finally:
        hook.remove()
    assert seen == [(3, lm.causal_lm.config.hidden_size)]


def test_the_model_computes_no_position_but_those_of_questions(lm, alignment):
    """What lies between slots, after shorter prompts or behind texts is never fed."""
    computed = []
    hook = first_layer(lm.decoder).register_forward_pre_hook(
        lambda _, args, kwargs: computed.append((args[0] if args else kwargs["hidden_states"]).shape[:2]),
        with_kwargs=True,
    )
    try:
        slots = lm.open([Memory()] * 3, columns=12)
        think(lm, slots, prefill(lm, slots, PROMPTS), alignment, 3)
    finally:
        hook.remove()
    assert computed == [(1, sum(map(len, PROMPTS))), (1, 3), (1, 3), (1, 3)]


def test_a_mask_of_one_slot_hides_the_future_and_what_is_outside_the_window():
    cpu = torch.device("cpu")
    full = slot_mask(3, 2, window=None, device=cpu)[0, 0].int().tolist()
    assert full == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    window = slot_mask(3, 2, window=2, device=cpu)[0, 0].int().tolist()
    assert window == [[0, 0, 1, 1, 0], [0, 0, 0, 1, 1]]


def test_outside_the_engine_a_model_computes_what_it_always_did(family_lm):
    """Its attention was replaced; its own `generate` and forward, padded batches included, must not notice."""
    model = family_lm.causal_lm
    ids_BT, mask_BT = torch.tensor([PROMPTS[2], [0] * 4 + PROMPTS[0]]), torch.ones(2, 9, dtype=torch.int64)
    mask_BT[1, :4] = 0
    with torch.inference_mode():
        replaced = model(input_ids=ids_BT, attention_mask=mask_BT, position_ids=mask_BT.cumsum(-1) - 1).logits
        name = model.config.get_text_config()._attn_implementation
        try:
            model.set_attn_implementation("eager")
            original = model(input_ids=ids_BT, attention_mask=mask_BT, position_ids=mask_BT.cumsum(-1) - 1).logits
        finally:
            model.set_attn_implementation(name)
    torch.testing.assert_close(replaced[0], original[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(replaced[1, 4:], original[1, 4:], atol=1e-4, rtol=1e-4)


def test_layers_without_memory_per_position_are_refused_by_name(llama):
    config = type("Config", (), {"layer_types": ["full_attention", "linear_attention"], "sliding_window": None})
    with pytest.raises(ValueError, match="linear_attention"):
        attention_windows(config)


def test_memory_of_another_model_is_refused_naming_both(llama):
    other = tiny_model("llama", seed=1)
    assert other.fingerprint != llama.fingerprint
    [slot] = other.open([Memory()], columns=5)
    prefill(other, [slot], [PROMPTS[0]])
    segment = slot.cut(0, role="planner", question_id="q", fingerprint=other.fingerprint, latent_steps=0)
    with pytest.raises(ValueError, match=f"{other.fingerprint}.*{llama.fingerprint}"):
        llama.open([Memory.of([segment])], columns=1)
