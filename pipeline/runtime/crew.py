"""The crew: replicas as Ray actors, started together, briefed for one run after another, and ended together."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from pipeline.agents.actor import Briefing, Replica, ReplicaStatus
from pipeline.config import CARRIERS, RunConfig
from pipeline.runtime.direct import connect, disconnect
from pipeline.runtime.flow import THREADS
from pipeline.runtime.placement import Capacity, Resources, Seat, bundles, resources, sharing

LOADING_SECONDS = 3600
"""How long replicas may take to get their resources and load, weights from the Hub included."""
TOLD_EVERY = 15
"""Seconds between words on what is being waited for."""

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Member:
    """One replica."""

    seat: Seat
    """Its place in the run."""
    actor: Any
    """Its handle."""
    status: ReplicaStatus
    """What it said last: once it was loaded, or when it was briefed for the run."""


@dataclass(frozen=True, kw_only=True)
class Crew:
    """All replicas of a run."""

    members: Mapping[str, Member]
    """By name."""
    resources: Resources
    """What each of them got."""
    automatic: bool = False
    """Whether roles are split over them anew once it is known how long each takes."""
    briefing: Briefing | None = None
    """What they were told of the run, once they are briefed."""

    @property
    def notices(self) -> tuple[str, ...]:
        """What users should know of the models."""
        return tuple(dict.fromkeys(m.status.notice for m in self.members.values() if m.status.notice))

    @property
    def at_once(self) -> int:
        """Questions that each of them works on at once in the run: as many as the one that takes the fewest."""
        return max(1, min(member.status.at_once for member in self.members.values()))

    def store_bytes(self) -> int:
        """The smallest object store among the nodes of the replicas."""
        homes = {member.status.node for member in self.members.values()}
        sizes = [node["Resources"].get("object_store_memory", 0) for node in ray.nodes() if node["NodeID"] in homes]
        return int(min(sizes, default=0))


def cluster_capacity() -> Capacity:
    """What the living nodes of the cluster have."""
    total = ray.cluster_resources()
    nodes = sum(node["Alive"] for node in ray.nodes())
    return Capacity(gpus=total.get("GPU", 0), cpus=total.get("CPU", 1), nodes=max(nodes, 1))


@contextmanager
def started_crew(
    seats: Sequence[Seat], config: RunConfig, say: Say, replica: type = Replica
) -> Iterator[Callable[[], Crew]]:
    """Starts replicas, which load their models at the same time, and ends them with the block.

    Args:
        seats: Who is to play what in the first run.
        config: The first run's settings; what of them says how models are loaded and placed holds for all runs.
        say: Told what is being waited for.
        replica: The class of the actors.

    Yields:
        What waits until all of them are loaded, and returns the crew; it raises a ValueError where a model can't be
        loaded, or models don't understand each other.

    Raises:
        ValueError: The cluster can't hold them.
    """
    share = resources(len(seats), config.execution, cluster_capacity())
    group, actors = None, list[Any]()
    try:
        homes: list[dict[str, Any]] = [{"scheduling_strategy": "SPREAD" if not share.gpus else "DEFAULT"}] * len(seats)
        if config.execution.placement == "spread":
            group, homes = _together(len(seats), share)
        for seat, home in zip(seats, homes, strict=True):
            actors.append(_start(replica, seat, share, home, config))

        def loaded() -> Crew:
            statuses = _wait(actors, share, say)
            members = [Member(seat=s, actor=a, status=t) for s, a, t in zip(seats, actors, statuses, strict=True)]
            _check(members)
            connect(actors, CARRIERS[config.execution.transport])
            return Crew(members={member.seat.name: member for member in members}, resources=share)

        yield loaded
    finally:
        with suppress(RayError):  # where the cluster is gone, so are they
            disconnect(CARRIERS[config.execution.transport])
            for actor in actors:
                ray.kill(actor)
            if group is not None:
                remove_placement_group(group)


def briefed(crew: Crew, seats: Sequence[Seat], briefing: Briefing) -> Crew:
    """Gets a loaded crew ready for a run.

    Args:
        crew: As many replicas as there are seats.
        seats: Who is to play what in the run.
        briefing: What the run is about.

    Returns:
        The crew with its places and its statuses of this run.

    Raises:
        ValueError: The run can't be on these models.
        RayError: A replica has been lost.
    """
    briefing = replace(briefing, most=max(1, -(-briefing.questions // len(seats))), sharing=_sharing(crew))
    statuses: list[ReplicaStatus] = ray.get([member.actor.brief.remote(briefing) for member in crew.members.values()])
    for status in statuses:
        if status.failure:
            raise ValueError(status.failure)
    told = zip(crew.members.values(), seats, statuses, strict=True)
    members = [replace(member, seat=seat, status=status) for member, seat, status in told]
    _check(members)  # one of them may have been started anew since it was loaded first
    return replace(crew, members={member.seat.name: member for member in members}, briefing=briefing)


def _sharing(crew: Crew) -> int:
    """How many replicas share the memory of a machine, or of a GPU, where the most do."""
    if gpus := crew.resources.gpus:
        return sharing(gpus) if gpus < 1 else 1
    return max(Counter(member.status.node for member in crew.members.values()).values())


def _together(count: int, share: Resources) -> tuple[PlacementGroup, list[dict[str, Any]]]:
    """A placement group for the replicas of a spread run, and each one's place in it."""
    parts, indices = bundles(count, share)
    # GPUs near each other, as memory travels between them; CPUs on all nodes, as replicas on one node share its cores.
    group = placement_group(parts, strategy="PACK" if share.gpus else "SPREAD")
    return group, [
        {"scheduling_strategy": PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index)}
        for index in indices
    ]


