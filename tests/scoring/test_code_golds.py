"""Every reference program of HumanEval+ and MBPP+ passes its tests in the sandbox, and none passes without a body."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence

import pytest

from pipeline.benchmarks import load_questions
from pipeline.config import ScoringConfig
from pipeline.records import Question
from pipeline.scoring import Grader
from realdata import real_questions

TASKS = {"humanevalplus": 164, "mbppplus": 378}


def fenced(program: str) -> str:
    return f"```python\n{program}\n```"


def judged(questions: Sequence[Question], programs: Sequence[str]) -> tuple[dict[str, str], list[float]]:
    """The reason of each question's program that is not called right, and the seconds that each one took."""
    reasons, seconds = {}, []
    with Grader(ScoringConfig()) as grader:
        for question, program in zip(questions, programs, strict=True):
            began = time.perf_counter()
            score = grader.grade(question, fenced(program), truncated=False)
            seconds.append(time.perf_counter() - began)
            if not score.correct:
                reasons[question.id] = f"{score.reason}: {score.detail}"
    return reasons, seconds


def empty(question: Question) -> str:
    return f"def {question.entry_point}(*args, **kwargs):\n    pass"


def test_the_demos_reference_programs_pass_and_empty_ones_do_not() -> None:
    questions = [question for question in load_questions("demo", data_dir=None, limit=None) if question.kind == "code"]
    assert judged(questions, [question.gold for question in questions])[0] == {}
    assert judged(questions, [empty(question) for question in questions])[0].keys() == {q.id for q in questions}


@pytest.mark.parametrize("task", TASKS)
def test_a_sample_of_reference_programs_passes_and_empty_ones_do_not(task: str) -> None:
    questions = real_questions(task)[2::23]
    assert judged(questions, [question.gold for question in questions])[0] == {}
    assert judged(questions, [empty(question) for question in questions])[0].keys() == {q.id for q in questions}


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_all_reference_programs_pass_and_empty_ones_do_not(task: str) -> None:
    questions = real_questions(task)
    assert len(questions) == TASKS[task]
    wrong, seconds = judged(questions, [question.gold for question in questions])
    assert wrong == {}
    median = statistics.median(seconds)
    sys.stderr.write(f"\n{task}: {len(seconds)} rows, median {1000 * median:.0f} ms, {1 / median:.0f} rows/s a core\n")
    wrong, _ = judged(questions, [empty(question) for question in questions])
    assert wrong.keys() == {question.id for question in questions}
