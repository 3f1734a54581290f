"""Inputs instead of keys and values: what was fed to a model gives its working memory again, in one forward."""

import pytest
import torch

from pipeline.engine import Recorder, build_alignment, feed, prefill, think
from pipeline.memory import Inputs, Memory

PROMPTS = [[5, 9, 11, 30, 31, 8, 8, 14], [7, 8, 40], list(range(10, 40))]
STEPS = 5


def thought(lm, prompts, steps, memories=None):
    """A batch that has read prompts and thought, with a record of what it was fed, and its last hidden states."""
    memories = memories or [Memory()] * len(prompts)
    alignment = build_alignment(
        "ridge", input_VD=lm.input_vectors(), output_VD=lm.output_vectors(), input_scale=lm.input_scale
    )
    batch = lm.open(memories, columns=max(map(len, prompts)) + steps)
    hidden = prefill(lm, batch, prompts)
    recorder = Recorder(hidden)
    hidden = think(lm, batch, hidden, alignment, steps, watch=recorder)
    return batch, recorder.inputs(prompts), hidden


def cut(lm, batch, row, start=0, steps=STEPS):
    return batch.cut(row, start, role="r", question_id=f"q{row}", fingerprint=lm.fingerprint, latent_steps=steps)


def close(rebuilt, original):
    assert torch.equal(rebuilt.positions_T, original.positions_T)
    torch.testing.assert_close(rebuilt.keys_LNTH, original.keys_LNTH, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(rebuilt.values_LNTH, original.values_LNTH, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("steps", [0, STEPS])
def test_one_forward_over_what_was_fed_is_prefill_and_thinking(family_lm, steps):
    original, inputs, expected = thought(family_lm, PROMPTS, steps)
    rebuilt = family_lm.open([Memory()] * 3, columns=max(map(len, inputs)))
    hidden = feed(family_lm, rebuilt, inputs)
    torch.testing.assert_close(hidden, expected, atol=1e-4, rtol=1e-4)
    for row in range(3):
        close(cut(family_lm, rebuilt, row, steps=steps), cut(family_lm, original, row, steps=steps))


def test_inputs_go_on_from_memory_of_different_lengths(family_lm):
    known, _, _ = thought(family_lm, PROMPTS, 2)
    memories = [Memory.of([cut(family_lm, known, row, steps=2)]) for row in (1, 0, 2)]
    start = max(map(len, memories))
    apart = [memory if row else Memory() for row, memory in enumerate(memories)]  # the first row has no memory
    original, inputs, _ = thought(family_lm, PROMPTS, STEPS, apart)
    rebuilt = family_lm.open(apart, columns=max(map(len, inputs)))
    feed(family_lm, rebuilt, inputs)
    for row in range(3):
        close(cut(family_lm, rebuilt, row, start), cut(family_lm, original, row, start))


def test_rows_may_differ_in_latent_steps(family_lm):
    """Every row is what it is alone, whatever lies beside it."""
    inputs = [thought(family_lm, [prompt], m)[1][0] for prompt, m in zip(PROMPTS, (0, 7, 2), strict=True)]
    together = family_lm.open([Memory()] * 3, columns=max(map(len, inputs)))
    feed(family_lm, together, inputs)
    for row, (prompt, m) in enumerate(zip(PROMPTS, (0, 7, 2), strict=True)):
        alone, _, _ = thought(family_lm, [prompt], m)
        close(cut(family_lm, together, row, steps=m), cut(family_lm, alone, 0, steps=m))


def test_a_record_holds_the_tokens_and_the_very_inputs_that_the_steps_fed(lm):
    seen = []
    batch = lm.open([Memory()] * 3, columns=40)
    hidden = prefill(lm, batch, PROMPTS)
    alignment = build_alignment("identity", input_VD=lm.input_vectors(), output_VD=lm.output_vectors())
    recorder = Recorder(hidden, then=lambda step, _, embeds_BD: seen.append((step, embeds_BD)))
    think(lm, batch, hidden, alignment, 3, watch=recorder)
    assert [step for step, _ in seen] == [0, 1, 2]  # whoever watches as well is told of every step
    for row, inputs in enumerate(recorder.inputs(PROMPTS)):
        assert inputs.token_ids.tolist() == PROMPTS[row]
        assert torch.equal(inputs.latents_MD, torch.stack([embeds_BD[row] for _, embeds_BD in seen]))
        assert inputs.latents_MD.untyped_storage().nbytes() == inputs.latents_MD.nbytes  # no neighbour's travel along
        assert len(inputs) == len(PROMPTS[row]) + 3
        assert inputs.nbytes == len(PROMPTS[row]) * 8 + 3 * 32 * 4


def test_a_record_without_steps_has_no_latent_inputs_but_their_width(lm):
    _, inputs, _ = thought(lm, PROMPTS, 0)
    assert [one.latents_MD.shape for one in inputs] == [(0, 32)] * 3


def test_latent_inputs_of_another_width_are_refused(lm):
    strange = Inputs(token_ids=torch.tensor([5, 6]), latents_MD=torch.zeros(2, 1))
    with pytest.raises(AssertionError, match="as wide as"):
        feed(lm, lm.open([Memory()], columns=4), [strange])
