"""The driver on replicas that only pretend: whatever is lost, every question is reported once, with the same answer."""

import asyncio
import random
import weakref
from collections import Counter

import pytest

from pipeline.config import CARRIERS, RunConfig
from pipeline.graphs import plan_for
from pipeline.records import Assignment, LegReport, Question, RoleTurns, Turn, Usage
from pipeline.runtime.driver import Driver
from pipeline.runtime.legs import Itinerary
from pipeline.runtime.posts import BrokenCrewError, LostError
from pipeline.runtime.router import Post, Router
from pipeline.runtime.sizes import Sizes

APART = ("planner", "critic", "refiner", "solver")


class Parcel:
    """What a reference of the object store is here."""

    def __init__(self, role, ids):
        self.role, self.ids = role, ids


class Stage:
    """A run of the driver, in which `fault` tells what happens to a leg; it has the methods of `Posts`."""

    accepts = ()

    def __init__(
        self, fault=lambda leg, order: None, *, seats=APART, store=10**9, weight=1000, models=None, **settings
    ):
        self.config = RunConfig.from_flat({"placement": "spread", **settings})
        plan = plan_for(self.config.collaboration)
        self.itinerary = Itinerary(plan=plan, carrier=CARRIERS[self.config.execution.transport])
        roles, models = self.itinerary.roles, models or {}
        models = {role: models.get(role, "m") for role in roles}
        posts = {}
        for index, names in enumerate(seats):
            played = roles if names == "all" else (names,)
            posts[f"r{index}"] = Post(roles=frozenset(played), model=models[played[0]])
        self.sizes = Sizes(store, senders=self.itinerary.senders(), travels=True)
        self.router = Router(posts, models, budget=self.sizes.budget)
        self.load_seconds = dict.fromkeys(posts, 0.0)
        self.fault, self.weight = fault, weight
        self.taken, self.answers, self.prefetched, self.parcels = [], [], [], weakref.WeakSet()
        self.at_work, self.most, self.largest, self.asked = 0, 0, 0, Counter()
        self.changed = asyncio.Event()

    def answer(self, count, size=2):
        """Asks questions; returns the text or the reason why there is none, by question."""
        ids = [f"q{i}" for i in range(count)]
        questions = [Question(id=i, text="?", kind="number", gold="1") for i in ids]
        work = [Assignment(question=question, source=question) for question in questions]
        driver = Driver(self, self.router, self.itinerary, self.sizes, self.config, self.finish)
        batches = (tuple(work[i : i + size]) for i in range(0, count, size))
        asyncio.run(asyncio.wait_for(driver.run(batches), timeout=20))
        assert sorted(answer.question_id for answer in self.answers) == sorted(ids)
        assert self.router.under_way == sum(post.load for post in self.router.posts.values()) == 0
        return {answer.question_id: answer.error or answer.text for answer in self.answers}

    async def finish(self, assignments, answers):
        assert [one.question.id for one in assignments] == [answer.question_id for answer in answers]
        await asyncio.sleep(0)
        self.answers += answers

    async def take(self, leg, order, parcels, *, alone=False):
        assert order.parcels == self.itinerary.parcels(leg), "no memory gets lost without a word"
        ids = [one.question.id for one in order.assignments]
        assert all(set(ids) <= set(parcel.ids) for parcel in parcels)
        self.largest = max([self.largest, *(len(parcel.ids) for parcel in parcels)])
        self.asked.update(ids)
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        for _ in range(3):
            await asyncio.sleep(0)
        self.at_work -= 1
        if found := self.fault(leg, order):
            raise found
        self.taken.append((leg.seat, leg.roles))
        read = {role.role: [turn.text for turn in role.turns] for role in order.earlier}
        turns = [RoleTurns(role=role, turns=tuple(self.turn(role, ids, read, leg.seat))) for role in leg.roles]
        sent = {role: Parcel(role, ids) for role in order.send}
        self.parcels.update(sent.values())
        sizes = (self.weight * len(ids),) * len(sent)
        return LegReport(turns=tuple(turns), failed=(), parcel_bytes=sizes, seconds=0.1), sent

    def turn(self, role, ids, read, seat):
        reads = next(one.reads for one in self.itinerary.plan.graph.roles if one.name == role)
        read[role] = [f"{role}({'+'.join(read[name][row] for name in reads)})" for row in range(len(ids))]
        for text, question_id in zip(read[role], ids, strict=True):
            said = f"{question_id}: {text}" if role == "solver" else text
            yield Turn(role=role, text=said, finish="stop", usage=Usage(), seconds=0.1, replica=seat)

    def prefetch(self, seat, maker, parcel):
        self.prefetched.append((parcel.role, maker, seat))

    async def change(self):
        await self.changed.wait()
        self.changed.clear()

    def dies(self, seat, *, blamed, memory=False, back=0.002):
        self.router.lost(seat)
        if back is not None:
            asyncio.get_running_loop().call_later(back, self.restore, seat)
        return LostError("died", blamed=blamed, memory=memory)

    def restore(self, seat):
        self.router.back(seat, "")
        self.changed.set()


def undisturbed(count):
    return Stage().answer(count)


def once(error, *, role, **more):
    """A stage on which one leg with a role is lost once."""
    errors = [error]
    return Stage(lambda leg, order: errors.pop() if role in leg.roles and errors else None, **more)


def test_every_batch_goes_through_all_roles_once():
    stage = Stage()
    answers = stage.answer(10)
    assert Counter(stage.taken) == {(f"r{i}", (role,)): 5 for i, role in enumerate(APART)}
    critic = "critic(planner())"
    solver = f"solver(planner()+{critic}+refiner(planner()+{critic}))"
    assert answers == {f"q{i}": f"q{i}: {solver}" for i in range(10)}


