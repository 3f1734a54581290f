"""Grading a batch: programs are run, a fault of ours leaves its question unscored, and none costs another."""

from __future__ import annotations

from dataclasses import replace

from pipeline.config import ScoringConfig
from pipeline.records import Answer, Assignment, Question, Turn, Usage
from pipeline.runtime.grading import score_batch

QUESTION = Question(
    id="good", text="Write one.", kind="code", gold="def one(): return 1", tests="assert one() == 1", entry_point="one"
)


def answered(question: Question, text: str) -> tuple[Assignment, Answer]:
    turn = Turn(role="solver", text=text, finish="stop", usage=Usage(output_tokens=9), seconds=0.1)
    assignment = Assignment(question=question, source=question)
    return assignment, Answer(question_id=question.id, turns=(turn,))


def test_programs_and_numbers_are_graded_in_one_batch_and_broken_tests_leave_their_question_unscored() -> None:
    broken = replace(QUESTION, id="broken", tests="import no_such_module")
    number = Question(id="number", text="?", kind="number", gold="18")
    fenced = f"```python\n{QUESTION.gold}\n```"
    pairs = [answered(broken, fenced), answered(QUESTION, fenced), answered(number, r"\boxed{18}")]
    rows = score_batch([pair[0] for pair in pairs], [pair[1] for pair in pairs], 1, ScoringConfig())
    assert [row.correct for row in rows] == [None, True, True]
    assert [row.reason for row in rows] == ["unscored", "correct", "correct"]
    assert "no_such_module" in rows[0].error
    assert "seccomp" in rows[1].isolation
    assert (rows[1].error, rows[2].error, rows[2].isolation) == ("", "", "")
    assert all(row.scoring_seconds > 0 for row in rows)


def test_an_answer_that_was_never_given_stays_unscored() -> None:
    assignment, _ = answered(QUESTION, "")
    (row,) = score_batch([assignment], [Answer(question_id="good", error="lost")], 1, ScoringConfig())
    assert (row.correct, row.error, row.isolation) == (None, "lost", "")
