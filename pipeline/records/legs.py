"""Legs: stretches of consecutive roles that one replica plays for a batch of questions, as ordered and reported."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.records.base import Record, Shipment
from pipeline.records.questions import Assignment
from pipeline.records.turns import Turn


@dataclass(frozen=True, kw_only=True)
class RoleTurns(Record):
    """The turns that one role has taken for a batch, in the order of the batch."""

    parts = {"turns": Turn}

    role: str
    """The role."""
    turns: tuple[Turn, ...]
    """One a question."""


@dataclass(frozen=True, kw_only=True)
class LegOrder(Shipment):
    """What a replica is asked to do."""

    parts = {"assignments": Assignment, "earlier": RoleTurns}

    key: str
    """What the order is called."""
    roles: tuple[str, ...]
    """The roles to play, in working order."""
    assignments: tuple[Assignment, ...]
    """The batch."""
    earlier: tuple[RoleTurns, ...]
    """Turns taken before, by roles whose work is read; parcels of those that think come with the order."""
    parcels: tuple[str, ...]
    """The roles that the parcels are of, in the order in which these come."""
    send: tuple[str, ...]
    """Roles of this leg whose segments are needed elsewhere."""
    limit: int
    """Bytes that a parcel may have."""
    accepts: tuple[str, ...]
    """Fingerprints of the run's models; memory of any other is refused."""


@dataclass(frozen=True, kw_only=True)
class LegReport(Shipment):
    """What came of a leg; the parcels come beside it."""

    parts = {"turns": RoleTurns}

    turns: tuple[RoleTurns, ...]
    """What each role did, for the questions that did not fail, in the order of the batch."""
    failed: tuple[tuple[str, str], ...]
    """Questions that failed through a fault of ours, with the reason."""
    parcel_bytes: tuple[int, ...]
    """Sizes of the parcels, in the order of `send`."""
    notices: tuple[str, ...] = ()
    """What users should know of how it went."""
    seconds: float = 0.0
    """How long the leg took on the replica."""
    peak_bytes: int = 0
    """The replica's peak memory in the run so far."""
