"""What replicas need of their memory, and what memory under way needs of the object store. Pure policy: no Ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from pipeline.config import CARRIERS, RunConfig
from pipeline.engine.footprint import Footprint
from pipeline.graphs import CollaborationPlan
from pipeline.runtime.caches import moments
from pipeline.runtime.legs import Itinerary, Leg
from pipeline.runtime.lengths import Lengths
from pipeline.runtime.placement import Seat
from pipeline.runtime.router import DEPTH
from pipeline.runtime.sizes import MARGIN, SHARE

ALLOWANCE = 1 << 30
"""Bytes for everything that is not counted: the process and its libraries or the CUDA context, kernels' workspaces."""


@dataclass(frozen=True, kw_only=True)
class ReplicaNeeds:
    """Memory of replicas that play the same roles, for a batch of the longest questions sampled."""

    names: tuple[str, ...]
    """The replicas."""
    roles: tuple[str, ...]
    """What each of them plays."""
    model: str
    """Their checkpoint."""
    weight_bytes: int
    """Weights."""
    alignment_bytes: int
    """The alignment's matrix."""
    loading_bytes: int
    """What making the alignment takes besides, before there is any cache."""
    cache_bytes: int
    """Cache at the worst moment, every text at its cap."""
    working_bytes: int
    """What that moment takes besides cache: activations, or parcels that come and go."""
    allowance_bytes: int
    """For everything else."""
    peak_bytes: int
    """All of it at the worst moment: weights, alignment, then loading or cache and work, allowance."""
    most_bytes: int
    """The same where texts end one after another just before the cap, and the cache is copied to let them go."""


@dataclass(frozen=True, kw_only=True)
class StoreNeeds:
    """What memory under way needs of the object store of a node that every batch comes by."""

    parcel_bytes: int
    """The largest parcel: one role's memory for a batch."""
    batch_bytes: int
    """What one batch claims."""
    under_way: int
    """Batches under way with every replica busy."""
    least_bytes: int
    """A store that takes a batch whole; with a smaller one batches are split."""
    full_bytes: int
    """A store that keeps every replica busy; with a smaller one some wait."""


@dataclass(frozen=True, kw_only=True)
class Team:
    """All that replicas have in common."""

    config: RunConfig
    """The run's settings."""
    plan: CollaborationPlan
    """Who works together."""
    rows: Lengths
    """A batch of questions."""
    sizes: Mapping[str, Footprint]
    """The checkpoints."""
    device: str
    """cuda or cpu."""

    @property
    def itinerary(self) -> Itinerary:
        """Whose memory travels."""
        hands_over = self.config.collaboration.memory != "none" and bool(self.plan.thinkers)
        return Itinerary(plan=self.plan, carrier=CARRIERS[self.config.execution.transport], hands_over=hands_over)

    def parcel_bytes(self, role: str, size: Footprint) -> int:
        """What the memory of a role for the batch is as a parcel."""
        turn = self.rows.of(role)
        if not self.itinerary.carrier.inputs:
            return sum(turn.handed) * size.shape.bytes_per_position
        return sum(size.input_bytes(turn.prompts, turn.latent_steps or 0))


def legs_of(seats: Sequence[Seat]) -> list[Leg]:
    """A batch's way over replicas: each stretch of roles on the first replica that plays it."""
    return [Leg(seat=next(group).name, roles=roles) for roles, group in groupby(seats, key=lambda seat: seat.roles)]


def replica_needs(seats: Sequence[Seat], team: Team) -> tuple[ReplicaNeeds, ...]:
    """What each kind of replica needs.

    Args:
        seats: The replicas; those that play the same roles follow each other.
        team: What they have in common.
    """
    legs = {leg.roles: leg for leg in legs_of(seats)}
    groups = groupby(seats, key=lambda seat: seat.roles)
    return tuple(_needs(list(group), legs[roles], list(legs.values()), team) for roles, group in groups)


def _needs(seats: Sequence[Seat], leg: Leg, legs: Sequence[Leg], team: Team) -> ReplicaNeeds:
    size = team.sizes[seats[0].model]
    align = (0, 0)
    if team.plan.thinkers:  # every replica makes it, whatever it plays
        align = size.alignment_bytes(team.config.collaboration.alignment)
    expected, late = _batch_bytes(leg, legs, size, team)
    fixed = size.weight_bytes + align[0] + ALLOWANCE
    return ReplicaNeeds(
        names=tuple(seat.name for seat in seats),
        roles=leg.roles,
        model=seats[0].model,
        weight_bytes=size.weight_bytes,
        alignment_bytes=align[0],
        loading_bytes=align[1],
        cache_bytes=expected[0],
        working_bytes=expected[1],
        allowance_bytes=ALLOWANCE,
        peak_bytes=fixed + max(align[1], sum(expected)),
        most_bytes=fixed + max(align[1], sum(expected), sum(late)),
    )


def _batch_bytes(leg: Leg, legs: Sequence[Leg], size: Footprint, team: Team) -> tuple[tuple[int, int], tuple[int, int]]:
    """Cache and other bytes at the worst moment of a batch: with all texts at their cap, and at the worst of all."""
    itinerary, unit = team.itinerary, size.shape.bytes_per_position
    came = itinerary.parcels(leg)
    turns = [team.rows.of(role) for role in leg.roles]
    if itinerary.carrier.inputs:  # what came as inputs is computed again, into a cache like its maker's
        turns = [*(replace(team.rows.of(role), at_once=True) for role in came), *turns]
    received = {} if itinerary.carrier.inputs else {role: team.rows.of(role).handed for role in came}
    # On a CPU what came are views of the object store, which is not the replica's memory.
    arrived = sum(team.parcel_bytes(role, size) for role in came) if team.device == "cuda" else 0
    found = moments(turns, key_share=size.key_share, received=received)
    points = [
        (int(m.cells * unit), arrived + (size.working_bytes(m.rows, m.new, m.columns) if m.new else 0), m.late)
        for m in found
    ]
    if parcels := [team.parcel_bytes(role, size) for role in itinerary.sent(leg, legs)]:
        packing = max(parcels) if team.device == "cuda" else sum(parcels)  # from a GPU one after another to the host
        held = [cache for cache, _, late in points if not late][-1]
        points.append((held, arrived + packing, False))
    worst = max(points, key=lambda point: point[0] + point[1])
    usual = max((point for point in points if not point[2]), key=lambda point: point[0] + point[1])
    return usual[:2], worst[:2]


def store_needs(seats: Sequence[Seat], team: Team) -> StoreNeeds | None:
    """What memory under way needs of the object store; none where it does not travel through it.

    Args:
        seats: The replicas.
        team: What they have in common.
    """
    itinerary, legs = team.itinerary, legs_of(seats)
    sent = [role for leg in legs for role in itinerary.sent(leg, legs)]
    if not sent or itinerary.carrier.direct or itinerary.carrier.inputs:
        return None
    size = team.sizes[seats[0].model]
    parcel = max(team.parcel_bytes(role, size) for role in sent)
    claim, under_way = int(MARGIN * parcel * itinerary.senders()), DEPTH * len(seats)
    return StoreNeeds(
        parcel_bytes=parcel,
        batch_bytes=claim,
        under_way=under_way,
        least_bytes=int(parcel * itinerary.senders() / SHARE),
        full_bytes=int(under_way * claim / SHARE),
    )
