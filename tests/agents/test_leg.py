"""Legs: replicas that hand a batch on to each other answer as one replica does that keeps it to itself."""

from dataclasses import replace

import pytest

from pipeline.agents.crowd import Crowd
from pipeline.agents.leg import play_leg
from pipeline.engine import RunningBatch
from pipeline.records import LegOrder, Question
from relay import APART, MIXED, QUESTIONS, Relay, replica_model, told
from tiny import tiny_model

GRAPHS = {
    "sequential": {},
    "parallel": {"graph": "hierarchical"},
    "chained": {"graph": "hierarchical", "experts": "chained"},
    "texts": {"method": "text_mas"},
}
CASES = [
    ("full", "real", APART),
    ("full", "real", ("r0", "r0", "r1", "r1")),
    ("full", "shuffled", MIXED),
    ("full", "none", APART),
    ("thoughts", "real", MIXED),
    ("thoughts", "shuffled", APART),
]


@pytest.mark.parametrize(("handover", "memory", "places"), CASES)
@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("transport", ["object_store", "reencode"])
def test_replicas_that_hand_memory_over_answer_as_one_alone_does(transport, graph, handover, memory, places):
    relay = Relay(transport, memory=memory, handover=handover, **GRAPHS[graph])
    work = relay.work()
    answers = relay.answers(places, work)
    assert told(answers) == told(relay.at_home(work))
    assert [[turn.replica for turn in answer.turns] for answer in answers] == [list(places)] * 3
    assert bool(relay.parcels) == (memory != "none" and graph != "texts")


def test_the_memory_that_travels_is_as_large_as_the_one_that_stays_and_is_booked_once():
    relay = Relay()
    work = relay.work()
    stayed, travelled = relay.at_home(work), relay.answers(("r0", "r1", "r1", "r2"), work)
    for here, there in zip(stayed, travelled, strict=True):
        assert [turn.handover_bytes for turn in there.turns] == [turn.handover_bytes for turn in here.turns]
        names = [[transfer.transport for transfer in turn.transfers] for turn in there.turns]
        # The refiner finds the planner's memory where the critic has put it.
        assert names == [[], ["object_store"], ["in_place"], ["object_store"]]
        assert all(turn.handover_seconds > 0.5 / 3 for turn in (there.turns[1], there.turns[3]))
    padding = 64 * 2 * len(work)
    for role, parcel in relay.parcels.items():
        position = relay.itinerary.roles.index(role)
        made = sum(a.turns[position].usage.prefill_tokens + 3 for a in stayed)
        nbytes = made * replica_model(0).shape.bytes_per_position
        assert nbytes <= parcel.nbytes < nbytes + padding


def test_what_is_recalled_is_booked_as_the_inputs_that_travelled():
    relay = Relay("reencode")
    answers = relay.answers(APART, relay.work())
    assert sum(answer.turns[1].handover_bytes for answer in answers) <= relay.parcels["planner"].nbytes
    assert all(turn.transfers[0].transport == "reencode" for answer in answers for turn in answer.turns[1:])


@pytest.mark.parametrize("transport", ["object_store", "reencode"])
@pytest.mark.parametrize(
    ("width", "first", "memory"), [(4000, "planner", "real"), (2200, "critic", "real"), (1400, "refiner", "shuffled")]
)
def test_a_question_that_does_not_fit_costs_no_other(transport, width, first, memory):
    relay = Relay(transport, models=lambda number: replica_model(number, max_position_embeddings=4000), memory=memory)
    wide = Question(id="wide", text="x" * width, kind="number", gold="1")
    work = relay.work([QUESTIONS[0], wide, *QUESTIONS[1:]])
    hit = next(one.question.id for one in work if one.source is not None and one.source.id == "wide")
    answers = {answer.question_id: answer for answer in relay.answers(APART, work)}
    answer, cut = answers.pop(hit), relay.itinerary.roles.index(first)
    if first == "planner":  # with nothing before it that could be to blame
        assert "the planner needs" in answer.error
    else:
        finishes = [turn.finish for turn in answer.turns]
        assert (answer.error, finishes[: cut + 1]) == ("", [*["latent"] * cut, "context"])
        assert told([answer]) == told(relay.at_home([one for one in work if one.question.id == hit]))
    left = [one for one in work if one.question.id != hit]
    alone = told(answer for one in left for answer in relay.at_home([one]))
    assert told(answers.values()) == alone


