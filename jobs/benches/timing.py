"""What a run on stand-ins is measured against, and from when to when. Pure functions of times; no Ray."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A batch that is done."""

    started: float
    """When its first turn was asked for, in seconds."""
    finished: float
    """When its last turn was done."""
    driver_seconds: float
    """CPU time that the driver's thread had used when it was handed on."""
    process_seconds: float
    """The same of the driver's whole process."""


@dataclass(frozen=True, kw_only=True)
class Steady:
    """The part of a run in which every replica has something to do."""

    batches: int
    """Batches that finished in it."""
    seconds: float
    """How long it was."""
    driver_seconds: float
    """CPU time of the driver's thread in it."""
    process_seconds: float
    """CPU time of the driver's whole process in it."""

    @property
    def rate(self) -> float:
        """Batches a second."""
        return self.batches / self.seconds


def ideal_rate(plays: Sequence[tuple[str, ...]], seconds: Mapping[str, float]) -> float:
    """Batches a second if no replica ever waited.

    Args:
        plays: The roles of each replica; replicas either share all of their roles or none.
        seconds: How long each role's turn takes.
    """
    return min(count / sum(seconds[role] for role in roles) for roles, count in Counter(plays).items())


def last_wave(plays: Sequence[tuple[str, ...]], last: str) -> int:
    """Batches that can finish at once: as many as there are replicas that play the last role."""
    return sum(last in roles for roles in plays)


def steady(done: Sequence[Finished], wave: int) -> Steady:
    """Cuts off how a run fills and how it drains: first wave to the one nearest the last submission.

    Replicas that begin together finish together, in waves; a window that begins and ends between two waves counts them
    whole.

    Args:
        done: All batches of a run in the order in which they were handed on, at least two waves.
        wave: Batches that finish at once.
    """
    ordered = sorted(done, key=lambda batch: batch.finished)
    submitted = max(batch.started for batch in done)
    before = sum(batch.finished <= submitted for batch in ordered)
    waves = max(min(round(before / wave), len(done) // wave), 2)
    first, last = wave - 1, waves * wave - 1
    return Steady(
        batches=(waves - 1) * wave,
        seconds=ordered[last].finished - ordered[first].finished,
        driver_seconds=done[last].driver_seconds - done[first].driver_seconds,
        process_seconds=done[last].process_seconds - done[first].process_seconds,
    )
