"""How many questions are worked on at once: half of them when memory runs out, and carefully more again. Pure."""

from __future__ import annotations

PATIENCE = 16
"""Questions that end without trouble before twice as many are tried at once; at least as many as are at work."""
CAUTION = 4
"""By how much more patience there is each time that more were tried too early."""


class Room:
    """How many questions there is room for, as far as is known.

    Attributes:
        at_once: Questions at once; none is all.
    """

    def __init__(self, at_once: int | None) -> None:
        self.at_once = self._most = at_once
        self._enough = 0  # with so many at once memory ran out
        self._patience, self._ended = PATIENCE, 0
        self._raised = self._told = False

    def ran_out(self, count: int) -> str:
        """Memory ran out with so many questions at once, two or more; returns what there is to say."""
        if self._raised:
            self._patience *= CAUTION
        self._raised, self._ended, self._enough = False, 0, max(self._enough, count)
        self.at_once = max(1, count // 2)
        return f"memory ran out with {count} questions at once; going on with {self.at_once}"

    def failed(self) -> None:
        """Something went wrong that was nobody else's doing: this is not the time to try more."""
        self._ended = 0

    def ended(self, count: int) -> str:
        """So many questions ended; returns what there is to say, once, if more are worked on at once from here on."""
        if self.at_once is None or self.at_once == self._most:
            return ""
        self._ended += count
        if self._ended < max(self._patience, self.at_once):
            return ""
        before, self._ended, self._raised = self.at_once, 0, True
        self.at_once = 2 * before if 2 * before < (self._most or self._enough) else self._most
        if self._told:
            return ""
        self._told = True
        return f"memory has sufficed since, with {before} at once; going on with more again, step by step"
