"""What is asked of a model over several devices: one evaluation in small, to be compared with the same on one device.

Run as a program it spreads a family over pretend devices, by accelerate, and exits with an error if anything differs:

python tests/spread.py llama
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from accelerate import dispatch_model

from pipeline.config import DecodingConfig
from pipeline.engine import LanguageModel, LatentModel, Lens, build_alignment, decode, prefill, think, wrap_model
from pipeline.memory import Memory, Segment, Slot
from pretend import pretend_devices
from tiny import tiny_model

STEPS = 3
PROMPTS = [[5, 9, 11, 30, 31, 8, 8, 14], [7, 8, 40], [20, 21, 22, 23, 24, 25], [41]]
CHAINED = [PROMPTS, PROMPTS[::-1], [prompt * 2 for prompt in PROMPTS]]
DECODING = DecodingConfig(max_new_tokens=24, temperature=1.0, top_p=0.95, seed=3)
EARLY_STOPS = frozenset(range(3, 12))
"""Token ids that end texts of random models soon, at different steps."""


@dataclass(kw_only=True)
class Outcome:
    """What came out."""

    texts: list[list[int]]
    """Token ids of the solvers' texts."""
    answer: str
    """What `LatentModel` said."""
    segments: list[Segment]
    """What thinkers left behind."""

    def check(self, other: Outcome) -> None:
        """Fails unless the other is the same: texts token for token, segments number for number."""
        assert self.texts == other.texts
        assert self.answer == other.answer
        for ours, theirs in zip(self.segments, other.segments, strict=True):
            assert torch.equal(ours.keys_LNTH.cpu(), theirs.keys_LNTH.cpu())
            assert torch.equal(ours.values_LNTH.cpu(), theirs.values_LNTH.cpu())


@torch.inference_mode()
def evaluation(lm: LanguageModel) -> Outcome:
    """A chain of thinkers in place, a merge of independent ones, and a solver after each."""
    lm.stop_ids = EARLY_STOPS
    memories = [Memory()] * len(PROMPTS)
    slots: list[Slot] | None = None
    for prompts in CHAINED:
        slots, turns = thought(lm, memories, prompts, in_place=slots)
        memories = [memory + Memory.of([turn]) for memory, turn in zip(memories, turns, strict=True)]
    merged = [apart(lm, prompt) + apart(lm, prompt + [9]).part("thoughts") for prompt in PROMPTS]
    texts = [text for known in (memories, merged) for text in solved(lm, known, PROMPTS)]
    answer = LatentModel(lm).answer("How many?", memory=merged[0], max_new_tokens=4)
    segments = [segment for memory in (*memories, *merged) for segment in memory]
    assert {segment.keys_LNTH.device for segment in segments} == {lm.device}
    return Outcome(texts=texts, answer=answer, segments=segments)


def thought(
    lm: LanguageModel, memories: Sequence[Memory], prompts: Sequence[Sequence[int]], in_place: list[Slot] | None = None
) -> tuple[list[Slot], list[Segment]]:
    """A thinker's turn, and what it leaves behind; `in_place` are the slots that have to be taken over."""
    slots = lm.open(memories, columns=max(map(len, prompts)) + STEPS)
    assert in_place is None or all(slot is before for slot, before in zip(slots, in_place, strict=True))
    for slot in slots:
        assert [cache.keys_LRNCH.device for cache in slot.cache.caches] == [stage.device for stage in lm.shape.stages]
    starts = [slot.length for slot in slots]
    alignment = build_alignment("ridge", input_VD=lm.input_vectors(), output_VD=lm.output_vectors())
    lenses = [Lens(lm) for _ in prompts]
    think(lm, slots, prefill(lm, slots, prompts), alignment, STEPS, watch=lambda place, *seen: lenses[place](*seen))
    assert all(len(lens.thoughts) == STEPS for lens in lenses)
    made = {"role": "r", "question_id": "q", "fingerprint": lm.fingerprint, "latent_steps": STEPS}
    return slots, [slot.cut(start, **made).signed() for slot, start in zip(slots, starts, strict=True)]


def apart(lm: LanguageModel, prompt: Sequence[int]) -> Memory:
    """What an independent expert leaves behind."""
    return Memory.of(thought(lm, [Memory()], [prompt])[1])


def solved(lm: LanguageModel, memories: Sequence[Memory], prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    for memory in memories:
        memory.verify()
    slots = lm.open(memories, columns=max(map(len, prompts)))
    keys = [(str(place), "solver") for place in range(len(slots))]
    budgets = [DECODING.max_new_tokens] * len(slots)
    hidden_BD = prefill(lm, slots, prompts)
    written = decode(lm, slots, hidden_BD, noise_keys=keys, budgets=budgets, config=DECODING)
    lengths = sorted(len(text.token_ids) for text in written)
    assert lengths[1] < lengths[-1], "texts end at different steps, so that some went on after others had left"
    return [text.token_ids for text in written]


def device_map(lm: LanguageModel, devices: Sequence[str]) -> dict[str, str]:
    """Layers one after another on the devices, the way accelerate's own maps go: what follows them is on the last."""
    layers = lm.shape.layers
    places = {f"model.layers.{index}": devices[index * len(devices) // layers] for index in range(layers)}
    ends = dict.fromkeys(("model.norm", "model.rotary_emb", "lm_head"), devices[-1])
    return {"model.embed_tokens": devices[0], **places, **ends}


def hooked(lm: LanguageModel, devices: Sequence[str]) -> LanguageModel:
    """The same model, spread by accelerate."""
    spread = dispatch_model(lm.causal_lm, device_map(lm, devices), force_hooks=True)
    return wrap_model(spread, lm.tokenizer)


def main(family: str) -> None:
    """Compares a model over two and over three pretend devices with one in host memory."""
    expected = evaluation(tiny_model(family))
    with pretend_devices():
        for count in (2, 3):
            lm = hooked(tiny_model(family), [f"pretend:{index}" for index in range(count)])
            assert len(lm.shape.stages) == len(lm.devices) == count
            evaluation(lm).check(expected)
            sys.stdout.write(f"{family} over {count} devices: the same\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1])
