"""Legs: where a batch's way is cut, what each stretch has to know, and whose memory travels to it."""

from itertools import product

import pytest

from pipeline.config import CARRIERS, CollaborationConfig
from pipeline.graphs import CollaborationPlan, parse_graph, plan_for
from pipeline.runtime.legs import Itinerary, Leg

CHAIN = """
roles:
  - {name: planner}
  - {name: critic, reads: [planner]}
  - {name: refiner, reads: [critic]}
  - {name: solver, reads: [refiner], answers: true}
"""
SETTINGS = {
    "sequential": {},
    "parallel": {"graph": "hierarchical"},
    "chained": {"graph": "hierarchical", "experts": "chained"},
    "texts": {"method": "text_mas"},
}


def itinerary(graph, transport="object_store", **more):
    if graph == "chain":
        roles = parse_graph("chain", CHAIN)
        plan = CollaborationPlan(graph=roles, thinkers=dict.fromkeys(("planner", "critic", "refiner"), 3))
    else:
        plan = plan_for(CollaborationConfig(**SETTINGS[graph]))
    return Itinerary(plan=plan, carrier=CARRIERS[transport], **more)


def legs(way, seats):
    """The legs of a way whose roles are played by these replicas."""
    return way.legs(dict(zip(way.roles, seats, strict=True)))


def test_neighbouring_roles_on_one_replica_are_one_leg():
    assert legs(itinerary("sequential"), ("a", "a", "b", "a")) == [
        Leg(seat="a", roles=("planner", "critic")),
        Leg(seat="b", roles=("refiner",)),
        Leg(seat="a", roles=("solver",)),
    ]


def test_roles_that_have_taken_their_turns_are_in_no_leg():
    assert itinerary("sequential").legs({"solver": "a", "refiner": "a"}) == [Leg(seat="a", roles=("refiner", "solver"))]


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        ("sequential", [(), ("planner",), ("planner", "critic"), ("planner", "critic", "refiner")]),
        ("parallel", [(), (), (), ("math", "science", "code")]),
        ("chained", [(), ("math",), ("math", "science"), ("math", "science", "code")]),
        ("texts", [(), ("planner",), ("planner", "critic"), ("planner", "critic", "refiner")]),
        ("chain", [(), ("planner",), ("critic",), ("refiner",)]),
    ],
)
def test_a_leg_has_to_know_the_turns_that_its_roles_read(graph, expected):
    way = itinerary(graph)
    assert [way.before(leg) for leg in legs(way, "abcd")] == expected


def test_what_is_computed_again_needs_everything_that_it_goes_back_to():
    way = itinerary("chain", "reencode")
    assert [way.before(leg) for leg in legs(way, "abcd")] == [
        (),
        ("planner",),
        ("planner", "critic"),
        ("planner", "critic", "refiner"),
    ]
    assert [way.sent(leg, legs(way, "abcd")) for leg in legs(way, "abcd")] == [
        ("planner",),
        ("critic",),
        ("refiner",),
        (),
    ]


def test_what_a_leg_makes_itself_does_not_travel_to_it():
    way = itinerary("sequential")
    first, second = legs(way, "aabb")
    assert (way.before(first), way.sent(first, [first, second])) == ((), ("planner", "critic"))
    assert way.parcels(second) == ("planner", "critic")
    assert way.sent(second, [first, second]) == ()


def test_a_replica_that_plays_again_later_gets_its_own_memory_back_as_a_parcel():
    way = itinerary("sequential")
    made = legs(way, ("a", "b", "a", "a"))
    assert way.parcels(made[2]) == ("planner", "critic")
    assert way.sent(made[0], made) == ("planner",)


def test_texts_are_known_and_do_not_travel_as_memory():
    way = itinerary("texts")
    assert all(way.parcels(leg) == way.sent(leg, legs(way, "abcd")) == () for leg in legs(way, "abcd"))


def test_without_a_handover_turns_are_known_and_no_memory_travels():
    way = itinerary("sequential", hands_over=False)
    made = legs(way, "abcd")
    assert way.before(made[3]) == ("planner", "critic", "refiner")
    assert all(way.parcels(leg) == way.sent(leg, made) == () for leg in made)


@pytest.mark.parametrize("graph", [*SETTINGS, "chain"])
@pytest.mark.parametrize("transport", ["object_store", "reencode"])
def test_every_parcel_that_a_leg_gets_has_been_sent_by_an_earlier_one(graph, transport):
    way = itinerary(graph, transport)
    for seats in product("abc", repeat=4):
        made, sent = legs(way, seats), set()
        for leg in made:
            assert sent.issuperset(way.parcels(leg))
            sent.update(way.sent(leg, made))
        assert sent <= set(way.plan.thinkers)


@pytest.mark.parametrize(("graph", "count"), [("sequential", 3), ("parallel", 3), ("texts", 1)])
def test_the_store_is_shared_by_all_roles_that_send(graph, count):
    assert itinerary(graph).senders() == count
    assert itinerary(graph, hands_over=False).senders() == 1
