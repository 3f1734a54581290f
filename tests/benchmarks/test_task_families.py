"""What each family makes of a row, and that the real files are read whole."""

import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.benchmarks import BENCHMARKS
from pipeline.benchmarks.aime import contest_question
from pipeline.benchmarks.code import described_question
from pipeline.benchmarks.gpqa import expert_question
from pipeline.benchmarks.medqa import case_question
from pipeline.benchmarks.own import COLUMNS, own_question
from pipeline.records import Question
from realdata import real_questions

TEXTS = st.text() | st.sampled_from(
    ["A", "b", "1", "number", "choice", "code", "def f(): ...", "f()", "A. x", "#### 1"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["text", "label"]), inner),
    max_leaves=6,
)
READERS = {name: (benchmark.to_question, benchmark.columns) for name, benchmark in BENCHMARKS.items() if name != "demo"}
READERS["own"] = (own_question, COLUMNS)
ROWS = {
    "arc_easy": 2376,
    "arc_challenge": 1172,
    "gsm8k": 1319,
    "medqa": 300,
    "mbppplus": 378,
    "humanevalplus": 164,
    "aime24": 30,
    "aime25": 30,
}
CASE = {
    "question": "What helps?\nA. Rest\nB. Tea\nC. Both\nD. None\n\nA. Rest\nB. Tea\nC. Both\nD. None",
    "options": ["A. Rest", "B. Tea", "C. Both", "D. None"],
    "answer": "Both ",
}
EXPERT = {"question": "Which one?\n\na) x\nb) y\nc) z\nd) none", "answer": "b"}
DESCRIBED = {
    "task_id": 7,
    "prompt": "Write a function to double a number.",
    "code": "\nimport math\ndef half(x):\n  return x / 2\ndef double(x):\n  return 4 * half(x)\n",
    "test_imports": [],
    "test_list": ["assert double(1) == 2", "assert set([double(2)]) == {4}"],
    "test": "for x, y in [(1, 2), (2, 4)]:\n    assert double(x) == y\n",
}


@pytest.mark.parametrize(("task", "rows"), ROWS.items())
def test_a_real_file_is_read_whole(task: str, rows: int) -> None:
    questions = real_questions(task)
    assert len({question.id for question in questions}) == len(questions) == rows
    assert len({question.text for question in questions}) == rows
    assert {question.kind for question in questions} == set(BENCHMARKS[task].kinds)
    for question in questions:
        assert question.text.strip() == question.text
        assert question.gold.strip()
        assert bool(question.labels) == (question.kind == "choice")
        assert question.kind != "choice" or question.gold in question.labels


@pytest.mark.parametrize("task", ["medqa", "arc_easy", "arc_challenge"])
def test_a_real_choice_question_ends_with_its_options_listed_once(task: str) -> None:
    for question in real_questions(task):
        _, _, options = question.text.rpartition("\n\n")
        assert [line[:3] for line in options.splitlines()] == [f"{label}. " for label in question.labels], question.id
        assert question.text.count(options) == question.text.count("\nA. ") == 1, question.id


@pytest.mark.parametrize("task", ["mbppplus", "humanevalplus"])
def test_a_real_code_question_tells_the_name_that_its_tests_call(task: str) -> None:
    for question in real_questions(task):
        assert re.search(rf"(?<![\w.]){question.entry_point}\(", question.text), question.id
        assert re.search(rf"(?<![\w.]){question.entry_point}\(|\ncheck\({question.entry_point}\)$", question.tests)
        assert re.search(rf"^def {question.entry_point} ?\(", question.gold, re.MULTILINE), question.id


def test_the_oddest_rows_of_mbpp_are_read_right() -> None:
    entry_points = {question.id: question.entry_point for question in real_questions("mbppplus")}
    assert entry_points["Mbpp/126"] == "sum", "also a function of Python's own"
    assert entry_points["Mbpp/88"] == "freq_count", "also a variable of its tests"
    assert entry_points["Mbpp/630"] == "get_coordinates", "not its helper"


