"""A run in simulated time: the router with replicas that need time, die and come back, and nothing else."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pipeline.config import CARRIERS, RunConfig
from pipeline.graphs import plan_for
from pipeline.runtime.legs import Itinerary, Leg
from pipeline.runtime.placement import Seat
from pipeline.runtime.router import Post, Router


@dataclass(eq=False)
class Trip:
    """A batch as the driver keeps it."""

    key: str
    nbytes: int
    turns: set[str] = field(default_factory=set)
    legs: list[Leg] = field(default_factory=list)
    holders: set[str] = field(default_factory=set)
    running: int = 0
    lost: bool = False


@dataclass
class Machine:
    """A replica: it carries out one leg after another."""

    alive: bool = True
    queue: deque[tuple[Trip, Leg]] = field(default_factory=deque)
    life: int = 0
    began: float = 0.0
    work: list[tuple[float, float]] = field(default_factory=list)

    def busy(self, begin: float, end: float) -> float:
        """Seconds in work between two points of time."""
        return sum(max(0.0, min(last, end) - max(first, begin)) for first, last in self.work)


class Simulator:
    """Does with a router what the driver does, on machines that take as long as they are told to."""

    def __init__(
        self,
        seats: Sequence[Seat],
        seconds: Callable[[str, str], float],
        sizes: Sequence[int],
        *,
        budget: int = 0,
        real_size: Callable[[int], int] = lambda nbytes: nbytes,
        **settings: object,
    ) -> None:
        """Prepares a run.

        Args:
            seats: The replicas.
            seconds: How long a turn takes, by replica and role.
            sizes: What each batch claims of the store at first.
            budget: The router's.
            real_size: What a batch turns out to take.
            settings: Of the run.
        """
        plan = plan_for(RunConfig.from_flat({"method": "latent_mas", **settings}).collaboration)
        self.itinerary = Itinerary(plan=plan, carrier=CARRIERS["object_store"])
        posts = {seat.name: Post(roles=frozenset(seat.roles), model=seat.model) for seat in seats}
        self.router = Router(posts, dict.fromkeys(self.itinerary.roles, "m"), budget=budget)
        self.machines = {name: Machine() for name in posts}
        self.seconds, self.real_size = seconds, real_size
        self.waiting = deque(Trip(f"b{i}", nbytes) for i, nbytes in enumerate(sizes))
        self.fresh = {trip.key for trip in self.waiting}
        self.under_way: set[str] = set()
        self.ended: list[str] = []
        self.routed: list[tuple[set[str], set[str]]] = []
        self.now, self.exhausted = 0.0, 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Has something happen."""
        self._count += 1
        heapq.heappush(self._events, (when, self._count, what))

    def run(self, watch: Callable[[], None] = lambda: None) -> None:
        """Runs until every batch has ended; `watch` is called after every event."""
        self._admit()
        while self._events:
            self.now, _, happen = heapq.heappop(self._events)
            happen()
            self._admit()
            watch()

    def lose(self, name: str) -> None:
        """Kills a replica with all that it has to do."""
        machine = self.machines[name]
        machine.alive, machine.life = False, machine.life + 1
        self.router.lost(name)
        while machine.queue:
            trip, _ = machine.queue.popleft()
            trip.lost = True
            trip.running -= 1
            self._settle(trip)

    def restore(self, name: str) -> None:
        """Brings a replica back."""
        self.machines[name].alive = True
        self.router.back(name, "")

    def _admit(self) -> None:
        while self.waiting and self._has_room(self.waiting[0]):
            trip = self.waiting.popleft()
            self.fresh.discard(trip.key)
            self.exhausted = self.exhausted if self.fresh or self.exhausted else self.now
            self.under_way.add(trip.key)
            self.router.start(trip.key, trip.nbytes)
            places = self.router.route(trip.key, self._left_roles(trip), trip.holders)
            assert places is not None, "a batch was begun that nobody can bring to its end"
            self.routed.append((set(places.values()), {n for n, machine in self.machines.items() if not machine.alive}))
            trip.legs, trip.lost = self.itinerary.legs(places), False
            self._go_on(trip)
            self._settle(trip)

    def _has_room(self, trip: Trip) -> bool:
        return self.router.has_room(self._left_roles(trip), trip.nbytes)

    def _left_roles(self, trip: Trip) -> list[str]:
        return [role for role in self.itinerary.roles if role not in trip.turns]

    def _go_on(self, trip: Trip) -> None:
        """Orders the legs of a batch that can begin now."""
        for leg in [leg for leg in trip.legs if trip.turns.issuperset(self.itinerary.before(leg))]:
            trip.legs.remove(leg)
            machine = self.machines[leg.seat]
            if machine.alive:
                trip.running += 1
                machine.queue.append((trip, leg))
                if len(machine.queue) == 1:
                    self._work(leg.seat)
            else:
                trip.lost = True

    def _work(self, name: str) -> None:
        machine = self.machines[name]
        if machine.queue:
            trip, leg = machine.queue[0]
            took, life = sum(self.seconds(name, role) for role in leg.roles), machine.life
            began = self.now
            self.at(self.now + took, lambda: self._done(name, life, began))

    def _done(self, name: str, life: int, began: float) -> None:
        machine = self.machines[name]
        if machine.life != life:
            return
        trip, leg = machine.queue.popleft()
        machine.work.append((began, self.now))
        if trip.turns.isdisjoint(self.itinerary.plan.thinkers):
            self.router.claim(trip.key, self.real_size(trip.nbytes))
        trip.turns |= set(leg.roles)
        trip.holders.add(name)
        self.router.took(trip.key, leg.roles, self.now - began)
        self._work(name)
        trip.running -= 1
        if not trip.lost:
            self._go_on(trip)
        self._settle(trip)

    def _settle(self, trip: Trip) -> None:
        """A batch of which nothing is in work any more has ended, or is asked again."""
        if trip.running:
            return
        self.router.end(trip.key)
        self.under_way.discard(trip.key)
        if trip.lost:
            self.waiting.appendleft(trip)
        else:
            assert not trip.legs, "a batch stands still"
            self.ended.append(trip.key)
