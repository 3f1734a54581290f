"""How questions become answers on many replicas. Read this first.

    batches of questions -> router -> legs on replicas (turns of agents) -> answers -> scoring -> rows

The driver holds references to working memory, never its bytes. The unit of retry is a batch, or the legs of it that
are missing: what dies with a replica, a node or an object is asked again, and because nothing in an answer depends on
where or when it was computed, the answers are those of an undisturbed run.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from itertools import islice
from typing import Any

from pipeline.config import RunConfig
from pipeline.records import Answer, Assignment, LegOrder, LegReport
from pipeline.runtime.batches import Batch, after_crash, after_loss
from pipeline.runtime.legs import Itinerary, Leg
from pipeline.runtime.posts import BrokenCrewError, LostError, Posts
from pipeline.runtime.router import Router
from pipeline.runtime.sizes import Sizes

Finish = Callable[[Sequence[Assignment], Sequence[Answer]], Coroutine[Any, Any, None]]
"""Takes answers further: scores them and hands on the rows."""


class TooLargeError(Exception):
    """The memory of a batch is larger than what the object store has room for; the batch can be split."""


class Driver:
    """Answers batches of questions on the replicas of a run."""

    def __init__(
        self, posts: Posts, router: Router, itinerary: Itinerary, sizes: Sizes, config: RunConfig, finish: Finish
    ) -> None:
        self._posts, self._router, self._itinerary, self._finish = posts, router, itinerary, finish
        self._allowed, self._sizes = config.execution.max_crashes, sizes
        self._waiting: deque[Batch] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._finishing: set[asyncio.Task[None]] = set()  # those of them that have their answers
        self._stirred = asyncio.Event()  # something ended, or a batch's size became known
        self._fault: BaseException | None = None
        self.legs = 0
        """Legs that were carried out."""

    async def run(self, questions: Iterator[tuple[Assignment, ...]]) -> None:
        """Answers all batches; returns when every question has been answered or given up, and its row handed on.

        Raises:
            ValueError: The memory of one question is larger than the object store.
            BrokenCrewError: No replica is left.
        """
        batches = (Batch(assignments=batch) for batch in questions)
        change = self._watched(self._posts.change())
        try:
            while self._head(batches) or self._tasks:
                # 1. Start as many batches as there is room for.
                while (batch := self._head(batches)) and self._has_room(batch):
                    self._waiting.popleft()
                    self._spawn(self._answer(batch))
                    await asyncio.sleep(0)  # the batch enters the router's books before the next one asks for room
                # 2. Wait until something ends, a batch's size is known, or a replica is back.
                await self._stirred.wait()
                self._stirred.clear()
                if change.done():
                    change.result()
                    change = self._watched(self._posts.change())
                if self._fault:
                    break
            if self._fault:
                raise self._fault
        except (ValueError, BrokenCrewError):
            await asyncio.gather(*self._finishing, return_exceptions=True)  # what has been answered is graded and kept
            raise
        finally:
            left = (change, *self._tasks)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)  # nobody may ask the cluster for anything after this

    def _head(self, batches: Iterator[Batch]) -> Batch | None:
        """The batch whose turn it is: one asked again, else a new one; split, if the store has no room for it whole."""
        if not self._waiting:
            self._waiting.extend(islice(batches, 1))
        while self._waiting and self._sizes.too_large(self._waiting[0].living()):
            parts, failed = self._waiting.popleft().split(2)
            self._waiting.extendleft(reversed(parts + failed))
        return self._waiting[0] if self._waiting else None

    def _has_room(self, batch: Batch) -> bool:
        """Whether a batch may start now."""
        claim = self._sizes.estimate(batch.living())
        return self._router.has_room(self._left(batch), claim, batch.holders.values())

    def _left(self, batch: Batch) -> tuple[str, ...]:
        """The roles that have not taken their turn yet."""
        return tuple(role for role in self._itinerary.roles if role not in batch.turns)

    async def _answer(self, batch: Batch) -> None:
        """Brings one batch to its end: answers, or another try."""
        batch.started = batch.started or time.time()
        self._router.start(batch.key, self._sizes.estimate(batch.living()))
        again, finished = list[Batch](), [batch]
        try:
            await self._walk(batch)
        except TooLargeError:
            again, finished = batch.split(2)
        except LostError as lost:
            batch.retries += 1
            again, finished = [batch], []
            if lost.memory:
                again, finished = after_loss(batch, lost.reason)
            if lost.blamed:
                batch.crashes += 1
                again, finished = after_crash(batch, self._allowed, lost.reason)
        finally:
            self._router.end(batch.key)
        self._waiting.extendleft(reversed(again))
        for done in finished:
            answers = done.answers(self._itinerary.roles, self._posts.load_seconds)
            self._finishing.add(self._spawn(self._finish(done.assignments, answers)))

    async def _walk(self, batch: Batch) -> None:
        """Lets the roles that have not taken their turn yet take it; each leg starts when what it reads is there."""
        places = self._router.route(batch.key, self._left(batch), batch.holders.values())
        if places is None:
            raise LostError("nobody is there to answer", blamed=False, memory=False)
        legs = self._itinerary.legs(places)
        tasks: dict[Leg, asyncio.Task[None]] = {}
        for leg in legs:
            reads = set(self._itinerary.before(leg))
            before = [task for other, task in tasks.items() if reads & set(other.roles)]
            tasks[leg] = asyncio.create_task(self._take(batch, leg, legs, before))
        ends = await asyncio.gather(*tasks.values(), return_exceptions=True)
        errors = [end for end in ends if isinstance(end, BaseException)]
        try:
            # One that is to blame tells more than those that fell with it.
            for error in sorted(errors, key=lambda e: not (isinstance(e, LostError) and e.blamed)):
                raise error
        finally:  # an error that is held by a frame that it holds keeps parcels in the store until a garbage collection
            del ends, errors, tasks

    async def _take(self, batch: Batch, leg: Leg, legs: Sequence[Leg], before: Sequence[asyncio.Task[None]]) -> None:
        """Has one leg of a batch carried out, and books what came of it."""
        await asyncio.gather(*before)
        asked = batch.living()
        if not asked:
            batch.turns |= {role: {} for role in leg.roles}
            return
        names = self._itinerary.parcels(leg)
        order = LegOrder(
            key=f"{batch.key}/{leg.roles[0]}/{batch.retries}",
            roles=leg.roles,
            assignments=asked,
            earlier=batch.earlier(self._itinerary.before(leg)),
            parcels=names,
            send=self._itinerary.sent(leg, legs),
            limit=self._sizes.limit(len(asked)),
            accepts=self._posts.accepts,
        )
        report, parcels = await self._posts.take(
            leg, order, [batch.parcels[name] for name in names], alone=batch.crashes > 0
        )
        self.legs += 1
        self._weigh(batch, order, report)
        batch.book(leg, asked, report)
        self._router.took(batch.key, leg.roles, report.seconds)
        batch.parcels |= parcels
        batch.holders |= dict.fromkeys(order.send, leg.seat)
        self._pass_on(batch, leg, legs)

    def _weigh(self, batch: Batch, order: LegOrder, report: LegReport) -> None:
        """Learns from the sizes of what a leg sends."""
        if not report.parcel_bytes:
            return
        largest = max(report.parcel_bytes)
        failed = dict(report.failed)
        self._sizes.learn([one for one in order.assignments if one.question.id not in failed], largest)
        self._router.claim(batch.key, self._sizes.estimate(order.assignments))
        self._stirred.set()
        if largest > order.limit:
            if len(order.assignments) == 1:
                one = order.assignments[0].question.id
                raise ValueError(f"working memory of question {one!r} {self._sizes.explain(largest)}")
            raise TooLargeError

    def _pass_on(self, batch: Batch, leg: Leg, legs: Sequence[Leg]) -> None:
        """Sends memory ahead to replicas that will need it later, and drops what nobody needs any more."""
        left = [other for other in legs if any(role not in batch.turns for role in other.roles)]
        wanted = {role for other in left for role in self._itinerary.parcels(other)}
        for other in left:
            for role in set(self._itinerary.parcels(other)) & set(leg.roles) & batch.parcels.keys():
                self._posts.prefetch(other.seat, leg.seat, batch.parcels[role])
        for role in batch.parcels.keys() - wanted:
            del batch.parcels[role]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._watched(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _watched(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task whose end wakes the driver. Waiting for all of them at once costs as much each time as there are."""
        task = asyncio.create_task(work)
        task.add_done_callback(lambda _: self._stirred.set())
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._finishing.discard(task)
        if not task.cancelled():
            self._fault = self._fault or task.exception()
