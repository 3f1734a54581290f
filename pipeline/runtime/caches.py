"""How much cache a replica has allocated at each moment of a batch. Pure arithmetic on lengths, no tensors.

It follows what the engine does: a batch is opened with room for those who go on in place, grows by steps with old and
new storage side by side for a moment, keeps the storage that handed-over segments lie in until the walk ends, and is
compacted when enough texts have ended. Sizes are in cells: one column of one row, over all layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.engine.decoding import KEEP
from pipeline.memory import Part
from pipeline.memory.packing import GROWTH


@dataclass(frozen=True, kw_only=True)
class CacheTurn:
    """One role's turn on a batch of questions, in lengths."""

    role: str
    """Whose."""
    prompts: tuple[int, ...]
    """Positions of each row's prompt."""
    latent_steps: int | None = None
    """Latent steps that it takes; none if it writes."""
    new_tokens: int = 0
    """Tokens that it writes."""
    inherits: tuple[str, ...] = ()
    """Roles whose memory it gets, in order."""
    followers: int = 0
    """For how many more roles it makes room."""
    handover: Part = "full"
    """What of its memory is handed over."""
    at_once: bool = False
    """Whether prompt and latent inputs are read in one forward: another replica has thought them already."""

    @property
    def handed(self) -> tuple[int, ...]:
        """Positions of each row's segment."""
        thoughts = self.latent_steps or 0
        lengths = {"full": (1, thoughts), "prompt": (1, 0), "thoughts": (0, thoughts)}
        prompt, more = lengths[self.handover]
        return tuple(prompt * length + more for length in self.prompts)


@dataclass(frozen=True, kw_only=True)
class Moment:
    """One moment of a replica's work on a batch."""

    role: str
    """Who is at work."""
    cells: float
    """Cells allocated."""
    rows: int
    """Rows of the batch."""
    new: int = 0
    """Columns that a forward computes then; none where cache is only moved."""
    columns: int = 0
    """Columns that it reads, the new ones included."""
    late: bool = False
    """Whether it comes only where texts end one after another just before the cap."""


@dataclass(eq=False)
class _Storage:
    """One allocation."""

    cells: int


@dataclass(eq=False)
class _Batch:
    """A `KVBatch` in outline."""

    rows: int
    capacity: int
    cursor: int
    roles: tuple[str, ...]
    storage: _Storage = field(init=False)

    def __post_init__(self) -> None:
        self.storage = _Storage(self.rows * self.capacity)


def moments(
    turns: Sequence[CacheTurn], *, key_share: float, received: Mapping[str, tuple[int, ...]] | None = None
) -> list[Moment]:
    """The moments of a batch on one replica at which the most cache may be allocated.

    Args:
        turns: Turns that the replica takes, in order; every row's texts run to their cap.
        key_share: The keys' part of a cell's bytes: a cache grows keys first, then values.
        received: Positions, row by row, of segments that came from other replicas, by role.
    """
    book = _Book(key_share, dict(received or {}))
    return [moment for turn in turns for moment in book.take(turn)]


class _Book:
    """Who holds which storage."""

    def __init__(self, key_share: float, lengths: dict[str, tuple[int, ...]]) -> None:
        self._keys, self._lengths = key_share, lengths
        self._segments: list[_Storage] = []  # segments are views of the storage that they were cut from
        self._homes: dict[str, _Batch] = {}  # and where they can be gone on from keep the batch itself

    def take(self, turn: CacheTurn) -> Iterator[Moment]:
        """Takes a turn."""
        longest, thoughts = max(turn.prompts), turn.latent_steps or 0
        memory = tuple(role for role in turn.inherits if any(self._lengths[role]))
        batch = self._homes.get(memory[-1]) if memory else None
        if batch is None or batch.roles != memory:
            start = max(map(sum, zip(*(self._lengths[role] for role in memory), strict=True)), default=0)
            batch = _Batch(len(turn.prompts), start + (longest + thoughts) * (1 + turn.followers), start, memory)
        yield from self._reserve(turn.role, batch, longest + thoughts)
        read = longest + thoughts if turn.at_once else longest
        yield self._moment(turn.role, batch, new=read, columns=batch.cursor + read)
        batch.cursor += longest + thoughts
        if turn.latent_steps is None:
            yield from self._write(turn, batch)
        else:
            yield self._moment(turn.role, batch, new=1, columns=batch.cursor)
            self._hand_over(turn, batch)

    def _hand_over(self, turn: CacheTurn, batch: _Batch) -> None:
        batch.roles += (turn.role,)
        self._lengths[turn.role] = turn.handed
        self._segments.append(batch.storage)
        if turn.handover == "full":
            self._homes[turn.role] = batch

    def _write(self, turn: CacheTurn, batch: _Batch) -> Iterator[Moment]:
        for _ in range(turn.new_tokens - 1):  # the last token is not fed
            yield from self._reserve(turn.role, batch, 1)
            batch.cursor += 1
        yield self._moment(turn.role, batch, new=1, columns=batch.cursor)
        # Rows that have ended leave by a copy of the others, while the turn still holds the batch that it began with.
        first = _kept(batch.rows)
        if first and turn.new_tokens > 1:
            copies = [first * batch.capacity, _kept(first) * batch.capacity]
            held = self._alive(batch) + max(sum(copies), self._growing(copies[0], first * (batch.capacity + GROWTH)))
            yield Moment(role=turn.role, cells=held, rows=batch.rows, late=True)

    def _reserve(self, role: str, batch: _Batch, columns: int) -> Iterator[Moment]:
        """Grows a batch, if that is needed."""
        needed = batch.cursor + columns
        if needed <= batch.capacity:
            return
        batch.capacity = max(needed, batch.capacity + GROWTH)
        alive, old, new = self._alive(batch), batch.storage, _Storage(batch.rows * batch.capacity)
        if old in self._segments:
            yield Moment(role=role, cells=alive + new.cells, rows=batch.rows)
        else:
            yield Moment(role=role, cells=alive - old.cells + self._growing(old.cells, new.cells), rows=batch.rows)
        batch.storage = new

    def _growing(self, old: int, new: int) -> float:
        """Cells at the worst moment of growth: keys are moved, and dropped, before values are."""
        return max(old + self._keys * new, (1 - self._keys) * old + new)

    def _alive(self, batch: _Batch) -> int:
        storages = {*self._segments, *(home.storage for home in self._homes.values()), batch.storage}
        return sum(storage.cells for storage in storages)

    def _moment(self, role: str, batch: _Batch, *, new: int, columns: int) -> Moment:
        return Moment(role=role, cells=self._alive(batch), rows=batch.rows, new=new, columns=columns)


def _kept(rows: int) -> int:
    """The most rows that go on in a compacted batch."""
    return math.ceil(KEEP * rows) - 1
