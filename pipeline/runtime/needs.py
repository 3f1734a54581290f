"""What replicas need of their memory, and what memory under way needs of the object store. Pure policy: no Ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from pipeline.agents.fitting import PROCESS, Held, held
from pipeline.agents.lengths import Lengths
from pipeline.config import BACKENDS, CARRIERS, RunConfig
from pipeline.engine.footprint import Footprint
from pipeline.graphs import CollaborationPlan
from pipeline.runtime.flow import Flow
from pipeline.runtime.legs import Itinerary, Leg
from pipeline.runtime.placement import Seat
from pipeline.runtime.sizes import MARGIN, SHARE


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
    process_bytes: int
    """For everything else."""

    running_bytes: int
    """All of it at the worst moment of the run itself: weights, alignment, cache, work and process."""
    peak_bytes: int
    """All of it at the worst moment, loading included."""


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
    """As many questions as a replica works on at once."""
    sizes: Mapping[str, Footprint]
    """The checkpoints."""
    device: str
    """cuda or cpu."""

    @property
    def itinerary(self) -> Itinerary:
        """Whose memory travels."""
        hands_over = self.config.collaboration.memory != "none" and bool(self.plan.thinkers)
        return Itinerary(plan=self.plan, carrier=CARRIERS[self.config.execution.transport], hands_over=hands_over)

    @property
    def flow(self) -> Flow:
        """How questions come to a replica."""
        return Flow(at_once=len(self.rows.turns[0].prompts), serial=self.itinerary.carrier.direct)

    def parcel_bytes(self, role: str, size: Footprint) -> int:
        """What the memory of a role is as a parcel, for a batch of the longest of these questions."""
        turn = self.rows.rows(self.flow.batch).of(role)
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
    held_here, parcels = _held(leg, legs, size, team), _parcels(leg, legs, size, team)
    fixed = size.weight_bytes + align[0] + PROCESS[team.device]
    work = held_here.nbytes + parcels
    return ReplicaNeeds(
        names=tuple(seat.name for seat in seats),
        roles=leg.roles,
        model=seats[0].model,
        weight_bytes=size.weight_bytes,
        alignment_bytes=align[0],
        loading_bytes=align[1],
        cache_bytes=held_here.cache_bytes,
        working_bytes=held_here.working_bytes + parcels,
        process_bytes=PROCESS[team.device],
        running_bytes=fixed + work,
        peak_bytes=fixed + max(align[1], work),
    )


def _held(leg: Leg, legs: Sequence[Leg], size: Footprint, team: Team) -> Held:
    """What a leg's turns hold of the cache."""
    itinerary = team.itinerary
    came, sent = itinerary.parcels(leg), itinerary.sent(leg, legs)
    turns, ahead = [team.rows.of(role) for role in leg.roles], team.config.execution.lookup_tokens
    if BACKENDS[team.config.model.backend].prompts_only:  # texts are in another engine's memory
        turns = [turn for turn in turns if turn.latent_steps is not None]
    if itinerary.carrier.inputs:  # what came as inputs is computed again, into slots like its maker's
        turns = [*(team.rows.of(role) for role in came), *turns]
        return held(turns, size, team.device, guesses=ahead, keep=sent)
    received = {role: team.rows.of(role).handed for role in came}
    return held(turns, size, team.device, guesses=ahead, keep=sent, received=received)


def _parcels(leg: Leg, legs: Sequence[Leg], size: Footprint, team: Team) -> int:
    """What parcels take that come and go, if they take any of the replica's own memory."""
    came, sent = team.itinerary.parcels(leg), team.itinerary.sent(leg, legs)
    going = [team.parcel_bytes(role, size) for role in sent]
    if team.device == "cpu":  # what came are views of the object store, which is not the replica's memory
        return sum(going)
    return sum(team.parcel_bytes(role, size) for role in came) + max(going, default=0)  # packed one after another


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
    claim, under_way = int(MARGIN * parcel * itinerary.senders()), team.flow.depth * len(seats)
    return StoreNeeds(
        parcel_bytes=parcel,
        batch_bytes=claim,
        under_way=under_way,
        least_bytes=int(parcel * itinerary.senders() / SHARE),
        full_bytes=int(under_way * claim / SHARE),
    )
