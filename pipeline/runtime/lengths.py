"""From rehearsed prompts to lengths: what each role adds, what it inherits, and the batch that takes the most. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice

from pipeline.agents.rehearsal import Part
from pipeline.config import Handover
from pipeline.records import Assignment
from pipeline.runtime.caches import CacheTurn

SAMPLED = 32
"""Questions of which prompts are rendered at most."""


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Positions of all roles' turns on some questions."""

    turns: tuple[CacheTurn, ...]
    """One a role in working order; a text is as long as its cap and the model's context allow."""
    notes: dict[str, tuple[str, ...]]
    """Whose work each role gets as text."""
    needed: dict[str, int]
    """Positions of memory and prompt that each role begins with for the longest question, had the context no end."""
    added: dict[str, int]
    """Positions that it then thinks or writes at most."""

    def of(self, role: str) -> CacheTurn:
        """One role's turn."""
        return next(turn for turn in self.turns if turn.role == role)

    def inherited(self, role: str) -> tuple[int, ...]:
        """Positions of the memory that reaches a role, question by question."""
        turn = self.of(role)
        handed = [self.of(maker).handed for maker in turn.inherits]
        return tuple(map(sum, zip(*handed, strict=True))) if handed else (0,) * len(turn.prompts)

    def rows(self, count: int) -> Lengths:
        """The `count` questions that take the most positions, some of them more than once where there are fewer."""
        totals = list(map(sum, zip(*(turn.prompts for turn in self.turns), strict=True)))
        order = sorted(range(len(totals)), key=totals.__getitem__, reverse=True)
        chosen = list(islice(cycle(order), count))
        turns = (replace(turn, prompts=tuple(turn.prompts[row] for row in chosen)) for turn in self.turns)
        return replace(self, turns=tuple(turns))


def sampled(assignments: Sequence[Assignment]) -> list[Assignment]:
    """Some of the questions, evenly from all of them."""
    count = min(SAMPLED, len(assignments))
    return [assignments[index * len(assignments) // count] for index in range(count)]


def lengths_of(parts: Sequence[Part], *, handover: Handover, max_new_tokens: int, context: int) -> Lengths:
    """Lengths of rehearsed turns, with every text as long as it may get.

    Args:
        parts: The roles' parts.
        handover: What of an agent's memory is handed over.
        max_new_tokens: Most tokens of a text.
        context: Positions that the model can use.
    """
    turns, needs, adds = list[CacheTurn](), dict[str, int](), dict[str, int]()
    for part in parts:
        whole = [length + len(part.notes) * max_new_tokens for length in part.prompts]
        turn = CacheTurn(
            role=part.role.name,
            prompts=tuple(min(length, context) for length in whole),
            latent_steps=part.latent_steps,
            inherits=part.inherits,
            followers=part.followers,
            handover=handover,
        )
        before = [sum(maker.handed[row] for maker in turns if maker.role in part.inherits) for row in range(len(whole))]
        needed = needs[turn.role] = max(map(sum, zip(before, whole, strict=True)))
        adds[turn.role] = part.latent_steps or 0
        if part.latent_steps is None:  # the last token of a text takes no position
            adds[turn.role] = max_new_tokens - 1
            turn = replace(turn, new_tokens=max(1, min(max_new_tokens, context - needed + 1)))
        turns.append(turn)
    notes = {part.role.name: part.notes for part in parts}
    return Lengths(turns=tuple(turns), notes=notes, needed=needs, added=adds)
