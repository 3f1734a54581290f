"""Whether memory that travels between nodes comes while its reader works on something else.

Timed stand-ins play one role each, neighbours on different nodes, under the real driver, router and posts: once as in
any spread run, and once, as a control, with nobody told to fetch ahead, so that a reader waits for the whole transfer.

The last role takes longest, as it does with models. So it always has the next batch waiting, and what it waits for that
batch's memory is time lost. The others have nothing else to do at times, and then they wait for a whole transfer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from pipeline.records import Prediction
from pipeline.runtime.crew import Crew, Member, Say, started_crew
from pipeline.runtime.dataset import batches_of
from pipeline.runtime.placement import Seat
from pipeline.runtime.sharding import Run
from pipeline.runtime.standin import Stage, StandIn

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

    waits: tuple[float, ...]
    """Seconds that the last role waited for the memory of each batch, in the order in which the batches began."""
    all_waits: tuple[float, ...]
    """The same of all roles together."""
    seconds: float
    """From the first batch's end to the last one's."""

    @property
    def wait(self) -> float:
        """Seconds that the last role waits for the memory of a batch, on average, once the run has filled."""
        return fmean(self.waits[FILLING:])

    @property
    def all_wait(self) -> float:
        """The same of all roles together."""
        return fmean(self.all_waits[FILLING:])

    @property
    def rate(self) -> float:
        """Batches a second."""
        return (len(self.waits) - 1) / self.seconds


def outcome_of(batches: Sequence[Sequence[Prediction]]) -> Outcome:
    """What a run's rows tell, by batch."""
    ordered = sorted(batches, key=lambda rows: rows[0].started)
    ends = [rows[0].finished for rows in batches]
    return Outcome(
        waits=tuple(sum(row.turns[-1].handover_seconds for row in rows) for rows in ordered),
        all_waits=tuple(sum(row.handover_seconds for row in rows) for rows in ordered),
        seconds=max(ends) - min(ends),
    )


def compared(ahead: Sequence[Outcome], asked: Sequence[Outcome], turn_seconds: float) -> dict[str, Any]:
    """What fetching ahead is worth.

    Args:
        ahead: Runs in which memory is sent ahead.
        asked: Runs, each right after one of those, in which it is fetched by its reader.
        turn_seconds: How long the last role's turns take.
    """
    pairs = list(zip(ahead, asked, strict=True))
    return {
        "wait_ms": 1e3 * median(run.wait for run in ahead),
        "transfer_ms": 1e3 * median(run.wait for run in asked),
        "wait_pct": 100 * median(a.wait / b.wait for a, b in pairs),
        "all_wait_pct": 100 * median(a.all_wait / b.all_wait for a, b in pairs),
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
        ray.get([member.actor.rehearse.remote(stages) for member in self._crew.members.values()])
        untold = {name: replace(one, actor=Untold(one.actor)) for name, one in self._crew.members.items()}
        self._run(self._crew, 2)  # the first parcels find a cold store
        ahead, asked = list[Outcome](), list[Outcome]()
        for _ in range(repeats):
            ahead.append(self._run(self._crew, batches))
            asked.append(self._run(replace(self._crew, members=untold), batches))
            waits = f"{1e3 * ahead[-1].wait:.1f} ms a batch, and {1e3 * asked[-1].wait:.1f} ms without fetching ahead"
            self._say(f"overlap: waited {waits}")
        told = {"megabytes": megabytes, "turn_seconds": turn_seconds, "nodes": len(self._homes())}
        return {**told, **compared(ahead, asked, turn_seconds)}

    def _homes(self) -> set[str]:
        return {member.status.node for member in self._crew.members.values()}

    def _run(self, crew: Crew, batches: int) -> Outcome:
        briefing = Briefing(config=_config(len(crew.members)), plan=the_plan())
        run = Run(crew, briefing, attempt=1, say=lambda _: None)
        done = list[list[Prediction]]()
        with run.started(batches_of(questions(batches * BATCH_SIZE), BATCH_SIZE), lambda _: None) as stream:
            done += [event.predictions for event in stream if event.predictions]
        return outcome_of(done)


def alternating(members: Sequence[Member]) -> list[Member]:
    """Members in an order in which neighbours are on different nodes, as far as that goes."""
    homes: dict[str, list[Member]] = {}
    for member in members:
        homes.setdefault(member.status.node, []).append(member)
    return [member for round_ in zip_longest(*homes.values()) for member in chain(round_) if member is not None]


def _config(count: int) -> RunConfig:
    return RunConfig.from_flat({"placement": "spread", "replicas": count, "batch_size": BATCH_SIZE})
