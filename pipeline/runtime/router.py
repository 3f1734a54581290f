"""The router: which replica takes each turn of a batch, and whether another batch may start. Pure policy: no Ray.

A turn goes to the replica that already holds memory of its batch, if that one plays the role, else to an idle one, else
to the one where it is expected to be done first. Three things hold a new batch back: every replica that could begin it
has one in work and one waiting, the memory under way would fill the object store of a node that the batch comes by
beyond its budget, or nobody who is alive could take one of its turns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
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
    node: str = ""
    """Where it is: replicas of one node share its object store."""
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
    """What it claims of the object store of every node that it comes by."""
    places: dict[str, str] = field(default_factory=dict)
    """Who has yet to take which role's turn."""
    nodes: set[str] = field(default_factory=set)
    """The nodes that it comes by."""


class Router:
    """Routes batches of questions over replicas."""

    def __init__(
        self, posts: Mapping[str, Post], models: Mapping[str, str], *, budget: int, depth: int = DEPTH
    ) -> None:
        """Begins with nothing under way.

        Args:
            posts: The replicas by name.
            models: The checkpoint of each role.
            budget: Bytes of memory that may be under way in the object store of each node.
            depth: Batches that a replica has at most before another is begun with it.
        """
        self.posts, self._models, self.budget, self._depth = dict(posts), models, budget, depth
        self._trips: dict[str, Trip] = {}
        self._claims: Counter[str] = Counter()  # bytes by node
        self._guests: Counter[str] = Counter()  # batches by node
        self._given = count(1)

    @property
    def under_way(self) -> int:
        """Batches under way."""
        return len(self._trips)

    @property
    def bytes_under_way(self) -> int:
        """Bytes that the batches under way have a claim to."""
        return sum(trip.nbytes for trip in self._trips.values())

    def bytes_on(self, node: str) -> int:
        """Bytes that the batches under way have a claim to on one node."""
        return self._claims[node]

    def has_room(self, roles: Sequence[str], nbytes: int, holders: Iterable[str] = ()) -> bool:
        """Whether a batch that has yet to take the turns of `roles` may start now.

        One batch may always be under way on a node, however large it is.

        Args:
            roles: Whose turns, in working order.
            nbytes: What the batch would claim of the store of every node that it comes by.
            holders: Replicas that hold memory of it already.
        """
        if not any(self.posts[name].load < self._depth for name in self._candidates(roles[0])):
            return False
        places = self._plan(roles, holders)
        if places is None or len(self._trips) >= self._depth * sum(post.alive for post in self.posts.values()):
            return False
        nodes = {self.posts[name].node for name in (*places.values(), *holders)}
        return all(not self._guests[node] or self._claims[node] + nbytes <= self.budget for node in nodes)

    def start(self, batch: str, nbytes: int) -> None:
        """Enters a batch."""
        self._trips[batch] = Trip(nbytes=nbytes)

    def claim(self, batch: str, nbytes: int) -> None:
        """Corrects what a batch takes of the store, now that it is known."""
        trip = self._trips[batch]
        for node in trip.nodes:
            self._claims[node] += nbytes - trip.nbytes
        trip.nbytes = nbytes

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
        trip, held = self._trips[batch], list(holders)
        places = self._plan(roles, held)
        if places is None:
            return None
        trip.places = dict(places)
        for name in places.values():
            self.posts[name].chosen = next(self._given)
        for name in set(places.values()):
            self.posts[name].load += 1
        new = {self.posts[name].node for name in (*places.values(), *held)} - trip.nodes
        trip.nodes |= new
        self._guests.update(new)
        self._claims.update(dict.fromkeys(new, trip.nbytes))
        return places

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
        trip = self._trips.pop(batch)
        self._guests.subtract(trip.nodes)
        self._claims.subtract(dict.fromkeys(trip.nodes, trip.nbytes))

    def lost(self, name: str) -> None:
        """Gives a replica no more turns."""
        self.posts[name].alive = False

    def back(self, name: str, node: str) -> None:
        """Takes a replica in again, wherever it is now."""
        self.posts[name].alive, self.posts[name].node = True, node

    def recast(self, roles: Mapping[str, Iterable[str]]) -> None:
        """Gives replicas other roles."""
        for name, new in roles.items():
            self.posts[name].roles = frozenset(new)

    def _candidates(self, role: str) -> list[str]:
        """Who plays a role; if none of them is alive, all who could."""
        living = {name: post for name, post in self.posts.items() if post.alive}
        own = [name for name, post in living.items() if role in post.roles]
        return own or [name for name, post in living.items() if post.model == self._models[role]]

    def _plan(self, roles: Sequence[str], holders: Iterable[str]) -> dict[str, str] | None:
        """A replica for each role, in working order; none if nobody alive can play one of them."""
        places, held = dict[str, str](), list(holders)
        for role in roles:
            name = self._choose(role, held, set(places.values()))
            if name is None:
                return None
            places[role] = name
            held.append(name)
        return places

    def _choose(self, role: str, held: Sequence[str], here: Collection[str]) -> str | None:
        """Who takes a turn of a batch: `held` hold memory of it, and `here` have a turn of it already."""
        candidates = self._candidates(role)
        near = [name for name in candidates if name in held]
        paces = [post.pace for post in self.posts.values() if post.pace is not None]
        usual = sum(paces) / len(paces) if paces else 1.0
        loads = {name: self.posts[name].load + (name in here) for name in near or candidates}
        # Whoever is idle comes first, however slow: a queue elsewhere gets shorter by that too.
        ranks = {name: (load > 0, (load + 1) * (self.posts[name].pace or usual)) for name, load in loads.items()}
        if not held or not ranks:
            return min(ranks, key=ranks.__getitem__, default=None)
        # Who has just finished looks shorter of work than who is about to. A turn that comes later can't tell the two
        # apart, and goes to the one of them that was not chosen for longest, or neighbours would get it in bursts.
        busy, wait = min(ranks.values())
        alike = [name for name, rank in ranks.items() if rank <= (busy, wait + usual)]
        return min(alike, key=lambda name: self.posts[name].chosen)
