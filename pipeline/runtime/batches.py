"""A batch of questions on its way: what has been done for it, and what becomes of it when something dies. No Ray."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from pipeline.records import Answer, Assignment, LegReport, RoleTurns, Turn
from pipeline.runtime.legs import Leg

LOSSES = 20
"""How often the memory of a batch may be lost."""
_numbers = count()


@dataclass(kw_only=True, eq=False)
class Batch:
    """Questions that are answered together."""

    assignments: tuple[Assignment, ...]
    """What is asked."""
    crashes: int = 0
    """How often a replica died while it worked on these questions."""
    losses: int = 0
    """How often memory was lost that its turns had left behind."""
    retries: int = 0
    """How often something was lost, for whatever reason."""
    key: str = field(default_factory=lambda: f"b{next(_numbers)}")
    """What it is called."""
    started: float = 0.0
    """When its first turn was asked for, seconds since the epoch."""
    turns: dict[str, dict[str, Turn]] = field(default_factory=dict)
    """Turns taken, by role and question."""
    parcels: dict[str, Any] = field(default_factory=dict)
    """References of the memory that travels, by role."""
    holders: dict[str, str] = field(default_factory=dict)
    """Who packed it, by role."""
    failed: dict[str, str] = field(default_factory=dict)
    """Questions that failed through a fault of ours, with the reason."""
    peak_bytes: dict[str, int] = field(default_factory=dict)
    """Peak memory of the replicas that worked on it."""

    def living(self) -> tuple[Assignment, ...]:
        """The questions that have not failed."""
        return tuple(one for one in self.assignments if one.question.id not in self.failed)

    def earlier(self, roles: Sequence[str]) -> tuple[RoleTurns, ...]:
        """Turns taken by some roles, for the questions that have not failed."""
        ids = [one.question.id for one in self.living()]
        return tuple(RoleTurns(role=role, turns=tuple(self.turns[role][i] for i in ids)) for role in roles)

    def book(self, leg: Leg, asked: Sequence[Assignment], report: LegReport) -> None:
        """Books what came of a leg."""
        self.failed |= dict(report.failed)
        ids = [one.question.id for one in asked if one.question.id not in dict(report.failed)]
        for role in report.turns:
            self.turns[role.role] = dict(zip(ids, role.turns, strict=True))
        self.peak_bytes[leg.seat] = report.peak_bytes

    def forget(self) -> None:
        """Begins anew: what was done for it can't be had any more."""
        self.turns.clear()
        self.parcels.clear()
        self.holders.clear()

    def split(self, count: int) -> tuple[list[Batch], list[Batch]]:
        """The questions that have not failed in `count` batches, nothing done for them yet.

        Returns:
            The new batches, and this one with what has failed, if anything has.
        """
        living = self.living()
        size = max(-(-len(living) // count), 1)
        parts = [
            Batch(assignments=living[i : i + size], crashes=self.crashes, retries=self.retries, started=self.started)
            for i in range(0, len(living), size)
        ]
        self.assignments = tuple(one for one in self.assignments if one.question.id in self.failed)
        return parts, [self] if self.assignments else []

    def answers(self, roles: Sequence[str], load_seconds: Mapping[str, float]) -> list[Answer]:
        """What came of every question.

        Args:
            roles: All roles in working order.
            load_seconds: How long each replica took to load.
        """
        now = time.time()
        seats = list(self.peak_bytes)
        told = {
            "started": self.started or now,
            "finished": now,
            "retries": self.retries,
            "load_seconds": max((load_seconds[seat] for seat in seats), default=0.0),
            "peak_bytes": max(self.peak_bytes.values(), default=0),
        }
        return [self._answer(one.question.id, roles, told) for one in self.assignments]

    def _answer(self, question_id: str, roles: Sequence[str], told: dict[str, Any]) -> Answer:
        if question_id in self.failed:
            return Answer(question_id=question_id, error=self.failed[question_id], **told)
        turns = tuple(self.turns[role][question_id] for role in roles)
        return Answer(question_id=question_id, turns=turns, replica=turns[-1].replica, **told)


def after_loss(batch: Batch, reason: str) -> tuple[list[Batch], list[Batch]]:
    """What becomes of a batch whose memory was lost: it begins anew, but not for ever.

    Returns:
        Batches to ask again, and those given up.
    """
    batch.forget()
    batch.losses += 1
    if batch.losses < LOSSES:
        return [batch], []
    told = f"given up after its memory was lost {LOSSES} times, the last: {reason}"
    batch.failed |= {one.question.id: told for one in batch.living()}
    return [], [batch]


def after_crash(batch: Batch, allowed: int, reason: str) -> tuple[list[Batch], list[Batch]]:
    """What becomes of a batch during which a replica died.

    The first time it is asked again as it is; the second time question by question, so that one that kills its replica
    takes no others with it; and a question during which replicas died as often as allowed is given up, the last time
    while it was asked alone.

    Args:
        batch: The batch, with its crashes counted.
        allowed: How many crashes a question may have had.
        reason: What the last one was.

    Returns:
        Batches to ask again, and those given up.
    """
    if len(batch.living()) <= 1:
        if batch.crashes < allowed:
            return [batch], []
        told = f"given up after {batch.crashes} crashes or faults of replicas that worked on it, the last: {reason}"
        batch.failed |= {one.question.id: told for one in batch.living()}
        return [], [batch]
    if batch.crashes < min(2, allowed - 1):
        return [batch], []
    singles, failed = batch.split(len(batch.living()))
    for single in singles:
        single.crashes = min(single.crashes, allowed - 1)
    return singles, failed