def test_a_case_lists_its_options_once_and_is_graded_by_letter() -> None:
    question = case_question(CASE, "medqa/0000")
    assert question.text == "What helps?\n\nA. Rest\nB. Tea\nC. Both\nD. None"
    assert (question.id, question.gold, question.labels) == ("medqa/0000", "C", ("A", "B", "C", "D"))
    assert case_question(CASE | {"question": "What helps?"}, "").text == question.text
    broken = ["A. Rest", "B. Tea", "C. Both\n\n", "D. None"]
    assert case_question(CASE | {"question": "What helps?", "options": broken}, "").text == question.text


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"answer": "Sleep"}, "the answer 'Sleep' must be the text of exactly one option"),
        ({"options": ["A. Both", "B. Both"]}, "the answer 'Both' must be the text of exactly one option"),
        ({"options": ["A. Rest", "C. Both"]}, "options must start with 'A. ', 'B. ', ... in order"),
        ({"options": ["A. Both"]}, "there must be 2 to 26 options, got 1"),
        ({"options": None}, "options must be a list of texts, got None"),
    ],
)
def test_a_case_whose_answer_is_no_option_is_refused(change: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        case_question(CASE | change, "")


def test_a_contest_answer_keeps_its_leading_zeros_and_the_rows_own_number_is_not_read() -> None:
    question = contest_question({"id": 61, "problem": "How many?", "answer": "025"}, "aime24/0001")
    assert (question.id, question.kind, question.gold) == ("aime24/0001", "number", "025")


@pytest.mark.parametrize("answer", ["1000", "-1", "2.5", "many"])
def test_a_contest_answer_beyond_three_digits_is_refused(answer: str) -> None:
    with pytest.raises(ValueError, match="column 'answer' must hold a whole number from 0 to 999"):
        contest_question({"problem": "How many?", "answer": answer}, "")


def test_an_experts_question_is_shown_as_it_is() -> None:
    question = expert_question(EXPERT, "gpqa_diamond/0000")
    assert (question.text, question.gold, question.labels) == (EXPERT["question"], "B", ("A", "B", "C", "D"))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"answer": "E"}, "column 'answer' must hold one letter of A to D, got 'E'"),
        ({"answer": "y"}, "column 'answer' must hold one letter of A to D, got 'y'"),
        ({"answer": 2}, "column 'answer' must hold text, got 2"),
        ({"question": "Which one?"}, "column 'question' must list the options A to D, but names no A, B, C, D"),
    ],
)
def test_an_experts_question_that_is_otherwise_is_refused(change: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        expert_question(EXPERT | change, "")


def test_a_described_function_is_named_by_its_examples() -> None:
    question = described_question(DESCRIBED, "")
    assert (question.id, question.entry_point) == ("Mbpp/7", "double")
    assert question.text.startswith("Write a function to double a number.\n\n")
    assert question.text.endswith("\n\nassert double(1) == 2\nassert set([double(2)]) == {4}")
    assert (question.gold, question.tests) == (DESCRIBED["code"], DESCRIBED["test"])


def test_what_the_tests_import_stands_before_gold_tests_and_examples() -> None:
    question = described_question(DESCRIBED | {"test_imports": ["import math"]}, "")
    assert "\n\nimport math\nassert double(1)" in question.text
    assert question.gold.startswith("import math\n")
    assert question.tests.startswith("import math\n")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"test_list": ["assert triple(1) == 3"]}, "must call exactly one function of 'code', they call none"),
        ({"test_list": ["assert double(half(1)) == 1"]}, "they call double, half"),
        ({"test_list": []}, "they call none"),
        ({"code": "def double(x"}, "columns 'code' and 'test_list' must hold Python"),
        ({"task_id": "7"}, "column 'task_id' must hold a whole number, got '7'"),
        ({"test": None}, "column 'test' must hold text, got None"),
    ],
)
def test_a_described_function_that_is_not_tested_is_refused(change: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        described_question(DESCRIBED | change, "")


@pytest.mark.parametrize("name", READERS)
def test_any_row_is_a_question_or_a_value_error(name: str) -> None:
    read, columns = READERS[name]

    @settings(max_examples=150, deadline=None)
    @given(st.fixed_dictionaries(dict.fromkeys(columns, VALUES)))
    def check(row: dict[str, Any]) -> None:
        with suppress(ValueError):
            assert isinstance(read(row, "id"), Question)

    check()
