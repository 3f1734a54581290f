"""Questions to replicas and rows back, as a stream.

    questions -> Ray Data set -> batches -> driver (a thread of its own) -> rows -> whoever reads the stream

Ray Data holds the questions and cuts them into batches, which the driver pulls as the router has room for them. It does
not hand them to replicas itself: its actor pool knows neither which replica holds memory, nor which question killed it,
and takes some 30 ms a block where the driver takes a fraction of a millisecond a turn.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from queue import SimpleQueue

from pipeline.agents.actor import Briefing
from pipeline.config import CARRIERS
from pipeline.records import Answer, Assignment, Prediction, Whereabouts
from pipeline.runtime.crew import Crew, Member, Say, cluster_capacity
from pipeline.runtime.crews import Crews
from pipeline.runtime.dataset import Batches, batches_of, import_ahead
from pipeline.runtime.driver import Driver
from pipeline.runtime.flow import Flow
from pipeline.runtime.grading import Scoring
from pipeline.runtime.legs import Itinerary
from pipeline.runtime.placement import split_roles
from pipeline.runtime.posts import Posts
from pipeline.runtime.router import Post, Router
from pipeline.runtime.sizes import Sizes

STOPPING_SECONDS = 60
"""How long the driver may take to leave what it is in the middle of; it must not outlive the connection to Ray."""


@dataclass(frozen=True, kw_only=True)
class StreamedBatch:
    """What comes out of the stream at once."""

    predictions: list[Prediction]
    """Finished rows."""
    notices: tuple[str, ...] = ()
    """What users should know: of the models, and of what was lost and asked again."""
    replicas: tuple[Whereabouts, ...] = ()
    """Where all replicas are, if that has changed."""
    driver_seconds: float = 0.0
    """CPU time that the driver's thread has used so far."""
    bytes_under_way: int = 0
    """What the batches under way have a claim to in the object store."""


def stream_predictions(
    assignments: Sequence[Assignment],
    briefing: Briefing,
    crews: Crews,
    *,
    attempt: int,
    say: Say,
    rescue: Callable[[list[Prediction]], None] = lambda _: None,
    meanwhile: Callable[[], None] = lambda: None,
) -> Generator[StreamedBatch, None, None]:
    """Asks all questions and yields their rows as batches finish, in no particular order.

    Args:
        assignments: What to ask; at least one.
        briefing: The run's settings, and who works together.
        crews: Where the replicas come from, and stay when all has gone well.
        attempt: Recorded with every row.
        say: Told what is being waited for, and the plan.
        rescue: Gets finished rows that were not read before the stream was left.
        meanwhile: Done once, while the replicas load; what it raises ends the stream.

    Raises:
        ValueError: The cluster does not answer or can't hold the replicas, a model can't be loaded, or a memory is
            larger than the store.
        BrokenCrewError: Everybody who could go on has died.
    """

    def prepare() -> None:
        meanwhile()
        import_ahead()

    with crews.at_work(briefing, say, prepare) as crew:
        run = Run(crew, crew.briefing or briefing, attempt=attempt, say=say)
        yield StreamedBatch(predictions=[], notices=crew.notices)
        with run.started(batches_of(assignments, run.flow.batch), rescue) as stream:
            yield from stream