class Stumbling:
    """An agent that can't bear one question."""

    def __init__(self, agent):
        self._agent = agent

    def __getattr__(self, name):
        return getattr(self._agent, name)

    def begin(self, request, batch):
        if request.question.id == "long":
            raise RuntimeError("stumbled")
        return self._agent.begin(request, batch)


@pytest.mark.parametrize("graph", ["sequential", "texts"])
def test_those_beside_a_question_that_fails_keep_what_was_done_for_them_before(graph):
    relay = Relay(temperature=1.5, max_new_tokens=15, **GRAPHS[graph])
    work = relay.work()
    alone = told(relay.at_home(work))
    relay.teams["r2"]["refiner"] = Stumbling(relay.teams["r2"]["refiner"])
    answers = {answer.question_id: answer for answer in relay.answers(APART, work)}
    assert answers.pop("long").error == "RuntimeError: stumbled"
    assert told(answers.values()) == {name: turns for name, turns in alone.items() if name != "long"}


def test_a_parcel_beyond_the_limit_is_weighed_and_not_sent():
    relay, sizes = Relay(), {}
    for limit in (2**40, 1000):
        relay.limit, order = limit, planners_order(relay, limit)
        report, [parcel] = play_leg(relay.teams["r0"], "r0", relay.carrier, order, [], fetching=0)
        sizes[limit] = report.parcel_bytes
        assert (parcel is None) == (limit == 1000)
    assert sizes[1000] == sizes[2**40]
    assert planners_order(relay, sizes[1000][0]).limit == sizes[1000][0]


def planners_order(relay, limit):
    return LegOrder(
        key="order",
        roles=("planner",),
        assignments=relay.work(),
        earlier=(),
        parcels=(),
        send=("planner",),
        limit=limit,
        accepts=(),
    )


def test_a_batch_of_which_every_question_fails_is_reported_as_such():
    relay = Relay()
    wide = [Question(id=f"wide{i}", text="x" * 5000, kind="number", gold="1") for i in range(2)]
    order = replace(planners_order(relay, 2**40), assignments=relay.work(wide))
    report, [parcel] = play_leg(relay.teams["r0"], "r0", relay.carrier, order, [], fetching=0)
    assert [question_id for question_id, _ in report.failed] == ["wide0", "wide1"]
    assert [role.turns for role in report.turns] == [()]
    assert (parcel.nbytes, parcel.labels) == (0, ())


def test_memory_of_another_checkpoint_is_read_where_the_run_has_it_and_refused_elsewhere():
    other = tiny_model("llama", seed=1)
    models = [tiny_model("llama"), other]
    work = Relay().work()
    refused = Relay(models=models.__getitem__).answers(("r0", "r1", "r1", "r1"), work)
    assert all("made by model" in answer.error for answer in refused)
    accepts = tuple(lm.fingerprint for lm in models)
    read = Relay(models=models.__getitem__, accepts=accepts).answers(("r0", "r1", "r1", "r1"), work)
    assert not any(answer.error for answer in read)
    assert told(read) != told(Relay().at_home(work))


def test_what_a_replica_notices_goes_with_the_report_of_one_leg():
    relay = Relay(method="single")
    crowd = Crowd(RunningBatch(replica_model(0)))
    crowd.notices.append("memory ran out")
    order = LegOrder(
        key="o",
        roles=("solver",),
        assignments=tuple(relay.work()),
        earlier=(),
        parcels=(),
        send=(),
        limit=1,
        accepts=(),
    )
    team = relay.teams["r0"]
    reports = [play_leg(team, "r0", relay.carrier, order, [], fetching=0.0, crowd=crowd) for _ in "ab"]
    assert [report.notices for report, _ in reports] == [("memory ran out",), ()]
