"""Replicas in one process that hand a batch on to each other, leg after leg, as the driver lets them."""

import hashlib
import pickle
from dataclasses import replace
from functools import cache
from itertools import cycle

import numpy as np

from pipeline.agents.leg import play_leg
from pipeline.agents.team import build_team
from pipeline.agents.walk import answer_batch
from pipeline.config import CARRIERS, RunConfig
from pipeline.graphs import plan_for
from pipeline.records import LegOrder, Question
from pipeline.runtime.assigning import assign
from pipeline.runtime.batches import Batch
from pipeline.runtime.legs import Itinerary
from tiny import tiny_model

QUESTIONS = [
    Question(id="short", text="1+1", kind="number", gold="2"),
    Question(
        id="long", text="Anna has twelve apples and gives away a third of them. How many?", kind="number", gold="8"
    ),
    Question(id="letters", text="Which is even?", kind="choice", gold="B", labels=("A", "B")),
]
APART = ("r0", "r1", "r2", "r3")
MIXED = ("r0", "r1", "r1", "r0")


@cache
def replica_model(number, **sizes):
    """Models of the same weights, which share nothing else."""
    return tiny_model("llama", **sizes)


class Relay:
    """Replicas of one process, and the way of a batch over them: what the driver does, one leg after another."""

    def __init__(self, transport="object_store", models=replica_model, limit=2**40, accepts=(), **settings):
        chosen = {"latent_steps": 3, "max_new_tokens": 6, "temperature": 0, **settings}
        config = RunConfig.from_flat({**chosen, "placement": "spread", "transport": transport})
        self.carrier, self.limit, self.accepts = CARRIERS[transport], limit, accepts
        plan = plan_for(config.collaboration)
        hands_over = config.collaboration.memory != "none"
        self.itinerary = Itinerary(plan=plan, carrier=self.carrier, hands_over=hands_over)
        self.memory = config.collaboration.memory
        self.teams = {
            name: build_team(models(number), config, plan, keep_inputs=self.carrier.inputs)
            for name, number in zip(APART, cycle((0, 1)))  # noqa: B905 - as many as there are names
        }
        self.parcels = {}

    def work(self, questions=QUESTIONS):
        return tuple(assign(questions, memory=self.memory, seed=1, trace=0))

    def at_home(self, work):
        """The answers of one replica alone."""
        return answer_batch(work, self.teams["r0"])

    def answers(self, places, work, crowds=None):
        """The answers of replicas that play a role each as told by `places`, in working order; some have a crowd."""
        batch = Batch(assignments=work)
        legs = self.itinerary.legs(dict(zip(self.itinerary.roles, places, strict=True)))
        for leg in legs:
            asked, names = batch.living(), self.itinerary.parcels(leg)
            if not asked:
                break
            order = LegOrder(
                key="order",
                roles=leg.roles,
                assignments=asked,
                earlier=batch.earlier(self.itinerary.before(leg)),
                parcels=names,
                send=self.itinerary.sent(leg, legs),
                limit=self.limit,
                accepts=self.accepts,
            )
            arrived = [shipped(self.parcels[name]) for name in names]
            before = [digest(parcel) for parcel in arrived]
            crowd = (crowds or {}).get(leg.seat)
            report, sent = play_leg(
                self.teams[leg.seat], leg.seat, self.carrier, order, arrived, fetching=0.5, crowd=crowd
            )
            assert [digest(parcel) for parcel in arrived] == before
            batch.book(leg, asked, report)
            self.parcels |= dict(zip(order.send, sent, strict=True))
        return batch.answers(self.itinerary.roles, dict.fromkeys(APART, 0.0))


def shipped(parcel):
    """A parcel as the object store gives it: in another process, and not to be written to."""
    pieces = parcel.payload if isinstance(parcel.payload, tuple) else (parcel.payload,)
    copy = pickle.loads(pickle.dumps(replace(parcel, payload=None)))
    return replace(copy, payload=np.frombuffer(b"".join(pieces), np.uint8))


def digest(parcel):
    return hashlib.sha256(parcel.payload.tobytes()).digest()


def told(answers):
    return {a.question_id: [(t.role, t.text, t.finish, t.usage) for t in a.turns] for a in answers}
