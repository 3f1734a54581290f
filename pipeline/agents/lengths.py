"""From rehearsed prompts to lengths: what each role adds, what it inherits, and those that take the most. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Self

from pipeline.agents.rehearsal import Part
from pipeline.config import DecodingConfig, Handover
from pipeline.graphs import CollaborationPlan, allowance, token_shares


@dataclass(frozen=True, kw_only=True)
class TurnLengths:
    """One role's turns on some questions."""

    role: str
    """Whose."""
    prompts: tuple[int, ...]
    """Positions of each question's prompt."""
    latent_steps: int | None = None
    """Latent steps that it takes; none if it writes."""
    new_tokens: int = 0
    """Tokens that it writes."""
    inherits: tuple[str, ...] = ()
    """Roles whose memory it gets, in order."""
    handover: Handover = "full"
    """What of its memory is handed over."""

    @property
    def handed(self) -> tuple[int, ...]:
        """Positions of each question's segment."""
        thoughts = self.latent_steps or 0
        lengths = {"full": (1, thoughts), "prompt": (1, 0), "thoughts": (0, thoughts)}
        prompt, more = lengths[self.handover]
        return tuple(prompt * length + more for length in self.prompts)

    @property
    def added(self) -> tuple[int, ...]:
        """Positions that each question's slot has more when it ends; the last token of a text takes none."""
        more = self.new_tokens - 1 if self.latent_steps is None else self.latent_steps
        return tuple(length + more for length in self.prompts)


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Positions of all roles' turns on some questions."""

    turns: tuple[TurnLengths, ...]
    """One a role in working order; a text is as long as its cap and the model's context allow."""
    notes: dict[str, tuple[str, ...]]
    """Whose work each role gets as text."""
    needed: dict[str, int]
    """Positions of memory and prompt that each role begins with for the longest question, had the context no end."""
    added: dict[str, int]
    """Positions that it then thinks or writes at most."""

    def of(self, role: str) -> TurnLengths:
        """One role's turns."""
        return next(turn for turn in self.turns if turn.role == role)

    def inherited(self, role: str) -> tuple[int, ...]:
        """Positions of the memory that reaches a role, question by question."""
        turn = self.of(role)
        handed = [self.of(maker).handed for maker in turn.inherits]
        return tuple(map(sum, zip(*handed, strict=True))) if handed else (0,) * len(turn.prompts)

    def thinking(self) -> Self:
        """The turns that think alone: where another engine writes, texts take none of our memory."""
        return replace(self, turns=tuple(turn for turn in self.turns if turn.latent_steps is not None))

    def rows(self, count: int) -> Self:
        """The `count` questions that take the most positions, some of them more than once where there are fewer."""
        totals = list(map(sum, zip(*(turn.prompts for turn in self.turns), strict=True)))
        order = sorted(range(len(totals)), key=totals.__getitem__, reverse=True)
        chosen = list(islice(cycle(order), count))
        turns = (replace(turn, prompts=tuple(turn.prompts[row] for row in chosen)) for turn in self.turns)
        return replace(self, turns=tuple(turns))


def caps_of(plan: CollaborationPlan, decoding: DecodingConfig) -> dict[str, int]:
    """Tokens of each writing role's text where all texts before it run to their cap.

    Of a budget for the whole system each writes its part; what one leaves, another may write, so the sum stays.
    """
    caps = dict[str, int]()
    shares = token_shares(plan) if decoding.budget == "system" else {}
    for role in plan.graph.roles:
        if role.name in plan.writers:
            spent = sum(caps.get(read, 0) for read in role.reads)
            share = shares.get(role.name)
            total = decoding.most_tokens
            caps[role.name] = total if share is None else allowance(total, spent=spent, share=share)
    return caps


def lengths_of(parts: Sequence[Part], *, handover: Handover, caps: Mapping[str, int], context: int) -> Lengths:
    """Lengths of rehearsed turns, with every text as long as it may get.

    Args:
        parts: The roles' parts.
        handover: What of an agent's memory is handed over.
        caps: Most tokens of each writing role's text.
        context: Positions that the model can use.
    """
    turns, needs, adds = list[TurnLengths](), dict[str, int](), dict[str, int]()
    for part in parts:
        texts = sum(caps[note] for note in part.notes)
        whole = [length + texts for length in part.prompts]
        turn = TurnLengths(
            role=part.role.name,
            prompts=tuple(min(length, context) for length in whole),
            latent_steps=part.latent_steps,
            inherits=part.inherits,
            handover=handover,
        )
        before = [sum(maker.handed[row] for maker in turns if maker.role in part.inherits) for row in range(len(whole))]
        needed = needs[turn.role] = max(map(sum, zip(before, whole, strict=True)))
        adds[turn.role] = part.latent_steps or 0
        if part.latent_steps is None:  # the last token of a text takes no position
            adds[turn.role] = caps[turn.role] - 1
            turn = replace(turn, new_tokens=max(1, min(caps[turn.role], context - needed + 1)))
        turns.append(turn)
    notes = {part.role.name: part.notes for part in parts}
    return Lengths(turns=tuple(turns), notes=notes, needed=needs, added=adds)
