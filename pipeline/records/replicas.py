"""Replicas of a run, as a run tells of them."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.records.base import Record


@dataclass(frozen=True, kw_only=True)
class Whereabouts(Record):
    """Where a replica is, and what it does there."""

    name: str
    """What it is called: r0, r1, ..."""
    roles: tuple[str, ...]
    """The roles that it plays, in working order."""
    node: str
    """The id of its node."""
    pid: int
    """Its process."""
    model: str
    """Its checkpoint."""
    fingerprint: str
    """What its working memory is valid for: weights and number format in short."""
    at_once: int = 0
    """Questions that it works on at once at most."""
    foretold_bytes: int = 0
    """What its peak memory is expected to be."""
