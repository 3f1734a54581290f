"""Some of a run's questions, by which it is found out what all of them take."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.records import Assignment

SAMPLED = 32
"""Questions of which prompts are rendered at most."""


def sampled(assignments: Sequence[Assignment]) -> list[Assignment]:
    """Some of the questions, evenly from all of them."""
    count = min(SAMPLED, len(assignments))
    return [assignments[index * len(assignments) // count] for index in range(count)]
