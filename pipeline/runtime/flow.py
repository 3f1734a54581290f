"""How questions flow to a replica: in batches smaller than what it works on at once, several of them under way. Pure.

A replica goes on with whatever is there when a question is done. So its questions come in several batches: while the
last ones of one batch are still being written, those of the next ones have long entered, and finished rows come out
early.
"""

from __future__ import annotations

from dataclasses import dataclass

PARTS = 4
"""Batches that a replica's questions at work come from: with more of them places are filled sooner, and each costs the
driver some milliseconds."""
AHEAD = 2
"""Batches that wait at a replica besides, so that it never waits for the driver."""
THREADS = PARTS + AHEAD
"""Batches that a replica is given at the same time at most."""


@dataclass(frozen=True, kw_only=True)
class Flow:
    """Sizes of the flow to each replica."""

    at_once: int
    """Questions that a replica works on at once."""
    serial: bool = False
    """Whether a replica can take only one batch at a time: with transports that go from device to device."""

    @property
    def batch(self) -> int:
        """Questions in a batch."""
        return self.at_once if self.serial else -(-self.at_once // PARTS)

    @property
    def depth(self) -> int:
        """Batches that a replica has at most: those at work and those that wait."""
        at_work = -(-self.at_once // self.batch)
        return at_work + (1 if self.serial or at_work == 1 else AHEAD)
