"""The engine's forward against the model's own, and its masks against their definition."""

import pytest
import torch

from pipeline.engine import prefill, think
from pipeline.engine.alignment import build_alignment
from pipeline.engine.inspection import attention_windows
from pipeline.engine.model import attention_mask
from pipeline.memory import Memory

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
    batch = lm.open([Memory()] * 3, columns=9)
    logits_BV = lm.logits(prefill(lm, batch, PROMPTS))
    for row, prompt in enumerate(PROMPTS):
        expected = lm.causal_lm(input_ids=torch.tensor([prompt])).logits[0, -1]
        torch.testing.assert_close(logits_BV[row], expected, atol=1e-4, rtol=1e-4)


def test_a_latent_rollout_equals_a_plain_loop_over_the_model(lm, alignment):
    steps = 6
    batch = lm.open([Memory()] * 3, columns=9 + steps)
    hidden_BD = prefill(lm, batch, PROMPTS)
    hidden_BD = think(lm, batch, hidden_BD, alignment, steps)
    for row, prompt in enumerate(PROMPTS):
        hiddens, cache = reference_rollout(lm, prompt, alignment, steps)
        torch.testing.assert_close(hidden_BD[row], hiddens[-1][0], atol=1e-4, rtol=1e-4)
        segment = batch.cut(
            row, 0, role="planner", question_id=str(row), fingerprint=lm.fingerprint, latent_steps=steps
        )
        assert segment.positions_T.tolist() == list(range(len(prompt) + steps))
        for layer in range(lm.shape.layers):
            torch.testing.assert_close(segment.keys_LNTH[layer], cache.layers[layer].keys[0], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(segment.values_LNTH[layer], cache.layers[layer].values[0], atol=1e-4, rtol=1e-4)


def test_a_second_prompt_continues_where_the_memory_ends(lm):
    first, second = PROMPTS[0], PROMPTS[2]
    batch = lm.open([Memory()], columns=len(first) + len(second))
    prefill(lm, batch, [first])
    logits_BV = lm.logits(prefill(lm, batch, [second]))
    expected = lm.causal_lm(input_ids=torch.tensor([first + second])).logits[:, -1]
    torch.testing.assert_close(logits_BV, expected, atol=1e-4, rtol=1e-4)


def test_the_head_is_applied_to_last_positions_only(lm):
    seen = []
    hook = lm.head.register_forward_hook(lambda module, args, out: seen.append(args[0].shape))
    try:
        batch = lm.open([Memory()] * 3, columns=12)
        hidden_BD = prefill(lm, batch, PROMPTS)
        think(
            lm,
            batch,
            hidden_BD,
            build_alignment("identity", input_VD=lm.input_vectors(), output_VD=lm.output_vectors()),
            3,
        )
        assert seen == []
        lm.logits(hidden_BD)
    finally:
        hook.remove()
    assert seen == [(3, lm.causal_lm.config.hidden_size)]


def test_masks_hide_padding_the_future_and_what_is_outside_the_window():
    pad = -1
    positions_BC = torch.tensor([[pad, 0, 1, 2, pad, 3, 4]])
    new = torch.tensor([[pad, 3, 4]])
    full = attention_mask(positions_BC, new, start=4, window=None)[0, 0].int().tolist()
    assert full == [[0, 0, 0, 0, 1, 0, 0], [0, 1, 1, 1, 0, 1, 0], [0, 1, 1, 1, 0, 1, 1]]
    window = attention_mask(positions_BC, new, start=4, window=2)[0, 0].int().tolist()
    assert window == [[0, 0, 0, 0, 1, 0, 0], [0, 0, 0, 1, 0, 1, 0], [0, 0, 0, 0, 0, 1, 1]]


def test_layers_without_memory_per_position_are_refused_by_name(llama):
    config = type("Config", (), {"layer_types": ["full_attention", "linear_attention"], "sliding_window": None})
    with pytest.raises(ValueError, match="linear_attention"):
        attention_windows(config)


def test_memory_of_another_model_is_refused_naming_both(llama):
    from tiny import tiny_model

    other = tiny_model("llama", seed=1)
    assert other.fingerprint != llama.fingerprint
    batch = other.open([Memory()], columns=5)
    prefill(other, batch, [PROMPTS[0]])
    segment = batch.cut(0, 0, role="planner", question_id="q", fingerprint=other.fingerprint, latent_steps=0)
    with pytest.raises(ValueError, match=f"{other.fingerprint}.*{llama.fingerprint}"):
        llama.open([Memory.of([segment])], columns=1)
