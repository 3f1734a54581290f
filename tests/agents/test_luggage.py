"""Memory that comes with questions from other replicas: kept as long as somebody reads it, and no longer."""

import gc
import random
import threading
import weakref
from dataclasses import replace

import pytest
import torch

from pipeline.agents.crowd import Crowd
from pipeline.agents.leg import play_leg
from pipeline.agents.walk import Walk
from pipeline.engine import RunningBatch
from pipeline.records import LegOrder, RoleTurns
from relay import APART, QUESTIONS, Relay, told
from tiny import tiny_model

TRANSPORTS = ["object_store", "reencode"]


@pytest.fixture
def models():
    """Two replicas' models, which no other test changes."""
    return [tiny_model("llama") for _ in range(2)]


@pytest.fixture
def crowds(monkeypatch):
    """The crowds that legs are played in."""
    made = []

    def make(batch):
        made.append(Crowd(batch, at_once=make.at_once))
        return made[-1]

    make.at_once = None
    monkeypatch.setattr("pipeline.agents.leg.Crowd", make)
    made.append(make)
    return made


class Faulty:
    """Has a model run out of memory in some of its forwards."""

    def __init__(self, lm, monkeypatch, when):
        self.lm, self.when, self.original, self.failures = lm, when, type(lm).forward, 0
        monkeypatch.setattr(lm, "forward", self.forward)

    def forward(self, lanes, embeds_SD):
        if self.when(lanes, self.failures):
            self.failures += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return self.original(self.lm, lanes, embeds_SD)


def writing(lanes):
    """Whether nobody reads a prompt."""
    return max(lanes.counts) < 16


@pytest.mark.parametrize("graph", ["sequential", "hierarchical"])
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("places", [APART, ("r0", "r1", "r1", "r1"), ("r0", "r0", "r1", "r1")])
def test_questions_that_begin_anew_when_memory_ran_out_get_their_luggage_again(
    transport, graph, places, models, monkeypatch, crowds
):
    relay = Relay(transport, models=models.__getitem__, graph=graph)
    work = relay.work()
    expected = told(relay.at_home(work))
    faulty = Faulty(models[1], monkeypatch, lambda lanes, failures: writing(lanes) and len(lanes.spans) > 1)
    assert told(relay.answers(places, work)) == expected
    assert faulty.failures
    assert crowds[-1].at_once == 1
    assert crowds[-1].batch.cache.busy == 0


def test_memory_that_came_is_let_go_of_once_the_last_turn_that_reads_it_has_begun(models, monkeypatch):
    relay, came, alive = Relay(models=models.__getitem__), [], []
    original = Walk.__init__

    def made(self, assignment, team, roles, earlier=None, **more):
        original(self, assignment, team, roles, earlier, **more)
        came.extend(weakref.ref(result.segment) for result in (earlier or {}).values() if result.segment)

    def look(lanes, failures):
        alive.append(sum(one() is not None for one in came))
        return False

    monkeypatch.setattr(Walk, "__init__", made)
    Faulty(models[1], monkeypatch, look)
    gc.disable()
    try:
        relay.answers(("r0", "r1", "r1", "r0"), relay.work())
        assert alive[:4] == [3] * 4  # the refiner on the same replica reads it after the critic
        assert alive[-1] == 0
    finally:
        gc.enable()


def test_what_is_computed_again_takes_no_room_before_its_questions_turn(models, crowds):
    crowds[0].at_once = 1
    relay = Relay("reencode", models=models.__getitem__, graph="hierarchical")
    work = relay.work()
    assert told(relay.answers(APART, work)) == told(relay.at_home(work))
    assert crowds[-1].batch.cache.rows == 4  # of three experts, and of the one who reads them


def test_computing_memory_again_goes_on_beside_the_questions_of_others(models, crowds, monkeypatch):
    """Else every batch that comes would have all texts under way written to their end before it begins."""

    def alone(self):
        raise AssertionError("others have to wait")

    monkeypatch.setattr(Crowd, "exclusive", alone)
    relay = Relay("reencode", models=models.__getitem__)
    work = relay.work()
    assert told(relay.answers(APART, work)) == told(relay.at_home(work))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_after_memory_ran_out_no_question_that_waits_keeps_the_old_cache(transport, models, monkeypatch, crowds):
    crowds[0].at_once = 2
    relay = Relay(transport, models=models.__getitem__)
    work, caches, alive = relay.work([*QUESTIONS, *relay_more()]), [], []

    def when(lanes, failures):
        if failures:
            alive.append(caches[0]() is not None)
        elif lanes.cache.busy == 2 and crowds[-1].batch.cache is lanes.cache:
            caches.append(weakref.ref(lanes.cache))
            return writing(lanes)
        return False

    gc.disable()
    try:
        faulty = Faulty(models[1], monkeypatch, when)
        relay.answers(APART, work)
    finally:
        gc.enable()
    assert faulty.failures == 1
    assert alive
    assert not any(alive)


def relay_more():
    return [replace(one, id=f"{one.id} again") for one in QUESTIONS]


def test_broken_luggage_costs_the_questions_that_it_is_of_and_nobody_else(models):
    relay = Relay(models=models.__getitem__)
    work = relay.work()
    relay.answers(APART, work)
    for cut in ("planner", "refiner"):
        relay.parcels[cut] = None
    solver = _order(relay, work)
    report, _ = play_leg(relay.teams["r3"], "r3", relay.carrier, solver, [None, None, None], fetching=0.0)
    assert [question_id for question_id, _ in report.failed] == [one.question.id for one in work]


def _order(relay, work):
    turns = {role: [] for role in ("planner", "critic", "refiner")}
    for answer in relay.at_home(work):
        for turn in answer.turns[:-1]:
            turns[turn.role].append(turn)
    return LegOrder(
        key="order",
        roles=("solver",),
        assignments=work,
        earlier=tuple(RoleTurns(role=role, turns=tuple(own)) for role, own in turns.items()),
        parcels=tuple(turns),
        send=(),
        limit=1,
        accepts=(),
    )


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("seed", range(2))
def test_batches_of_several_threads_get_their_answers_whatever_runs_out_on_the_way(
    transport, seed, models, monkeypatch
):
    """At any step with several questions; each batch goes over two replicas and comes back."""
    chance, lock = random.Random(seed), threading.Lock()

    def now_and_then(lanes, failures):
        with lock:
            return len(lanes.spans) > 1 and chance.random() < 0.1

    monkeypatch.setattr("pipeline.agents.room.PATIENCE", 2)
    settings = {"models": models.__getitem__, "graph": ("sequential", "hierarchical")[seed], "temperature": 1.0}
    relay = Relay(transport, **settings)
    work = relay.work([replace(one, id=f"{one.id} {number}") for number in range(4) for one in QUESTIONS])
    expected = told(relay.at_home(work))
    faults = [Faulty(lm, monkeypatch, now_and_then) for lm in models]
    crowds = {f"r{number}": Crowd(RunningBatch(models[number % 2]), at_once=5) for number in range(2)}
    found = {}

    def answer(part):
        here = Relay(transport, **settings)
        found.update(told(here.answers(("r0", "r1", "r1", "r0"), part, crowds)))

    threads = [threading.Thread(target=answer, args=(work[at::4],), daemon=True) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "somebody waits for ever"
    assert found == expected
    assert sum(fault.failures for fault in faults) > 1
    assert [crowd.batch.cache.busy for crowd in crowds.values()] == [0, 0]
