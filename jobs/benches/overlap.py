"""Whether memory that travels between nodes comes while its reader works on something else.

Timed stand-ins play one role each, neighbours on different nodes, under the real driver, router and posts: once as in
any spread run, and once, as a control, with nobody told to fetch ahead, so that a transfer begins with the order.

The last role takes longest, as it does with models. So it always has another batch to work on, and if it waits for the
memory of the next one that is time lost. The others have nothing else to do at times, and wait for a whole transfer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from statistics import fmean, median
from types import SimpleNamespace
from typing import Any

import ray

from jobs.benches.cases import the_plan
from jobs.benches.stand import questions
from pipeline.agents.actor import Briefing
from pipeline.config import RunConfig
from pipeline.runtime.crew import Crew, Member, Say, started_crew
from pipeline.runtime.dataset import batches_of
from pipeline.runtime.placement import Seat
from pipeline.runtime.sharding import Run
from pipeline.runtime.standin import Coming, Stage, StandIn

BATCH_SIZE = 4
THINKING = 0.6
"""Of the last role's time, what each of the others takes."""
FILLING = 4
"""Batches that began before the last role had anything to do: while a run fills, readers do nothing but wait."""


class Untold:
    """A replica that nobody tells to fetch ahead."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self.prefetch = SimpleNamespace(remote=lambda _: None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._actor, name)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One run of stand-ins."""

    comings: tuple[Coming, ...]
    """How each batch's memory came to the last role."""
    seconds: float
    """From the first batch's end to the last one's."""

    @property
    def transfer(self) -> float:
        """Seconds that the memory of a batch takes to come, on average, once the run has filled."""
        return fmean(coming.seconds for coming in self.comings[FILLING:])

    @property
    def wait(self) -> float:
        """Seconds of that in which its reader has nothing else to do."""
        return fmean(coming.idle for coming in self.comings[FILLING:])

    @property
    def rate(self) -> float:
        """Batches a second."""
        return (len(self.comings) - 1) / self.seconds


def compared(ahead: Sequence[Outcome], asked: Sequence[Outcome], turn_seconds: float) -> dict[str, Any]:
    """What fetching ahead is worth.

    Args:
        ahead: Runs in which memory is sent ahead.
        asked: Runs, each right after one of those, in which it is fetched by its reader.
        turn_seconds: How long the last role's turns take.
    """
    pairs = list(zip(ahead, asked, strict=True))
    return {
        "transfer_ms": 1e3 * median(run.transfer for run in asked),
        "wait_ms": 1e3 * median(run.wait for run in ahead),
        "wait_pct": 100 * median(a.wait / b.transfer for a, b in pairs),
        "control_wait_pct": 100 * median(run.wait / run.transfer for run in asked),
        "efficiency_pct": 100 * turn_seconds * median(run.rate for run in ahead),
        "control_efficiency_pct": 100 * turn_seconds * median(run.rate for run in asked),
    }


class Apart:
    """Stand-ins with a role each, neighbours on different nodes."""

    def __init__(self, crew: Crew, say: Say) -> None:
        self._crew, self._say = crew, say

    @classmethod
    @contextmanager
    def started(cls, say: Say) -> Iterator[Apart]:
        """Starts stand-ins and ends them with the block."""
        roles = [role.name for role in the_plan().graph.roles]
        seats = [Seat(name=f"r{index}", roles=(role,), model="stand-in") for index, role in enumerate(roles)]
        with started_crew(seats, _config(len(roles)), say, StandIn) as loaded:
            crew = loaded()
            members = dict(zip(crew.members, alternating(list(crew.members.values())), strict=True))
            seated = {seat.name: replace(members[seat.name], seat=seat) for seat in seats}
            yield cls(replace(crew, members=seated), say)

    def measure(self, megabytes: float, turn_seconds: float, batches: int, repeats: int) -> dict[str, Any]:
        """Runs batches with and without fetching ahead, in turn."""
        share = int(megabytes * 1e6 / BATCH_SIZE)
        senders = the_plan().thinkers
        roles = [member.seat.roles[0] for member in self._crew.members.values()]
        stages = {role: Stage(seconds=THINKING * turn_seconds, parcel_bytes=share) for role in senders}
        stages |= {role: Stage(seconds=turn_seconds) for role in roles if role not in senders}
        untold = {name: replace(one, actor=Untold(one.actor)) for name, one in self._crew.members.items()}
        self._run(self._crew, stages, 2)  # the first parcels find a cold store
        ahead, asked = list[Outcome](), list[Outcome]()
        for _ in range(repeats):
            ahead.append(self._run(self._crew, stages, batches))
            asked.append(self._run(replace(self._crew, members=untold), stages, batches))
            waited, came = 1e3 * ahead[-1].wait, 1e3 * asked[-1].transfer
            self._say(f"overlap: waited {waited:.1f} ms a batch for what takes {came:.1f} ms to come")
        told = {"megabytes": megabytes, "turn_seconds": turn_seconds, "nodes": len(self._homes())}
        return {**told, **compared(ahead, asked, turn_seconds)}

    def _homes(self) -> set[str]:
        return {member.status.node for member in self._crew.members.values()}

    def _run(self, crew: Crew, stages: Mapping[str, Stage], batches: int) -> Outcome:
        actors = [member.actor for member in crew.members.values()]
        ray.get([actor.rehearse.remote(stages) for actor in actors])
        run = Run(crew, Briefing(config=_config(len(actors)), plan=the_plan()), attempt=1, say=lambda _: None)
        ends = list[float]()
        with run.started(batches_of(questions(batches * BATCH_SIZE), BATCH_SIZE), lambda _: None) as stream:
            ends += [event.predictions[0].finished for event in stream if event.predictions]
        return Outcome(comings=tuple(ray.get(actors[-1].comings.remote())), seconds=max(ends) - min(ends))


def alternating(members: Sequence[Member]) -> list[Member]:
    """Members in an order in which neighbours are on different nodes, as far as that goes."""
    homes: dict[str, list[Member]] = {}
    for member in members:
        homes.setdefault(member.status.node, []).append(member)
    return [member for round_ in zip_longest(*homes.values()) for member in chain(round_) if member is not None]


def _config(count: int) -> RunConfig:
    return RunConfig.from_flat({"placement": "spread", "replicas": count, "batch_size": BATCH_SIZE})
