"""Measuring several ways to do one thing in turn, so that what else the machine does falls on all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Generic, TypeVar

Outcome = TypeVar("Outcome")


@dataclass(kw_only=True)
class Timed(Generic[Outcome]):
    """One way, measured."""

    seconds: list[float] = field(default_factory=list)
    """Of every round."""
    outcome: Outcome | None = None
    """What came of it in the last round."""

    @property
    def median(self) -> float:
        """Of the rounds, in seconds."""
        return median(self.seconds)

    def over(self, other: Timed[Outcome]) -> float:
        """How many times as long it took as another way: the median of the ratios of the rounds that both were run."""
        return median(own / its for own, its in zip(self.seconds, other.seconds, strict=False))


def in_turn(
    ways: Mapping[str, Callable[[], Outcome]],
    *,
    rounds: int,
    wait: Callable[[], None],
    told: Callable[[str, int, float], None] = lambda name, number, seconds: None,
    goes_on: Callable[[str, Mapping[str, Timed[Outcome]]], bool] = lambda name, timed: True,
) -> dict[str, Timed[Outcome]]:
    """Runs all ways one after another, round by round.

    Args:
        ways: By name.
        rounds: How often.
        wait: Returns when everything that was asked of the device is done.
        told: Hears of every run: the way, the round from 1 on, and its seconds.
        goes_on: Whether a way is run again after the first round, in which all are, given what that has shown.
    """
    timed = {name: Timed[Outcome]() for name in ways}
    running = list(ways)
    for number in range(1, rounds + 1):
        for name in running:
            way = ways[name]
            wait()
            began = time.perf_counter()
            timed[name].outcome = way()
            wait()
            timed[name].seconds.append(time.perf_counter() - began)
            told(name, number, timed[name].seconds[-1])
        if number == 1:
            running = [name for name in ways if goes_on(name, timed)]
    return timed


def rounded(seconds: Sequence[float]) -> list[float]:
    """Seconds for a result, to a tenth of a millisecond."""
    return [round(one, 4) for one in seconds]
