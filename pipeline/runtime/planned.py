"""A run as a plan: what there is to know before Ray starts, a model loads or a run folder is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import RunConfig

if TYPE_CHECKING:
    from pipeline.graphs import CollaborationPlan
    from pipeline.records import Assignment
    from pipeline.runtime.evaluate import RunRequest
    from pipeline.runtime.results import RunFolder


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """A run that will not fail of its settings, as far as that can be known here."""

    config: RunConfig
    """Its settings, as other processes can use them."""
    plan: CollaborationPlan
    """Who works together."""
    assignments: Sequence[Assignment]
    """All its questions, and whose memory each of them gets."""

    @property
    def roles(self) -> tuple[str, ...]:
        """All roles in working order."""
        return tuple(role.name for role in self.plan.graph.roles)

    def request(self, folder: RunFolder, store: Path) -> RunRequest:
        """The run in a folder of its own, with the folder of the default MLflow store."""
        from pipeline.runtime.evaluate import RunRequest

        return RunRequest(config=self.config, plan=self.plan, assignments=self.assignments, folder=folder, store=store)