class Run:
    """One run on a crew: driver, router and scoring, in a thread of their own.

    Attributes:
        flow: How questions come to the replicas.
    """

    def __init__(self, crew: Crew, briefing: Briefing, *, attempt: int, say: Say) -> None:
        config, plan = briefing.config, briefing.plan
        self._crew, self._briefing, self._config, self._say = crew, briefing, config, say
        self._outbox: SimpleQueue[StreamedBatch | BaseException | None] = SimpleQueue()
        self._seconds: dict[str, float] = {}
        team, execution = config.collaboration, config.execution
        self._itinerary = Itinerary(
            plan=plan, carrier=CARRIERS[execution.transport], hands_over=team.memory != "none" and bool(plan.thinkers)
        )
        self._models = {role: config.model.of_role(role) for role in self._itinerary.roles}
        carrier = self._itinerary.carrier
        stored = not (carrier.inputs or carrier.direct)
        travels = execution.placement == "spread" and self._itinerary.hands_over and stored
        steps = max(plan.thinkers.values(), default=0)
        self._sizes = Sizes(crew.store_bytes(), senders=self._itinerary.senders(), travels=travels, latent_steps=steps)
        members = crew.members.items()
        posts = {
            name: Post(roles=frozenset(m.seat.roles), model=m.seat.model, node=m.status.node) for name, m in members
        }
        self._at_once = execution.batch_size or crew.at_once
        self.flow = Flow(at_once=self._at_once, serial=carrier.direct)
        self._router = Router(posts, self._models, budget=self._sizes.budget, depth=self.flow.depth)
        half = int(cluster_capacity().cpus / 2)  # of the CPUs; the other one is the replicas'
        self._scoring = Scoring(
            config.scoring, at_once=max(half, 1), attempt=attempt, say=self._tell, hand_on=self._hand_on
        )

    @contextmanager
    def started(
        self, batches: Batches, rescue: Callable[[list[Prediction]], None]
    ) -> Iterator[Iterator[StreamedBatch]]:
        """Runs the driver while the block reads what comes out.

        Args:
            batches: The questions.
            rescue: Gets rows that nobody has read when the block ends early.
        """
        loop = asyncio.new_event_loop()
        task = loop.create_task(self._drive(batches))
        thread = threading.Thread(target=self._work, args=(loop, task), name="driver", daemon=True)
        thread.start()
        try:
            yield self._events()
        finally:
            loop.call_soon_threadsafe(task.cancel)
            thread.join(timeout=STOPPING_SECONDS)
            while not self._outbox.empty():
                event = self._outbox.get()
                if isinstance(event, StreamedBatch) and event.predictions:
                    rescue(event.predictions)

    def _work(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
        try:
            loop.run_until_complete(task)
            self._outbox.put(None)
        except BaseException as error:  # whatever it is, it is for the thread that reads the stream
            self._outbox.put(error)

    def _events(self) -> Iterator[StreamedBatch]:
        while (event := self._outbox.get()) is not None:
            if isinstance(event, BaseException):
                raise event
            yield event

    async def _drive(self, batches: Batches) -> None:
        posts = Posts(self._crew, self._router, self._itinerary.carrier, self._briefing, self._tell, self._locate)
        driver = Driver(posts, self._router, self._itinerary, self._sizes, self._config, self._finish)
        try:
            if self._crew.automatic:
                await self._profile(driver, batches)
            self._say(self.describe())
            self._locate(posts.members)
            await driver.run(batches)
        finally:
            await posts.close()
            batches.close()  # else Ray Data ends when it is collected: after the cluster is left it would start another

    async def _profile(self, driver: Driver, batches: Iterator[tuple[Assignment, ...]]) -> None:
        """Has two batches answered on one replica, and splits the replicas by the time that each role took.

        What counts is the second batch: in the first one everything is done for the first time.
        """
        roles, names = self._itinerary.roles, list(self._crew.members)
        self._router.recast(dict.fromkeys(names, roles))
        self._say("plan: the first questions are answered on one replica, to see how long each role takes")
        await driver.run(islice(batches, 1))
        first, self._seconds = self._seconds, {}
        await driver.run(islice(batches, 1))
        measured = self._seconds or first or dict.fromkeys(roles, 1.0)  # alike, where all of them failed
        seconds = {role: measured.get(role, 0.0) for role in roles}
        split = split_roles(roles, len(names), seconds, self._models)
        self._router.recast(dict(zip(names, split, strict=True)))
        told = ", ".join(f"{role} {took:.2f} s" for role, took in seconds.items())
        self._say(f"plan: replicas are split by {told} for {self.flow.batch} questions")

    async def _finish(self, assignments: Sequence[Assignment], answers: Sequence[Answer]) -> None:
        for turn in (turn for answer in answers for turn in answer.turns):
            self._seconds[turn.role] = self._seconds.get(turn.role, 0.0) + turn.seconds
        await self._scoring.finish(assignments, answers)

    def _hand_on(self, rows: list[Prediction]) -> None:
        used, claimed = time.thread_time(), self._router.bytes_under_way
        self._outbox.put(StreamedBatch(predictions=rows, driver_seconds=used, bytes_under_way=claimed))

    def _tell(self, notice: str) -> None:
        self._outbox.put(StreamedBatch(predictions=[], notices=(notice,)))

    def _locate(self, members: Mapping[str, Member]) -> None:
        """Tells where the replicas are."""
        places = tuple(
            Whereabouts(
                name=name,
                roles=self._plays(name),
                node=member.status.node,
                pid=member.status.pid,
                model=member.seat.model,
                fingerprint=member.status.fingerprint,
                at_once=self._at_once,
                foretold_bytes=member.status.foretold_bytes,
            )
            for name, member in members.items()
        )
        self._outbox.put(StreamedBatch(predictions=[], replicas=places))

    def _plays(self, name: str) -> tuple[str, ...]:
        return tuple(role for role in self._itinerary.roles if role in self._router.posts[name].roles)

    def describe(self) -> str:
        """The plan in words: which replica plays what, where, and how memory travels."""
        execution, roles = self._config.execution, self._itinerary.roles
        why = "" if execution.batch_size else " (as many as there is memory for, or as there are)"
        each = f"each on {self._at_once} questions at once{why}"
        lines = [f"plan: {execution.placement}, {len(self._crew.members)} replicas, {each}"]
        if self._sizes.budget and execution.placement == "spread":
            lines[0] += f", memory by {execution.transport}, at most {self._sizes.budget / 1e6:.0f} MB under way a node"
        for name, member in self._crew.members.items():
            plays = self._plays(name)
            who = "all roles" if plays == roles else ", ".join(plays)
            lines.append(f"  {name}: {who} (node {member.status.node[:8]}, process {member.status.pid})")
        return "\n".join(lines)
