"""How many questions a replica works on at once: what its memory has room for, where nobody says. Pure arithmetic.

The number changes no answer. It is chosen so that questions like the longest ones fit; should they turn out longer, the
replica goes on with half of them (`crowd.py`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.agents.holding import moments
from pipeline.agents.lengths import Lengths, TurnLengths
from pipeline.engine.footprint import Footprint
from pipeline.engine.guessing import most_drawn
from pipeline.engine.running import READ_AT_ONCE

MOST = {"cpu": 64, "cuda": 256}
"""Questions at once at most, by device: beyond that a step only gets slower, as its matrix products are long large."""
RUNGS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Numbers that are chosen from, so that a little more or less of free memory makes no difference from run to run."""
LIKELY = 4096
"""Tokens that a text is taken to have at most: few run to larger budgets, and room for all that might would idle."""
USED = {"cpu": 0.6, "cuda": 0.9}
"""Of the free memory what questions may take, by device: on a CPU other programs and the object store want some too."""


PROCESS = {"cpu": 560 << 20, "cuda": 1 << 30}
"""Bytes of everything that is not counted. On a CPU: interpreter, Ray, torch, transformers and tokenizer, measured with
the embedded model. On a GPU: the CUDA context and kernels' workspaces, which nobody has measured yet."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """Memory that questions take on a replica at the worst moment, besides weights."""

    cache_bytes: int
    """Cache."""
    working_bytes: int
    """What computing a step takes besides."""
    slots: int
    """Slots of the cache."""
    columns: int
    """Columns of the longest one."""

    @property
    def nbytes(self) -> int:
        """All of it."""
        return self.cache_bytes + self.working_bytes


def held(
    turns: Sequence[TurnLengths], size: Footprint, device: str, *, guesses: int | None = None, **where: object
) -> Held:
    """What questions take that are worked on side by side.

    On a CPU the cache takes what is written, on a GPU all slots have room for the longest.

    Args:
        turns: A replica's turns on them, in working order; none where all are another engine's.
        size: The model.
        device: cuda or cpu.
        guesses: Tokens that are guessed after a text's next input at most; by default what suits the device.
        where: `received` and `keep` of `moments`.
    """
    if not turns:
        return Held(cache_bytes=0, working_bytes=0, slots=0, columns=0)
    found = moments(turns, **where)  # type: ignore[arg-type]
    count = len(turns[0].prompts)
    slots, columns = count * max(m.slots for m in found), max(m.longest for m in found)
    positions = max(m.positions for m in found) if device == "cpu" else slots * columns
    reading = min(READ_AT_ONCE[device], max(sum(turn.prompts) for turn in turns))
    drawn = most_drawn(count, device, guesses) if any(turn.latent_steps is None for turn in turns) else 0
    return Held(
        cache_bytes=positions * size.shape.bytes_per_position,
        working_bytes=size.working_bytes(reading + max(count, drawn), drawn, columns),
        slots=slots,
        columns=columns,
    )


def at_once(
    lengths: Lengths, size: Footprint, device: str, *, free_bytes: int, most: int, guesses: int | None = None
) -> int:
    """How many questions fit, one at least.

    Args:
        lengths: Of some of them; taken are the longest.
        size: The model.
        device: cuda or cpu.
        free_bytes: Memory that is free for them, once the model is loaded.
        most: No more than that.
        guesses: As in `held`.
    """
    room = free_bytes * USED[device]
    counts = [count for count in RUNGS if count <= MOST[device]]

    def needed(count: int) -> int:
        return held(lengths.rows(count).turns, size, device, guesses=guesses).nbytes

    fitting = bisect_right(counts, room, key=needed)
    return max(1, min(most, counts[max(fitting, 1) - 1]))
