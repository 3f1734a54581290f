"""A replica's own choice of how many questions it works on at once, from its free memory and some of the questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.agents.fitting import LIKELY, PROCESS, USED, Held, at_once, held
from pipeline.agents.lengths import caps_of, lengths_of
from pipeline.agents.rehearsal import rehearse
from pipeline.agents.spare import spare_gpu_memory, spare_memory
from pipeline.config import RunConfig
from pipeline.engine import LanguageModel
from pipeline.engine.footprint import footprint_of_loaded
from pipeline.graphs import CollaborationPlan
from pipeline.records import Assignment


@dataclass(frozen=True, kw_only=True)
class Size:
    """How many questions a replica works on at once, and what that is foretold to take."""

    at_once: int
    """Questions."""
    held: Held
    """What they take, with texts at their cap or as long as they are likely to get."""
    peak_bytes: int
    """What the replica's peak will be: of a GPU what it allocates, of a CPU what is resident."""
    fits: bool
    """Whether there is so much memory."""


def size_of(
    lm: LanguageModel,
    config: RunConfig,
    plan: CollaborationPlan,
    sample: Sequence[Assignment],
    *,
    most: int,
    sharing: int,
    served: bool = False,
) -> Size:
    """Takes the number that is set, or else the one that there is memory for.

    Args:
        lm: The model.
        config: The run's settings.
        plan: Who works together; a replica that plays some of the roles needs no more than one that plays all.
        sample: Some of the questions, one at least.
        most: Questions that there are for it.
        sharing: How many replicas share the memory.
        served: Whether texts are written by another engine, in memory of its own.
    """
    device = "cuda" if lm.device.type == "cuda" else "cpu"
    spare = spare_gpu_memory() if device == "cuda" else spare_memory()
    caps = {role: min(cap, LIKELY) for role, cap in caps_of(plan, config.decoding).items()}
    parts = rehearse(sample, plan, lm.tokenizer, config.model.chat_options)
    lengths = lengths_of(parts, handover=config.collaboration.handover, caps=caps, context=lm.context)
    lengths = lengths.thinking() if served else lengths
    size, free = footprint_of_loaded(lm), spare.free_bytes // sharing
    ahead = config.execution.lookup_tokens
    count = config.execution.batch_size or at_once(lengths, size, device, free_bytes=free, most=most, guesses=ahead)
    work = held(lengths.rows(min(count, most)).turns, size, device, guesses=ahead)
    alignment = size.alignment_bytes(config.collaboration.alignment)[0] if plan.thinkers else 0
    process = PROCESS[device] if device == "cpu" else 0  # a GPU's peak is what torch allocates
    return Size(
        at_once=count,
        held=work,
        peak_bytes=size.weight_bytes + alignment + work.nbytes + process,
        fits=work.nbytes <= free * USED[device],
    )
