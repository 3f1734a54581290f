"""How much of the object store the memory of a batch takes: bounded from the store's size, learned from what came.

A store that is filled spills to disk or refuses; so what is under way is held below a share of the smallest store that
it may lie in. The share leaves room for copies that are being read while others are being written.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.records import Assignment

SHARE = 0.4
"""Of the store, what batches under way may claim."""
WHOLE = 0.75
"""Of the store, what the memory of one single question may take; Ray begins to spill at 0.8."""
PROMPT = 1500
"""Characters that a role's prompt weighs besides the question."""
THOUGHT = 4
"""Characters that a latent step weighs: what a token stands for in a text."""
UNLIMITED = 1 << 62
"""Bytes of memory that does not travel through the store."""
MARGIN = 1.15
"""A batch is taken to be this much larger than the largest one like it so far."""


class Sizes:
    """What batches take of the object store."""

    def __init__(self, store_bytes: int, *, senders: int, travels: bool, latent_steps: int = 0) -> None:
        """Begins without knowing how large the memory of a question is.

        Args:
            store_bytes: The smallest object store among the nodes of the replicas.
            senders: How many roles send memory of one question.
            travels: Whether memory travels through the store at all.
            latent_steps: The most that a role takes.
        """
        self._store, self._senders, self._travels = store_bytes, senders, travels
        self._per_character: float | None = None
        self._fixed = PROMPT + THOUGHT * latent_steps

    @property
    def budget(self) -> int:
        """Bytes that the batches under way may claim together on each node."""
        return int(SHARE * self._store)

    def limit(self, questions: int) -> int:
        """Bytes that the memory of one role may have for a batch of so many questions."""
        if not self._travels:
            return UNLIMITED
        return int((SHARE if questions > 1 else WHOLE) * self._store / self._senders)

    def estimate(self, assignments: Sequence[Assignment]) -> int:
        """Bytes that a batch will take, all roles together; the whole budget while nothing is known."""
        if not self._travels:
            return 0
        if self._per_character is None:
            return self.budget
        return int(MARGIN * self._per_character * self._weight(assignments) * self._senders)

    def too_large(self, assignments: Sequence[Assignment]) -> bool:
        """Whether a batch is known not to fit as a whole; a single question is always tried."""
        return len(assignments) > 1 and self.estimate(assignments) > self.budget

    def learn(self, assignments: Sequence[Assignment], nbytes: int) -> None:
        """Takes note of what the memory of one role took for some questions; nothing is no size to learn from."""
        if nbytes:
            self._per_character = max(self._per_character or 0.0, nbytes / self._weight(assignments))

    def explain(self, nbytes: int) -> str:
        """What a user can do about memory of one question that the store can't hold."""
        return (
            f"takes {nbytes / 1e6:.1f} MB for each of {self._senders} roles, and the object store of a node holds "
            f"{self._store / 1e6:.1f} MB (of which {WHOLE:.0%} can be used); start Ray with a larger "
            f"--object-store-memory, or use --transport reencode or --placement colocated"
        )

    def _weight(self, assignments: Sequence[Assignment]) -> int:
        return sum(len((one.source or one.question).text) + self._fixed for one in assignments)
