"""A run as a plan: what there is to know before anything is started, loaded or written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.config import RunConfig
from pipeline.graphs import CollaborationPlan
from pipeline.records import Assignment


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """A run that has been checked as far as that goes without Ray or a model."""

    config: RunConfig
    """Its settings."""
    plan: CollaborationPlan
    """Who works together."""
    assignments: Sequence[Assignment]
    """All its questions, and whose memory each of them gets."""

    @property
    def roles(self) -> tuple[str, ...]:
        """All roles in working order."""
        return tuple(role.name for role in self.plan.graph.roles)
