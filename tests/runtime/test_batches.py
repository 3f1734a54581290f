"""Batches: what is booked, what is asked again after a loss, and that a question is reported exactly once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.records import Assignment, LegReport, Question, RoleTurns, Turn, Usage
from pipeline.runtime.batches import LOSSES, Batch, after_crash, after_loss
from pipeline.runtime.legs import Leg


def assignments(count):
    questions = [Question(id=f"q{i}", text="?", kind="number", gold="1") for i in range(count)]
    return tuple(Assignment(question=question, source=question) for question in questions)


def turn(role, text, replica="r0"):
    return Turn(role=role, text=text, finish="stop", usage=Usage(), seconds=0.1, replica=replica)


def book(batch, *roles, failed=(), seat="r0", peak=0):
    """Books a leg of roles in which some questions fail."""
    asked = batch.living()
    done = [one.question.id for one in asked if one.question.id not in failed]
    turns = tuple(RoleTurns(role=r, turns=tuple(turn(r, f"{r} on {i}", seat) for i in done)) for r in roles)
    report = LegReport(turns=turns, failed=tuple((i, "boom") for i in failed), parcel_bytes=(), peak_bytes=peak)
    batch.book(Leg(seat=seat, roles=roles), asked, report)


def ids(batches):
    return [[one.question.id for one in batch.assignments] for batch in batches]


def test_turns_are_kept_by_question_when_others_fail_between_them():
    batch = Batch(assignments=assignments(4))
    book(batch, "planner", failed=["q1"])
    book(batch, "critic", failed=["q2"])
    earlier = batch.earlier(["planner", "critic"])
    assert [role.role for role in earlier] == ["planner", "critic"]
    assert [[turn.text for turn in role.turns] for role in earlier] == [
        ["planner on q0", "planner on q3"],
        ["critic on q0", "critic on q3"],
    ]


def test_answers_hold_all_turns_or_the_reason_why_there_is_none():
    batch = Batch(assignments=assignments(2), retries=3)
    book(batch, "planner", failed=["q0"], peak=7)
    book(batch, "solver", seat="r1", peak=5)
    failed, answered = batch.answers(["planner", "solver"], {"r0": 2.0, "r1": 4.0})
    assert (failed.question_id, failed.error, failed.turns) == ("q0", "boom", ())
    assert [one.text for one in answered.turns] == ["planner on q1", "solver on q1"]
    assert (answered.replica, answered.retries, answered.peak_bytes, answered.load_seconds) == ("r1", 3, 7, 4.0)


def test_forgotten_turns_are_taken_again_but_failed_questions_stay_failed():
    batch = Batch(assignments=assignments(2), parcels={"planner": object()}, holders={"planner": "r0"})
    book(batch, "planner", failed=["q0"])
    batch.forget()
    assert (batch.turns, batch.parcels, batch.holders) == ({}, {}, {})
    assert ids([Batch(assignments=batch.living())]) == [["q1"]]


@given(
    count=st.integers(1, 9),
    parts=st.integers(1, 9),
    failed=st.sets(st.integers(0, 8), max_size=9),
    crashes=st.integers(),
)
def test_a_split_batch_keeps_every_question_exactly_once(count, parts, failed, crashes):
    batch = Batch(assignments=assignments(count), crashes=crashes, started=5.0)
    batch.failed = {f"q{i}": "boom" for i in failed if i < count}
    new, left = batch.split(parts)
    assert sorted(i for part in ids([*new, *left]) for i in part) == sorted(f"q{i}" for i in range(count))
    assert {i for part in ids(left) for i in part} == batch.failed.keys()
    assert len(new) <= parts
    assert all(part.living() and not part.turns for part in new)
    assert all((part.crashes, part.started) == (crashes, 5.0) for part in new)
    assert len({part.key for part in [batch, *new]}) == len(new) + 1


class Poisoned:
    """A run in which every batch with the question q1 kills its replica."""

    def __init__(self, count, allowed):
        self.waiting, self.deaths, self.answered = [Batch(assignments=assignments(count))], 0, []
        while self.waiting:
            batch = self.waiting.pop(0)
            if any(one.question.id == "q1" for one in batch.living()):
                self.deaths += 1
                batch.crashes += 1
                again, done = after_crash(batch, allowed, "it died")
                self.waiting = again + self.waiting
            else:
                book(batch, "solver")
                done = [batch]
            self.answered += [answer for one in done for answer in one.answers(["solver"], {"r0": 0.0})]


@pytest.mark.parametrize(("allowed", "deaths"), [(1, 2), (2, 2), (3, 3), (5, 5)])
@pytest.mark.parametrize("count", [2, 3, 8])
def test_a_question_that_kills_its_replica_is_given_up_alone(allowed, deaths, count):
    run = Poisoned(count, allowed)
    errors = {answer.question_id: answer.error for answer in run.answered}
    assert len(run.answered) == len(errors) == count
    assert [i for i, error in errors.items() if error] == ["q1"]
    assert "died" in errors["q1"]
    assert run.deaths == deaths


@pytest.mark.parametrize("allowed", [1, 2, 3])
def test_a_question_alone_in_its_batch_is_tried_as_often_as_allowed(allowed):
    batch, deaths, again = Batch(assignments=assignments(1)), 0, True
    while again:
        batch.crashes, deaths = batch.crashes + 1, deaths + 1
        again, failed = after_crash(batch, allowed, "it died")
    assert deaths == allowed
    assert failed == [batch]
    told = batch.answers([], {})[0].error
    assert told.startswith(f"given up after {allowed} crashes")
    assert told.endswith("it died")


def test_questions_that_failed_before_a_crash_are_reported_with_their_own_reason():
    batch = Batch(assignments=assignments(3), crashes=2)
    book(batch, "planner", failed=["q0"])
    again, failed = after_crash(batch, 3, "it died")
    assert ids(again) == [["q1"], ["q2"]]
    assert [(answer.question_id, answer.error) for answer in failed[0].answers(["planner"], {"r0": 0.0})] == [
        ("q0", "boom")
    ]


def test_neighbours_of_a_killer_are_not_given_up_for_what_it_did():
    singles, _ = after_crash(Batch(assignments=assignments(3), crashes=7), 3, "it died")
    assert [single.crashes for single in singles] == [2, 2, 2]


def test_a_leg_that_played_no_questions_leaves_no_turns():
    batch = Batch(assignments=assignments(1))
    book(batch, "planner", failed=["q0"])
    assert batch.earlier(["planner"]) == (RoleTurns(role="planner", turns=()),)
    assert [answer.error for answer in batch.answers(["planner"], {"r0": 1.0})] == ["boom"]


def test_memory_that_is_lost_again_and_again_is_not_asked_for_ever():
    batch = Batch(assignments=assignments(2))
    batch.turns["planner"] = {"q0": turn("planner", ""), "q1": turn("planner", "")}
    for _ in range(LOSSES - 1):
        assert after_loss(batch, "the node is gone") == ([batch], [])
        assert not batch.turns  # it begins anew
    assert after_loss(batch, "the node is gone") == ([], [batch])
    assert set(batch.failed) == {"q0", "q1"}
    assert "the node is gone" in batch.failed["q0"]