def test_a_leg_that_was_lost_is_taken_again_and_those_before_it_are_not():
    stage = once(LostError("gone", blamed=False, memory=False), role="refiner")
    assert stage.answer(2) == undisturbed(2)
    assert [roles for _, roles in stage.taken] == [(role,) for role in APART]
    assert {answer.retries for answer in stage.answers} == {1}


def test_a_batch_whose_memory_was_lost_begins_anew():
    stage = once(LostError("gone", blamed=False, memory=True), role="refiner")
    assert stage.answer(2) == undisturbed(2)
    assert [roles for _, roles in stage.taken] == [(role,) for role in (*APART[:2], *APART)]


@pytest.mark.parametrize("role", APART)
@pytest.mark.parametrize("max_crashes", [1, 2, 3])
def test_a_question_that_kills_its_replica_is_given_up_and_costs_no_other(role, max_crashes):
    def fault(leg, order):
        poisoned = role in leg.roles and any(one.question.id == "q3" for one in order.assignments)
        return stage.dies(leg.seat, blamed=True) if poisoned else None

    stage = Stage(fault, max_crashes=max_crashes)
    answers, expected = stage.answer(8, size=4), undisturbed(8)
    assert "replicas that worked on it" in answers.pop("q3")
    assert answers == {name: text for name, text in expected.items() if name != "q3"}


@pytest.mark.parametrize("seed", range(30))
def test_whatever_is_lost_every_question_is_answered_once_as_in_an_undisturbed_run(seed):
    chance = random.Random(seed)

    def fault(leg, order):
        kind = chance.choices(["", "bystander", "memory", "replica", "all"], weights=[8, 2, 2, 2, 1])[0]
        if kind == "all":
            for seat in stage.router.posts:
                stage.dies(seat, blamed=False, back=chance.uniform(0, 0.005))
        if kind == "replica":
            return stage.dies(leg.seat, blamed=chance.random() < 0.2, memory=chance.random() < 0.3)
        return LostError(kind, blamed=False, memory=kind == "memory") if kind else None

    transport = chance.choice(["object_store", "reencode"])
    seats = chance.choice([APART, APART * 2, ("all", "all", "all")])
    store = chance.choice([10**9, 30_000])
    stage = Stage(fault, seats=seats, store=store, transport=transport, max_crashes=100)
    assert stage.answer(24, size=chance.choice([1, 3, 5])) == undisturbed(24)


def test_a_run_goes_on_when_all_replicas_were_lost_and_one_comes_back():
    def fault(leg, order):
        if stage.asked["q0"] == 1 and "planner" in leg.roles:
            for seat in stage.router.posts:
                stage.dies(seat, blamed=False, back=0.01 if seat == "r2" else None)
            return LostError("all are gone", blamed=False, memory=True)
        return None

    stage = Stage(fault)
    assert stage.answer(6) == undisturbed(6)
    assert {seat for seat, _ in stage.taken} == {"r2"}


def test_nothing_is_tried_while_nobody_who_is_alive_could_end_it():
    def fault(leg, order):
        first = "critic" in leg.roles and stage.asked["q0"] == 2
        return stage.dies("r3", blamed=False, memory=True, back=0.01) if first else None

    stage = Stage(fault, models={"solver": "large"})
    assert stage.answer(2) == undisturbed(2)
    assert {answer.retries for answer in stage.answers} == {1}


def test_a_batch_too_large_for_the_store_is_asked_in_parts():
    stage = Stage(store=20_000)  # 2666 bytes a role for a batch, 5000 for one question
    assert stage.answer(8, size=8) == undisturbed(8)
    assert stage.largest == 2
    assert stage.asked["q0"] == 1 + len(APART)  # whole, and once its size was known in parts that fit


def test_one_question_too_large_for_the_store_ends_the_run_and_says_what_can_be_done():
    stage = Stage(store=20_000, weight=6000)
    with pytest.raises(ValueError, match="working memory of question 'q0' takes 0.0 MB .* --object-store-memory"):
        stage.answer(8, size=8)


def test_batches_wait_until_the_size_of_the_first_is_known_and_then_fill_the_store():
    stage, first = Stage(store=75_000), []
    stage.fault = lambda leg, order: first.append(stage.router.under_way)
    stage.answer(40, size=2)
    assert first[0] == 1
    assert max(first) == 4  # 30,000 bytes for batches of 3 x 2 x 1000 and a margin


def test_independent_experts_work_at_the_same_time():
    stage = Stage(seats=("math", "science", "code", "summarizer"), graph="hierarchical")
    stage.answer(2)
    assert stage.most == 3


def test_memory_is_sent_ahead_to_whoever_needs_it_later():
    (stage := Stage()).answer(2)
    assert {(role, seat) for role, _, seat in stage.prefetched} >= {("planner", "r3"), ("critic", "r3")}


def test_memory_that_nobody_needs_any_more_is_let_go(tmp_path):
    reads = zip(APART[1:], APART, strict=False)
    roles = [f"{{name: {role}, reads: [{read}], answers: {role == 'solver'}}}" for role, read in reads]
    (tmp_path / "chain.yaml").write_text(f"roles: [{{name: planner}}, {', '.join(roles)}]")
    stage, held = Stage(graph=str(tmp_path / "chain.yaml")), []
    stage.fault = lambda leg, order: held.append(len(stage.parcels))
    stage.answer(1)
    assert held == [0, 1, 1, 1]


def test_a_crew_that_is_gone_for_good_ends_the_run():
    stage = Stage()

    async def change():
        raise BrokenCrewError("no replica is left")

    stage.change = change
    with pytest.raises(BrokenCrewError):
        stage.answer(4)
