"""Posts: replicas that die for good, with actors that only pretend."""

import asyncio
from types import SimpleNamespace

import pytest
from ray.exceptions import RayActorError, RayTaskError

from pipeline.agents.actor import Briefing, ReplicaStatus, UnbriefedError
from pipeline.config import CARRIERS, RunConfig
from pipeline.graphs import plan_for
from pipeline.records import LegOrder, LegReport
from pipeline.runtime.crew import Crew, Member
from pipeline.runtime.legs import Leg
from pipeline.runtime.placement import Resources, Seat
from pipeline.runtime.posts import BrokenCrewError, LostError, Posts
from pipeline.runtime.router import Post, Router

ORDER = LegOrder(key="o", roles=("solver",), assignments=(), earlier=(), parcels=(), send=(), limit=1, accepts=())


class Dead:
    """An actor that is gone for good."""

    def __init__(self):
        self.take_leg = self.brief = self.prefetch = self

    def options(self, **_):
        return self

    async def remote(self, *_):
        raise RayActorError


class Forgetful:
    """An actor that has died unseen and is back, with all that it was told forgotten."""

    def __init__(self):
        self.briefings, self.take_leg, self.brief = [], Call(self._take), Call(self._brief)

    async def _take(self, briefing, order, parcels):
        if briefing not in self.briefings:
            raise RayTaskError("take_leg", "trace", UnbriefedError("knows nothing")).as_instanceof_cause()
        return LegReport(turns=(), failed=(), parcel_bytes=())

    async def _brief(self, briefing):
        self.briefings.append(briefing.key)
        return ReplicaStatus(node="n", pid=2)


class Call:
    """A method of an actor."""

    def __init__(self, method):
        self.remote = method

    def options(self, **_):
        return self


def posts_of(monkeypatch, actor=Dead, say=lambda _: None, **models):
    """Replicas by name, with their checkpoints; all of them are dead, or the actors that are given."""
    monkeypatch.setattr("ray.nodes", lambda: [])
    members = {
        name: Member(
            seat=Seat(name=name, roles=("solver",), model=model), actor=actor(), status=ReplicaStatus(node="n")
        )
        for name, model in models.items()
    }
    router = Router({n: Post(roles=frozenset({"solver"}), model=m) for n, m in models.items()}, models, budget=1)
    crew = Crew(members=members, resources=Resources(gpus=0, cpus=1, threads=1))
    briefing = Briefing(config=RunConfig(), plan=plan_for(RunConfig().collaboration))
    return Posts(crew, router, CARRIERS["object_store"], briefing, say, lambda _: None)


async def lose(posts, seat):
    with pytest.raises(LostError) as caught:
        await posts.take(Leg(seat=seat, roles=("solver",)), ORDER, [])
    for _ in range(10):
        await asyncio.sleep(0)
    return caught.value


def test_an_order_to_a_replica_that_is_gone_for_good_is_lost_and_nobodys_fault(monkeypatch):
    async def work():
        posts = posts_of(monkeypatch, r0="m", r1="m")
        await lose(posts, "r0")
        again = await lose(posts, "r0")
        posts.prefetch("r0", "r1", SimpleNamespace())
        assert "is gone" in str(again)
        assert not again.blamed
        await asyncio.wait_for(posts.change(), timeout=5)  # and the crew is not broken

    asyncio.run(work())


@pytest.mark.parametrize("models", [{"r0": "m"}, {"r0": "large", "r1": "m"}])
def test_a_crew_without_any_replica_of_a_checkpoint_is_broken(monkeypatch, models):
    async def work():
        posts = posts_of(monkeypatch, **models)
        await lose(posts, "r0")
        with pytest.raises(BrokenCrewError, match="no replica of .* is left"):
            await asyncio.wait_for(posts.change(), timeout=5)

    asyncio.run(work())


def test_a_replica_that_came_back_unseen_is_briefed_before_it_is_asked_again_and_no_order_is_blamed(monkeypatch):
    said = []

    async def work():
        posts = posts_of(monkeypatch, actor=Forgetful, say=said.append, r0="m")
        caught = await lose(posts, "r0")
        assert (caught.blamed, caught.memory) == (False, False)
        await asyncio.wait_for(posts.change(), timeout=5)
        report, _ = await posts.take(Leg(seat="r0", roles=("solver",)), ORDER, [])
        assert report.failed == ()

    asyncio.run(work())
    assert ["died" in said[0], "is back after" in said[1]] == [True, True]


class Short:
    """An actor whose memory runs out on the way."""

    def __init__(self):
        self.take_leg = Call(self._take)

    async def _take(self, *_):
        return LegReport(turns=(), failed=(), parcel_bytes=(), notices=("memory ran out",))


def test_what_a_replica_has_noticed_is_said_with_its_name(monkeypatch):
    said = []
    posts = posts_of(monkeypatch, Short, said.append, r0="m")
    asyncio.run(posts.take(Leg(seat="r0", roles=("solver",)), ORDER, []))
    assert said == ["replica r0: memory ran out"]
