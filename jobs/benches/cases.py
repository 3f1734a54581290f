"""What the scale benchmark runs: its settings, and the cases that follow from them. Pure; no Ray."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

from jobs.benches.command import listed, numbers, words
from jobs.benches.stages import WORKLOADS
from jobs.benches.timing import ideal_rate, last_wave
from pipeline.config import CollaborationConfig, Placement
from pipeline.graphs import CollaborationPlan, plan_for
from pipeline.runtime.flow import Flow
from pipeline.runtime.placement import split_roles
from pipeline.runtime.standin import Stage
from pipeline.validation import require

Model = Literal["fixed", "Qwen3-4B", "Qwen3-8B", "Qwen3-14B"]
"""Whose times: every turn the same, or a model's."""
LIKE = "Qwen3-8B"
"""The model whose sizes go with a fixed turn time."""
QUICK_REPLICAS = "4"
QUICK_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Settings of the scale benchmark."""

    replicas: str = "1,4,16,64"
    """Numbers of stand-ins for the fixed turn time; models run with the largest."""
    placement: str = "colocated,spread"
    """Placements: colocated, one order for all turns of a batch; spread, one order a turn, and memory travels."""
    batch_size: int = 8
    """Questions in a batch."""
    turn_seconds: float = 0.5
    """The fixed turn time; 0 leaves these cases out."""
    models: str = "Qwen3-8B"
    """Models whose stage times are run too: Qwen3-4B, Qwen3-8B, Qwen3-14B; none leaves them out."""
    time_scale: float = 0.3
    """Models' times are multiplied by this, so that a case ends soon."""
    byte_scale: float = 0.002
    """Sizes of parcels are multiplied by this, so that one machine can hold those of many."""
    seconds: float = 6.0
    """How long the steady part of a case is to last."""
    quick: bool = False
    """Two small cases instead: 4 stand-ins, 2 seconds each, no models."""
    address: str | None = None
    """Ray cluster to use; without it $RAY_ADDRESS, else a new local one that pretends to have a GPU for each."""

    def __post_init__(self) -> None:
        require(all(n >= 1 for n in self.replica_counts), "replicas", self.replicas, "numbers of 1 or more: 1,4,16")
        known = get_args(Placement)
        require(
            set(self.placements) <= set(known) and bool(self.placements), "placement", self.placement, listed(known)
        )
        require(set(self.model_names) <= WORKLOADS.keys(), "models", self.models, f"{listed(WORKLOADS)}, or none")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more")
        require(self.turn_seconds >= 0, "turn_seconds", self.turn_seconds, "0 or more")
        for name in ("time_scale", "byte_scale", "seconds"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        some = bool(self.turn_seconds or self.model_names)
        require(some, "models", self.models, f"{listed(WORKLOADS)}, where --turn-seconds is 0")

    @property
    def replica_counts(self) -> list[int]:
        """Numbers of stand-ins; a 0 for what is no number."""
        return numbers(QUICK_REPLICAS if self.quick else self.replicas)

    @property
    def placements(self) -> list[str]:
        """Placements to run."""
        return words(self.placement)

    @property
    def model_names(self) -> list[str]:
        """Models whose times are run."""
        return [] if self.quick or self.models == "none" else [part.strip() for part in self.models.split(",")]

    @property
    def steady_seconds(self) -> float:
        """How long the steady part of a case is to last."""
        return min(QUICK_SECONDS, self.seconds) if self.quick else self.seconds


@dataclass(frozen=True, kw_only=True)
class Case:
    """One run of stand-ins."""

    model: str
    """Whose times."""
    placement: Placement
    """Where the roles are played."""
    plays: tuple[tuple[str, ...], ...]
    """The roles of each stand-in."""
    batch_size: int
    """Questions in a batch."""
    stages: Mapping[str, Stage]
    """What each role's turn costs."""
    batches: int
    """How many are asked."""

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return f"{self.model} {self.placement} {len(self.plays)}"

    @property
    def ideal(self) -> float:
        """Batches a second if no stand-in ever waited."""
        return ideal_rate(self.plays, self.seconds)

    @property
    def seconds(self) -> dict[str, float]:
        """How long each role's turn takes."""
        return {role: stage.seconds for role, stage in self.stages.items()}

    @property
    def wave(self) -> int:
        """Batches that finish at once."""
        return last_wave(self.plays, list(self.stages)[-1])


def the_plan() -> CollaborationPlan:
    """Sequential LatentMAS."""
    return plan_for(CollaborationConfig())


def cases(scale: Scale) -> Iterator[Case]:
    """All cases, the fixed turn time first."""
    for placement in cast(list[Placement], scale.placements):
        if scale.turn_seconds:
            for count in scale.replica_counts:
                yield case_of("fixed", placement, count, scale)
    for name in scale.model_names:
        for placement in cast(list[Placement], scale.placements):
            yield case_of(name, placement, max(scale.replica_counts), scale)


def case_of(model: str, placement: Placement, count: int, scale: Scale) -> Case:
    """One case, with as many batches as its steady part needs."""
    stages = stages_of(model, scale)
    roles, seconds = tuple(stages), {role: stage.seconds for role, stage in stages.items()}
    together = [roles] * count
    plays = together if placement == "colocated" else split_roles(roles, count, seconds, dict.fromkeys(roles, model))
    wave = last_wave(plays, roles[-1])
    steady = math.ceil(scale.steady_seconds * ideal_rate(plays, seconds) / wave)
    spare = 1 + math.ceil(
        Flow(at_once=scale.batch_size).depth * count / wave
    )  # the run fills, and after the last submission it drains
    return Case(
        model=model,
        placement=placement,
        plays=tuple(plays),
        batch_size=scale.batch_size,
        stages=stages,
        batches=(steady + spare) * wave,
    )


def stages_of(model: str, scale: Scale) -> dict[str, Stage]:
    """What each role's turn costs, at the benchmark's scale of times and sizes."""
    stages = WORKLOADS[LIKE if model == "fixed" else model].stages(the_plan(), scale.batch_size)
    return {
        role: replace(
            stage,
            seconds=scale.turn_seconds if model == "fixed" else stage.seconds * scale.time_scale,
            parcel_bytes=int(stage.parcel_bytes * scale.byte_scale),
        )
        for role, stage in stages.items()
    }