def _start(replica: type, seat: Seat, share: Resources, home: dict[str, Any], config: RunConfig) -> Any:
    direct = CARRIERS[config.execution.transport].direct
    made: Any = ray.remote(
        num_cpus=share.cpus,
        num_gpus=share.gpus,
        max_restarts=-1,
        max_task_retries=0,  # what is lost is asked again by the driver, which knows what else was lost with it
        concurrency_groups={"io": 1},
        max_concurrency=1 if direct else THREADS,  # what goes from device to device goes in order
        enable_tensor_transport=direct,
    )(replica)
    model = replace(config.model, model=seat.model)
    return made.options(**home).remote(model, seat.name, share.threads, share.gpus)


def _wait(actors: Sequence[Any], share: Resources, say: Say) -> list[ReplicaStatus]:
    """Waits until all replicas are loaded, and says what it waits for."""
    refs = [actor.status.remote() for actor in actors]
    began = time.monotonic()
    ready: list[Any] = []
    while len(ready) < len(refs):
        ready, waiting = ray.wait(refs, num_returns=len(refs), timeout=TOLD_EVERY)
        for status in ray.get(ready):
            if status.failure:
                raise ValueError(status.failure)
        if waiting:
            asked = f"{share.gpus:g} GPUs" if share.gpus else f"{share.cpus:g} CPUs"
            free = ray.available_resources().get("GPU" if share.gpus else "CPU", 0)
            state = f"{len(waiting)} of {len(refs)} replicas not loaded yet (each needs {asked}; {free:g} are free)"
            if time.monotonic() - began > LOADING_SECONDS:
                raise ValueError(f"--replicas: after {LOADING_SECONDS} s {state}; ask for fewer, or for less each")
            say(state)
    return ray.get(refs)  # type: ignore[no-any-return]


def _check(members: Sequence[Member]) -> None:
    """Refuses models that don't understand each other's working memory.

    Raises:
        ValueError: The message names the first difference.
    """
    first = members[0]
    for model in {member.seat.model for member in members}:
        alike = {member.status.fingerprint for member in members if member.seat.model == model}
        if len(alike) > 1:
            raise ValueError(
                f"--model {model!r} is not the same on all nodes: weights or number format differ (fingerprints "
                f"{', '.join(sorted(alike))}); put one copy where all nodes find it"
            )
    for other in members[1:]:
        for (what, ours), (_, theirs) in zip(first.status.memory_form, other.status.memory_form, strict=True):
            if ours != theirs:
                raise ValueError(
                    f"--roles: {other.seat.model!r} can't read the working memory of {first.seat.model!r}: "
                    f"{what} is {theirs}, there {ours}"
                )
