"""A stand-in for a replica: it takes as long and sends as much as a model would, and computes nothing.

It is asked, waited for and lost by the same driver as a real replica. What it does not stand in for: the work of
unpacking what came, and a device that other processes use too. Importing this loads no torch.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ray

from pipeline.agents.actor import Briefing, ReplicaStatus
from pipeline.config import ModelConfig
from pipeline.records import LegOrder, LegReport, RoleTurns, Transfer, Turn, Usage

WORD = "therefore "
"""What the answering agent's text is made of: nothing that could be taken for an answer."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What one role's turn costs."""

    seconds: float
    """How long it takes for a batch."""
    parcel_bytes: int = 0
    """Memory that it leaves behind, a question."""
    characters: int = 0
    """Text that it writes, a question."""
    usage: Usage = field(default_factory=Usage)
    """What it uses, a question."""


@dataclass(frozen=True, kw_only=True)
class Coming:
    """How memory came for a leg."""

    seconds: float
    """How long it took."""
    idle: float
    """What of that the stand-in had nothing else to do in."""


class StandIn:
    """Stands in for one model replica that can play all roles of a plan."""

    def __init__(self, model: ModelConfig, name: str, threads: int, gpus: float) -> None:
        """Takes what a replica takes, and loads nothing."""
        self._name = name
        self._stages: Mapping[str, Stage] = {}
        self._bytes = np.empty(0, np.uint8)
        self._sent = 0
        self._busy, self._ended = threading.Lock(), 0.0
        self._comings: list[Coming] = []

    def status(self) -> ReplicaStatus:
        """What there is to know before work begins."""
        return ReplicaStatus(pid=os.getpid(), node=ray.get_runtime_context().get_node_id())

    def brief(self, _: Briefing) -> ReplicaStatus:
        """A stand-in does the same in every run."""
        return self.status()

    def rehearse(self, stages: Mapping[str, Stage]) -> None:
        """Takes the roles' costs from here on from a table; without one a turn costs nothing."""
        self._stages = stages
        self._comings = []

    def sent(self) -> int:
        """Bytes of all parcels so far."""
        return self._sent

    def comings(self) -> list[Coming]:
        """How memory has come since the last rehearsal, for legs that had some to get, in the order of their turns."""
        return self._comings

    @ray.method(concurrency_group="io")  # type: ignore[untyped-decorator]
    def prefetch(self, *_: Any) -> None:
        """Brings parcels into this node's store while the stand-in works on something else."""

    def take_leg(self, _: str, order: LegOrder, refs: Sequence[Any]) -> Any:
        """Waits as long as the roles' turns take, for one leg at a time; others get what they need meanwhile.

        Returns:
            The report, and after it a parcel for each role in `order.send`.
        """
        began = time.perf_counter()
        came = sum(parcel.nbytes for parcel in ray.get(list(refs)))
        fetching = time.perf_counter() - began
        with self._busy:
            if refs:
                idle = max(0.0, began + fetching - max(began, self._ended))
                self._comings.append(Coming(seconds=fetching, idle=idle))
            time.sleep(turn := sum(self._stage(role).seconds for role in order.roles))
            self._ended = time.perf_counter()
        questions = len(order.assignments)
        sizes = [self._stage(role).parcel_bytes * questions for role in order.send]
        handed = Transfer(transport="object_store", bytes=came // questions, seconds=fetching / questions)
        turns = tuple(self._turns(role, questions, (handed,) if refs else ()) for role in order.roles)
        report = LegReport(turns=turns, failed=(), parcel_bytes=tuple(sizes), seconds=fetching + turn, peak_bytes=0)
        parcels = [self._parcel(size) if size <= order.limit else None for size in sizes]
        self._sent += sum(parcel.nbytes for parcel in parcels if parcel is not None)
        return (report, *parcels) if parcels else report

    def _stage(self, role: str) -> Stage:
        return self._stages.get(role, Stage(seconds=0.0))

    def _turns(self, role: str, questions: int, handed: tuple[Transfer, ...]) -> RoleTurns:
        stage = self._stage(role)
        turn = Turn(
            role=role,
            text=(WORD * (stage.characters // len(WORD) + 1))[: stage.characters],
            finish="stop" if stage.characters else "latent",
            usage=stage.usage,
            seconds=stage.seconds / questions,
            replica=self._name,
            transfers=handed,
        )
        return RoleTurns(role=role, turns=(turn,) * questions)

    def _parcel(self, size: int) -> Any:
        """Bytes as a replica packs them: one flat run, copied into the store once."""
        if len(self._bytes) < size:
            self._bytes = np.zeros(size, np.uint8)
        return self._bytes[:size]
