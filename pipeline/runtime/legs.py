"""Legs: how a batch's way over the graph is cut where it changes the replica, and what travels between. Pure policy."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from pipeline.config import Carrier
from pipeline.graphs import CollaborationPlan


@dataclass(frozen=True, kw_only=True)
class Leg:
    """Consecutive roles on one replica."""

    seat: str
    """The replica."""
    roles: tuple[str, ...]
    """The roles, in working order."""


@dataclass(frozen=True, kw_only=True)
class Itinerary:
    """Who reads whom in a plan, and whose memory travels when they are on different replicas."""

    plan: CollaborationPlan
    """Who works together."""
    carrier: Carrier
    """How memory travels."""
    hands_over: bool = True
    """Whether anything is handed over at all; as a control a run may drop it."""

    @cached_property
    def roles(self) -> tuple[str, ...]:
        """All roles in working order."""
        return tuple(role.name for role in self.plan.graph.roles)

    def legs(self, places: Mapping[str, str]) -> list[Leg]:
        """Cuts the roles that have a place into stretches on one replica each."""
        ordered = [role for role in self.roles if role in places]
        return [Leg(seat=seat, roles=tuple(group)) for seat, group in groupby(ordered, key=lambda role: places[role])]

    def before(self, leg: Leg) -> tuple[str, ...]:
        """Roles whose turns a leg has to know: those that it reads, or all that their memory goes back to."""
        reads = {role.name: role.reads for role in self.plan.graph.roles}
        found = (
            _reach(leg.roles, reads) if self.carrier.inputs else {read for role in leg.roles for read in reads[role]}
        )
        return self._ordered(found - set(leg.roles))

    def parcels(self, leg: Leg) -> tuple[str, ...]:
        """Roles whose memory a leg gets from other replicas."""
        return tuple(role for role in self.before(leg) if role in self.plan.thinkers) if self.hands_over else ()

    def sent(self, leg: Leg, legs: Sequence[Leg]) -> tuple[str, ...]:
        """Roles of a leg whose memory other legs get."""
        wanted = {role for other in legs if other != leg for role in self.parcels(other)}
        return self._ordered(wanted & set(leg.roles))

    def senders(self) -> int:
        """How many roles at most send memory of one question."""
        return max(len(self.plan.thinkers) if self.hands_over else 0, 1)

    def _ordered(self, roles: Collection[str]) -> tuple[str, ...]:
        return tuple(role for role in self.roles if role in roles)


def _reach(roles: Sequence[str], reads: Mapping[str, Sequence[str]]) -> set[str]:
    """Everything that some roles read, and what was read for it, and so on."""
    found, todo = set[str](), list(roles)
    while todo:
        new = [read for read in reads[todo.pop()] if read not in found]
        found.update(new)
        todo += new
    return found
