"""The router: which replica takes each turn of a batch, and whether another batch may start. Pure policy: no Ray.

A turn goes to the replica that already holds memory of its batch, if that one plays the role, else to an idle one, else
to the one where it is expected to be done first. Three things hold a new batch back: every replica that could begin it
has one in work and one waiting, the memory under way would fill the object store beyond its budget, or nobody who is
alive could take one of its turns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

DEPTH = 2
"""Batches that a replica has at most before another is begun with it: one in work, one waiting."""
MEMORY = 0.3
"""Weight of the newest turn in a replica's pace."""


@dataclass(kw_only=True)
class Post:
    """What the router knows of one replica."""

    roles: frozenset[str]
    """Roles that it plays."""
    model: str
    """Its checkpoint."""
    alive: bool = True
    load: int = 0
    """Batches under way in which it has yet to take a turn."""
    chosen: int = 0
    """When it was last given a turn, as a count of turns given."""
    pace: float | None = None
    """Seconds a turn, a moving average; none before the first."""


@dataclass(kw_only=True)
class Trip:
    """A batch under way."""

    nbytes: int
    """Its share of the object store's budget."""
    places: dict[str, str] = field(default_factory=dict)
    """Who has yet to take which role's turn."""


class Router:
    """Routes batches of questions over replicas."""

    def __init__(
        self, posts: Mapping[str, Post], models: Mapping[str, str], *, budget: int, depth: int = DEPTH
    ) -> None:
        """Begins with nothing under way.

        Args:
            posts: The replicas by name.
            models: The checkpoint of each role.
            budget: Bytes of memory that may be under way in the object store.
            depth: Batches that a replica has at most before another is begun with it.
        """
        self.posts, self._models, self.budget, self._depth = dict(posts), models, budget, depth
        self._trips: dict[str, Trip] = {}
        self._given = count(1)

    @property
    def under_way(self) -> int:
        """Batches under way."""
        return len(self._trips)

    @property
    def bytes_under_way(self) -> int:
        """Bytes that the batches under way have a claim to."""
        return sum(trip.nbytes for trip in self._trips.values())

    def has_room(self, roles: Sequence[str], nbytes: int) -> bool:
        """Whether a batch that has yet to take the turns of `roles` and takes `nbytes` of the store may start now.

        One batch may always be under way, however large it is.
        """
        first, *later = roles
        can_begin = any(self.posts[name].load < self._depth for name in self._candidates(first))
        if can_begin and all(map(self._candidates, later)):
            within = self.bytes_under_way + nbytes <= self.budget
            living = sum(post.alive for post in self.posts.values())
            return not self._trips or (within and len(self._trips) < self._depth * living)
        return False

    def start(self, batch: str, nbytes: int) -> None:
        """Enters a batch."""
        self._trips[batch] = Trip(nbytes=nbytes)

    def claim(self, batch: str, nbytes: int) -> None:
        """Corrects what a batch takes of the store, now that it is known."""
        self._trips[batch].nbytes = nbytes

    def route(self, batch: str, roles: Sequence[str], holders: Iterable[str] = ()) -> dict[str, str] | None:
        """Chooses replicas for the turns that a batch has yet to take.

        Args:
            batch: The batch.
            roles: Whose turns, in working order.
            holders: Replicas that hold memory of the batch already.

        Returns:
            A replica for each role; none if nobody alive can play one of them.
        """
        self.leave(batch)
        held, trip = list(holders), self._trips[batch]
        for role in roles:
            name = self._choose(role, held)
            if name is None:
                self.leave(batch)
                return None
            self.posts[name].load += name not in trip.places.values()
            self.posts[name].chosen = next(self._given)
            trip.places[role] = name
            held.append(name)
        return dict(trip.places)

    def took(self, batch: str, roles: Sequence[str], seconds: float) -> None:
        """Books turns that have been taken on one replica, one after another, in `seconds` all together."""
        trip = self._trips[batch]
        name = [trip.places.pop(role) for role in roles][0]
        post, turn = self.posts[name], seconds / len(roles)
        post.load -= name not in trip.places.values()
        post.pace = turn if post.pace is None else (1 - MEMORY) * post.pace + MEMORY * turn

    def leave(self, batch: str) -> None:
        """Takes back what a batch was routed to and has not been done."""
        for name in set(self._trips[batch].places.values()):
            self.posts[name].load -= 1
        self._trips[batch].places.clear()

    def end(self, batch: str) -> None:
        """Ends a batch, whatever became of it."""
        self.leave(batch)
        del self._trips[batch]

    def lost(self, name: str) -> None:
        """Gives a replica no more turns."""
        self.posts[name].alive = False

    def back(self, name: str) -> None:
        """Takes a replica in again."""
        self.posts[name].alive = True

    def recast(self, roles: Mapping[str, Iterable[str]]) -> None:
        """Gives replicas other roles."""
        for name, new in roles.items():
            self.posts[name].roles = frozenset(new)

    def _candidates(self, role: str) -> list[str]:
        """Who plays a role; if none of them is alive, all who could."""
        living = {name: post for name, post in self.posts.items() if post.alive}
        own = [name for name, post in living.items() if role in post.roles]
        return own or [name for name, post in living.items() if post.model == self._models[role]]

    def _choose(self, role: str, held: Sequence[str]) -> str | None:
        candidates = self._candidates(role)
        near = [name for name in candidates if name in held]
        paces = [post.pace for post in self.posts.values() if post.pace is not None]
        usual = sum(paces) / len(paces) if paces else 1.0
        # Whoever is idle comes first, however slow: a queue elsewhere gets shorter by that too.
        ranks = {name: (self.posts[name].load > 0, self._wait(name, usual)) for name in near or candidates}
        if not held or not ranks:
            return min(ranks, key=ranks.__getitem__, default=None)
        # Who has just finished looks shorter of work than who is about to. A turn that comes later can't tell the two
        # apart, and goes to the one of them that was not chosen for longest, or neighbours would get it in bursts.
        busy, wait = min(ranks.values())
        alike = [name for name, rank in ranks.items() if rank <= (busy, wait + usual)]
        return min(alike, key=lambda name: self.posts[name].chosen)

    def _wait(self, name: str, usual: float) -> float:
        """Seconds until a turn that is given to a replica now would be done."""
        post = self.posts[name]
        return (post.load + 1) * (usual if post.pace is None else post.pace)
