"""Inputs instead of keys and values: what was fed to a model gives its working memory again, in one forward."""

import pytest
import torch

from pipeline.engine import Row, RunningBatch, Thinking, build_alignment, feed
from pipeline.memory import Inputs, Memory

PROMPTS = [[5, 9, 11, 30, 31, 8, 8, 14], [7, 8, 40], list(range(10, 40))]
STEPS = 5


def thought(lm, prompts, steps, memories=None, **more):
    """Slots that prompts were read and thoughts thought in, what was fed, and the last hidden states."""
    alignment = build_alignment(
        "ridge", input_VD=lm.input_vectors(), output_VD=lm.output_vectors(), input_scale=lm.input_scale
    )
    slots = lm.open(memories or [Memory()] * len(prompts), columns=max(map(len, prompts)) + steps)
    goals = [Thinking(alignment=alignment, steps=steps, keep=True, **more) for _ in prompts]
    rows = [Row(slot=slot, goal=goal, token_ids=p) for slot, goal, p in zip(slots, goals, prompts, strict=True)]
    RunningBatch(lm).run(rows)
    inputs = [
        Inputs(
            token_ids=torch.tensor(prompt),
            latents_MD=torch.stack(goal.latents) if goal.latents else torch.zeros(0, lm.input_vectors().shape[1]),
        )
        for prompt, goal in zip(prompts, goals, strict=True)
    ]
    return slots, inputs, torch.stack([row.hidden_D for row in rows])


def cut(lm, slot, start=0, steps=STEPS):
    return slot.cut(start, role="r", question_id="q", fingerprint=lm.fingerprint, latent_steps=steps)


def close(rebuilt, original):
    assert torch.equal(rebuilt.positions_T, original.positions_T)
    torch.testing.assert_close(rebuilt.keys_LNTH, original.keys_LNTH, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(rebuilt.values_LNTH, original.values_LNTH, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("steps", [0, STEPS])
def test_one_forward_over_what_was_fed_is_prefill_and_thinking(family_lm, steps):
    originals, inputs, expected = thought(family_lm, PROMPTS, steps)
    rebuilt = family_lm.open([Memory()] * 3, columns=max(map(len, inputs)))
    hidden = feed(family_lm, rebuilt, inputs)
    torch.testing.assert_close(hidden, expected, atol=1e-4, rtol=1e-4)
    for again, original in zip(rebuilt, originals, strict=True):
        close(cut(family_lm, again, steps=steps), cut(family_lm, original, steps=steps))


def test_inputs_go_on_from_memory_of_different_lengths(family_lm):
    known, _, _ = thought(family_lm, PROMPTS, 2)
    memories = [Memory.of([cut(family_lm, known[place], steps=2)]) for place in (1, 0, 2)]
    apart = [memory if place else Memory() for place, memory in enumerate(memories)]  # the first has no memory
    originals, inputs, _ = thought(family_lm, PROMPTS, STEPS, apart)
    rebuilt = family_lm.open(apart, columns=max(map(len, inputs)))
    assert not {id(slot) for slot in rebuilt} & {id(slot) for slot in originals}
    feed(family_lm, rebuilt, inputs)
    for again, original, memory in zip(rebuilt, originals, apart, strict=True):
        close(cut(family_lm, again, len(memory)), cut(family_lm, original, len(memory)))


def test_questions_may_differ_in_latent_steps(family_lm):
    """Every one is what it is alone, whatever lies beside it."""
    counts = (0, 7, 2)
    inputs = [thought(family_lm, [prompt], m)[1][0] for prompt, m in zip(PROMPTS, counts, strict=True)]
    together = family_lm.open([Memory()] * 3, columns=max(map(len, inputs)))
    feed(family_lm, together, inputs)
    for slot, prompt, m in zip(together, PROMPTS, counts, strict=True):
        [alone], _, _ = thought(family_lm, [prompt], m)
        close(cut(family_lm, slot, steps=m), cut(family_lm, alone, steps=m))


@pytest.mark.parametrize("read_at_once", [1, 3, 7])
def test_latent_inputs_are_read_in_chunks_as_they_are_at_once(lm, read_at_once):
    """Chunks end within prompts, within latent inputs and between the two."""
    originals, inputs, _ = thought(lm, PROMPTS, STEPS)
    rebuilt = lm.open([Memory()] * 3, columns=40)
    batch = RunningBatch(lm, read_at_once=read_at_once)
    goals = [Thinking(alignment=build_identity(lm), steps=0) for _ in PROMPTS]
    batch.run(
        [
            Row(slot=slot, goal=goal, token_ids=fed.token_ids.tolist(), latents_MD=fed.latents_MD)
            for slot, goal, fed in zip(rebuilt, goals, inputs, strict=True)
        ]
    )
    assert batch.tally.positions == sum(map(len, inputs))
    for again, original in zip(rebuilt, originals, strict=True):
        close(cut(lm, again), cut(lm, original))


def build_identity(lm):
    return build_alignment("identity", input_VD=lm.input_vectors(), output_VD=lm.output_vectors())


def test_what_is_kept_are_the_very_inputs_that_the_steps_fed(lm):
    seen = []
    _, inputs, _ = thought(lm, PROMPTS[:1], 3, watch=lambda step, _, embeds_D: seen.append((step, embeds_D)))
    assert [step for step, _ in seen] == [0, 1, 2]  # whoever watches as well is told of every step
    assert torch.equal(inputs[0].latents_MD, torch.stack([embeds_D for _, embeds_D in seen]))
    assert len(inputs[0]) == len(PROMPTS[0]) + 3
    assert inputs[0].nbytes == len(PROMPTS[0]) * 8 + 3 * 32 * 4


def test_nothing_is_kept_unless_asked_for(lm):
    goal = Thinking(alignment=build_identity(lm), steps=3)
    RunningBatch(lm).run([Row(slot=lm.open([Memory()], columns=20)[0], goal=goal, token_ids=PROMPTS[0])])
    assert (goal.taken, goal.latents) == (3, [])


def test_latent_inputs_of_another_width_are_refused(lm):
    strange = Inputs(token_ids=torch.tensor([5, 6]), latents_MD=torch.zeros(2, 1))
    with pytest.raises(AssertionError, match="as wide as"):
        feed(lm, lm.open([Memory()], columns=4), [strange])
