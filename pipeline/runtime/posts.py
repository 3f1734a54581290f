"""The replicas as the driver sees them: orders go out, reports come back, and whoever is lost is waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, ObjectLostError, RayError, RayTaskError

from pipeline.agents.actor import Briefing, ReplicaStatus, UnbriefedError
from pipeline.config import Carrier
from pipeline.records import LegOrder, LegReport
from pipeline.runtime.crew import LOADING_SECONDS, Crew, Member, Say
from pipeline.runtime.gate import Gate
from pipeline.runtime.legs import Leg
from pipeline.runtime.router import Router

Locate = Callable[[Mapping[str, Member]], None]
"""Told of all replicas when one of them is elsewhere."""
TRIES = 3
"""How often a replica that comes back without being able to load is started again."""
TOLD_EVERY = 60
"""Seconds between words on a replica that is being waited for."""
RETRY_SECONDS = 0.5
"""Between two questions to a replica whether it is back."""
NODE_SECONDS = 60
"""How long Ray may take to notice that a node is dead; some 20 s where its machine still answers."""


class LostError(Exception):
    """A leg was not done: something died."""

    def __init__(self, reason: str, *, blamed: bool, memory: bool) -> None:
        """Says what was lost.

        Args:
            reason: In one line.
            blamed: Whether it may have died of this very leg.
            memory: Whether memory of earlier turns was lost with it.
        """
        super().__init__(reason)
        self.reason, self.blamed, self.memory = reason, blamed, memory


class BrokenCrewError(Exception):
    """Too few replicas are left to go on."""


class Posts:
    """All replicas of a run."""

    def __init__(
        self, crew: Crew, router: Router, carrier: Carrier, briefing: Briefing, say: Say, locate: Locate
    ) -> None:
        self._briefing, self._locate = briefing, locate
        self._members, self._router, self._carrier, self._say = dict(crew.members), router, carrier, say
        self._queues: dict[str, list[str]] = {name: [] for name in crew.members}
        self._gates: dict[str, Gate] = {name: Gate() for name in crew.members}
        self._recoveries: dict[str, asyncio.Task[None]] = {}
        self._suspects: dict[str, tuple[str, ...]] = {}  # what each replica that is not back yet had when it died
        self._missing: dict[str, str] = {}  # replicas that don't come back, with the reason
        self._changed = asyncio.Event()
        self.accepts = tuple({member.status.fingerprint for member in crew.members.values()})
        """Fingerprints of the run's models."""
        self.load_seconds = {name: member.status.load_seconds for name, member in crew.members.items()}
        """How long each replica took to load."""

    @property
    def members(self) -> Mapping[str, Member]:
        """The replicas that are not gone for good, by name."""
        return {name: member for name, member in self._members.items() if name not in self._missing}

    async def take(
        self, leg: Leg, order: LegOrder, parcels: Sequence[Any], *, alone: bool = False
    ) -> tuple[LegReport, dict[str, Any]]:
        """Has a leg played.

        Args:
            leg: Where.
            order: What.
            parcels: References of `order.parcels`.
            alone: Whether the replica may work on nothing else meanwhile, so that it is known what it dies of.

        Returns:
            The report, and references of the parcels of `order.send`.

        Raises:
            LostError: Something died.
        """
        if leg.seat in self._missing:  # gone since the batch was routed
            raise LostError(f"replica {leg.seat} is gone", blamed=False, memory=False)
        async with self._gates[leg.seat].passed(alone=alone):
            report, sent = await self._send(leg, order, parcels)
        for notice in report.notices:
            self._say(f"replica {leg.seat}: {notice}")
        return report, sent

    async def _send(self, leg: Leg, order: LegOrder, parcels: Sequence[Any]) -> tuple[LegReport, dict[str, Any]]:
        queue, actor, run = self._queues[leg.seat], self._members[leg.seat].actor, self._briefing.key
        queue.append(order.key)
        try:
            if self._carrier.direct:
                report = await actor.take_leg.remote(run, order, [], *parcels)
                handed = actor.hand_out.options(tensor_transport=self._carrier.name)
                return report, {role: handed.remote(f"{order.key}/{role}") for role in order.send}
            call = actor.take_leg.options(num_returns=1 + len(order.send))
            first, *sent = refs if isinstance(refs := call.remote(run, order, list(parcels)), list) else [refs]
            return await first, dict(zip(order.send, sent, strict=True))
        except RayError as error:
            lost = self._lost(leg.seat, order.key, error)
        finally:
            queue.remove(order.key)
        if lost.blamed and leg.seat in self._recoveries:
            lost.blamed = await self._died_of_work(leg.seat)
        raise lost from None  # Ray's own error would hold on to the order and its parcels

    def prefetch(self, seat: str, maker: str, parcel: Any) -> None:
        """Brings a parcel to the node of a replica that will need it later."""
        if seat not in self._missing and maker not in self._missing:
            near = self._members[seat].status.node == self._members[maker].status.node
            if not (near or self._carrier.direct or self._carrier.inputs):
                self._members[seat].actor.prefetch.remote(parcel)

    async def change(self) -> None:
        """Waits until a replica is back.

        Raises:
            BrokenCrewError: No replica is left of a model that some role needs.
        """
        await self._changed.wait()
        self._changed.clear()
        models = {name: member.seat.model for name, member in self._members.items()}
        for model in set(models.values()) - {models[name] for name in self.members}:
            reason = next(why for name, why in self._missing.items() if models[name] == model)
            raise BrokenCrewError(f"no replica of {model} is left: {reason}")

    async def close(self) -> None:
        """Stops waiting for replicas that are not back."""
        for task in self._recoveries.values():
            task.cancel()
        await asyncio.gather(*self._recoveries.values(), return_exceptions=True)

    def _lost(self, seat: str, key: str, error: RayError) -> LostError:
        """Finds out what died, and waits for it in the background."""
        if isinstance(error, ObjectLostError):
            self._say(f"memory of earlier turns was lost with its node; what needs it is asked anew ({_line(error)})")
            return LostError(f"memory was lost: {_line(error)}", blamed=False, memory=True)
        unbriefed = isinstance(error, UnbriefedError)  # it died while it had nothing to do, and came back unseen
        if isinstance(error, RayTaskError) and not unbriefed:  # a fault of ours on the replica, which lives
            return LostError(_line(error), blamed=True, memory=False)
        if self._carrier.direct:
            raise BrokenCrewError(
                f"replica {seat} died, and --transport {self._carrier.name} does not survive that: {_line(error)}"
            ) from error
        if seat not in self._recoveries:
            # It works on several orders side by side, so it died of one of them, if of any; each is asked again alone.
            self._suspects[seat] = () if unbriefed else tuple(self._queues[seat])
            self._router.lost(seat)
            self._say(f"replica {seat} died; what it worked on is asked again ({_line(error)})")
            self._recoveries[seat] = asyncio.create_task(self._recover(seat))
        return LostError(f"replica {seat} died", blamed=key in self._suspects[seat], memory=False)

    async def _died_of_work(self, seat: str) -> bool:
        """Whether a replica may have died of what it worked on: not with its node, and not if it lives after all."""
        before, recovery = self._members[seat].status, self._recoveries[seat]
        end = time.monotonic() + NODE_SECONDS
        while _node_alive(before.node) and time.monotonic() < end:
            await asyncio.wait({recovery}, timeout=RETRY_SECONDS)
            if recovery.done():
                died = seat in self._missing or self._members[seat].status.pid != before.pid
                return died and _node_alive(before.node)
        return _node_alive(before.node)

    async def _recover(self, seat: str) -> None:
        """Waits until a replica has been started again, and briefs it."""
        began, member, tries = time.monotonic(), self._members[seat], 0
        while time.monotonic() - began < LOADING_SECONDS:
            try:
                status = await self._briefed(seat, member.actor)
            except ActorUnavailableError:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            except RayError as error:
                return self._gone(seat, _line(error))
            same = status.fingerprint == member.status.fingerprint
            if not status.failure and same:
                self._members[seat] = replace(member, status=status)
                del self._recoveries[seat]
                self._router.back(seat, status.node)
                self._locate(self.members)
                self._say(f"replica {seat} is back after {time.monotonic() - began:.0f} s")
                return self._changed.set()
            reason, tries = status.failure or "its model is not the one that it was", tries + 1
            if tries == TRIES:
                return self._gone(seat, reason)
            ray.kill(member.actor, no_restart=False)  # what its predecessor held may not have been free yet
        return self._gone(seat, f"it did not come back within {LOADING_SECONDS} s")

    async def _briefed(self, seat: str, actor: Any) -> ReplicaStatus:
        """A replica's status, once it is ready for the run; says from time to time that it is being waited for."""
        answer = asyncio.ensure_future(_awaited(actor.brief.remote(self._briefing)))
        while not answer.done():
            await asyncio.wait({answer}, timeout=TOLD_EVERY)
            if not answer.done():
                self._say(f"replica {seat} is not back yet")
        return answer.result()

    def _gone(self, seat: str, reason: str) -> None:
        self._say(f"replica {seat} is gone for good: {reason}")
        self._missing[seat] = reason
        self._locate(self.members)
        self._changed.set()


async def _awaited(ref: Any) -> ReplicaStatus:
    status: ReplicaStatus = await ref
    return status


def _node_alive(node_id: str) -> bool:
    return any(node["Alive"] for node in ray.nodes() if node["NodeID"] == node_id)


def _line(error: Exception) -> str:
    """The line of Ray's words that tells the most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if isinstance(error, RayTaskError) else lines[0])[:200] if lines else type(error).__name__
