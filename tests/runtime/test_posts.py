"""Posts: replicas that die for good, with actors that only pretend."""

import asyncio
from types import SimpleNamespace

import pytest
from ray.exceptions import RayActorError

from pipeline.agents.actor import Briefing, ReplicaStatus
from pipeline.config import CARRIERS, RunConfig
from pipeline.graphs import plan_for
from pipeline.records import LegOrder
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


def posts_of(monkeypatch, **models):
    """Replicas by name, with their checkpoints; all of them are dead."""
    monkeypatch.setattr("ray.nodes", lambda: [])
    members = {
        name: Member(seat=Seat(name=name, roles=("solver",), model=model), actor=Dead(), status=ReplicaStatus(node="n"))
        for name, model in models.items()
    }
    router = Router({n: Post(roles=frozenset({"solver"}), model=m) for n, m in models.items()}, models, budget=1)
    crew = Crew(members=members, resources=Resources(gpus=0, cpus=1, threads=1))
    briefing = Briefing(config=RunConfig(), plan=plan_for(RunConfig().collaboration))
    return Posts(crew, router, CARRIERS["object_store"], briefing, lambda _: None, lambda _: None)


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
