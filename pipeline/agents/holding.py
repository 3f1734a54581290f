"""What questions hold of a replica's cache, turn by turn. Pure arithmetic on lengths, no tensors.

It follows what agents do: a turn goes on in the slot where its memory lies, if that is all that lies there; else it
gets another one, and the memory is copied to its beginning. A slot is given away once nobody reads what is in it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.agents.lengths import TurnLengths


@dataclass(frozen=True, kw_only=True)
class Moment:
    """The end of a role's turns on some questions that are worked on side by side."""

    role: str
    """Whose turns."""
    positions: int
    """Positions held, of all questions."""
    slots: int
    """Slots that each question holds."""
    longest: int
    """Positions of the longest slot."""


@dataclass(eq=False)
class _Slot:
    """A slot for each question, in lengths."""

    lengths: list[int]
    written: list[int]
    """Positions that were ever in it: a text's are held until the slot is given away."""
    contents: tuple[str, ...]
    """Roles whose memory is all that is in it."""
    views: set[str] = field(default_factory=set)
    """Roles whose memory is in it and nowhere else."""

    def extend(self, added: Sequence[int]) -> None:
        self.lengths = [length + more for length, more in zip(self.lengths, added, strict=True)]
        self.written = [max(pair) for pair in zip(self.written, self.lengths, strict=True)]


def moments(
    turns: Sequence[TurnLengths],
    *,
    received: Mapping[str, tuple[int, ...]] | None = None,
    keep: Collection[str] = (),
) -> list[Moment]:
    """What is held at the end of each role's turns, with texts as long as they may get.

    Args:
        turns: Turns that a replica takes, in order.
        received: Positions, question by question, of segments that came from other replicas, by role.
        keep: Roles whose memory is wanted when all turns have been taken.
    """
    slots, handed, found = list[_Slot](), dict(received or {}), list[Moment]()
    for place, turn in enumerate(turns):
        memory = tuple(role for role in turn.inherits if any(handed[role]))
        slot = next((one for one in slots if memory and one.contents == memory), None)
        if slot is None:
            start = [sum(lengths) for lengths in zip(*(handed[role] for role in memory), strict=True)]
            start = start or [0] * len(turn.prompts)
            slot = _Slot(start, list(start), memory)
            slots.append(slot)
        before = slot.lengths
        slot.extend(turn.added)
        found.append(_moment(turn.role, slots))
        if turn.latent_steps is None:
            slot.lengths = before
        else:
            handed[turn.role] = turn.handed
            slot.views.add(turn.role)
            # a part of what was added is not all that lies there
            slot.contents += (turn.role,) if turn.handover == "full" else (turn.role, "more")
        wanted = {*keep, *(role for later in turns[place + 1 :] for role in later.inherits)}
        slots = [one for one in slots if one.views & wanted]
    return found


def _moment(role: str, slots: Sequence[_Slot]) -> Moment:
    return Moment(
        role=role,
        positions=sum(sum(slot.written) for slot in slots),
        slots=len(slots),
        longest=max(max(slot.written) for slot in slots),
    )
