"""Questions of users' own: what a file may hold, and one line that names file and row for whatever it may not."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.benchmarks import load_questions
from pipeline.benchmarks.own import own_question
from pipeline.scoring import grade

NUMBER = {"question": "What is 1 + 1?", "answer": "2", "kind": "number"}
CHOICE = {"question": "Which is wet?", "answer": "B", "kind": "choice", "choices": ["Sand", "Water", "Glass"]}
CODE = {
    "question": "Write a function add(a, b) that adds.",
    "answer": "def add(a, b):\n    return a + b",
    "kind": "code",
    "tests": "for a in range(3):\n    assert add(a, a) == sum([a, a])",
}


def json_lines(folder: Path, *rows: dict[str, Any]) -> str:
    return written(folder, "".join(json.dumps(row) + "\n" for row in rows))


def written(folder: Path, text: str) -> str:
    path = folder / "mine.jsonl"
    path.write_bytes(text.encode())
    return str(path)


def parquet(folder: Path, *rows: dict[str, Any]) -> str:
    columns = {column: None for row in rows for column in row}
    pq.write_table(pa.Table.from_pylist([columns | row for row in rows]), folder / "mine.parquet")
    return str(folder / "mine.parquet")


def complaint(path: str) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        load_questions(path, data_dir=None, limit=1)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(path)
    return message.removeprefix(path)


@pytest.mark.parametrize("write", [json_lines, parquet])
def test_a_file_may_mix_all_kinds(tmp_path: Path, write: Any) -> None:
    number, choice, code = load_questions(write(tmp_path, NUMBER, CHOICE, CODE), data_dir=None, limit=None)
    assert (number.id, number.kind, number.text, number.gold) == ("mine/0000", "number", "What is 1 + 1?", "2")
    assert choice.text == "Which is wet?\n\nA. Sand\nB. Water\nC. Glass"
    assert (choice.id, choice.gold, choice.labels) == ("mine/0001", "B", ("A", "B", "C"))
    assert (code.text, code.gold, code.tests) == (CODE["question"], CODE["answer"], CODE["tests"])
    assert (code.kind, code.entry_point) == ("code", "add")


def test_a_limit_takes_the_first_rows_and_the_data_folder_does_not_matter(tmp_path: Path) -> None:
    path = json_lines(tmp_path, NUMBER, CHOICE)
    assert [q.kind for q in load_questions(path, data_dir="/no/such/folder", limit=1)] == ["number"]


def test_a_line_after_the_limit_is_checked_too(tmp_path: Path) -> None:
    assert complaint(json_lines(tmp_path, NUMBER, CHOICE | {"answer": "E"})).startswith(", line 2 (the first is 1): ")


def test_nulls_and_empty_values_count_as_absent() -> None:
    row = NUMBER | {"choices": [], "tests": "", "entry_point": None, "id": " "}
    assert own_question(row, "mine/0000") == own_question(NUMBER, "mine/0000")


def test_a_row_may_have_an_id_and_numbers_may_be_numbers() -> None:
    question = own_question(NUMBER | {"answer": 18, "id": 7}, "mine/0000")
    assert (question.id, question.gold) == ("7", "18")
    assert own_question(NUMBER | {"answer": 0.5}, "").gold == "0.5"
    assert own_question(CHOICE | {"choices": ["3", "4"], "answer": 4}, "").gold == "B"


@pytest.mark.parametrize(
    "gold",
    [
        "-18", "2,125", "$5", "50%", r"\frac{1}{2}", r"2\sqrt{3}", r"\pi", "1e5", "1 200", "1,200.50", "2 1/2", "1/0.5",
        r"\frac{1}{10}", "3:2", "10:30", "(1,2)", "(0,5)", "1, 2", r"\left(1,2\right)",
    ],
)  # fmt: skip
def test_a_number_may_be_an_expression_a_pair_or_a_ratio_and_is_right_itself(gold: str) -> None:
    question = own_question(NUMBER | {"answer": gold}, "")
    assert question.gold == gold
    assert grade(question, rf"\boxed{{{gold}}}", truncated=False).correct


@pytest.mark.parametrize(
    "gold", ["0,5", "-1,25", "1,2000", "1/0", "1/0.0", r"\frac{1}{0}", r"\frac10", "1 2 3", "1 20", "1 2 3/4", "1.2.3"]
)
def test_what_looks_like_a_number_and_has_no_value_is_refused(gold: str) -> None:
    with pytest.raises(
        ValueError, match=r"column 'answer' must hold a number .* a pair \(1, 2\) or a ratio 3:2, of up"
    ):
        own_question(NUMBER | {"answer": gold}, "")


@pytest.mark.parametrize("answer", ["B", "b", "Water", " Water "])
def test_a_choice_is_answered_by_its_letter_or_text(answer: str) -> None:
    assert own_question(CHOICE | {"answer": answer}, "").gold == "B"


@pytest.mark.parametrize("answer", ["A", "Sand\nB. Water", "Sand  B. Water"])
def test_an_option_that_holds_a_line_break_makes_no_second_one(answer: str) -> None:
    question = own_question(CHOICE | {"choices": ["Sand\nB. Water", "Glass"], "answer": answer}, "")
    assert question.text == "Which is wet?\n\nA. Sand B. Water\nB. Glass"
    assert question.gold == "A"


def test_a_function_that_the_question_does_not_name_is_named() -> None:
    question = own_question(CODE | {"question": "Add two numbers."}, "")
    assert question.text == "Add two numbers.\n\nThe function's name must be add."


def test_tests_may_define_names_of_their_own_and_pass_the_function_on() -> None:
    tests = "import math\nLIMIT = 3\ndef check(f, n=LIMIT):\n    assert f(1, n) == math.ceil(4)\ncheck(add)"
    assert own_question(CODE | {"tests": tests}, "").entry_point == "add"


@pytest.mark.filterwarnings("error")
def test_a_program_with_an_odd_escape_is_read_without_a_word() -> None:
    assert own_question(CODE | {"tests": "assert add('\\w', '') == '\\w'"}, "").entry_point == "add"


def test_a_named_function_may_be_called_like_one_of_pythons_own() -> None:
    row = CODE | {"answer": "def sum(a):\n    return a", "tests": "assert sum(1) == 1", "entry_point": "sum"}
    assert own_question(row, "").entry_point == "sum"


def test_other_line_endings_blank_lines_and_a_byte_order_mark_are_no_matter(tmp_path: Path) -> None:
    lines = [json.dumps(NUMBER), "", json.dumps({**NUMBER, "question": "a\u2028b"}, ensure_ascii=False), " "]
    questions = load_questions(written(tmp_path, "\ufeff" + "\r\n".join(lines)), data_dir=None, limit=None)
    assert [question.text for question in questions] == ["What is 1 + 1?", "a\u2028b"]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (NUMBER | {"topic": "sums"}, "column 'topic' is unknown; allowed: question, answer, kind, choices, tests,"),
        (CHOICE | {"choice": ["x"]}, "column 'choice' is unknown (did you mean choices?)"),
        (NUMBER | {"question": "  "}, "column 'question' must hold text, got None"),
        (NUMBER | {"question": 7}, "column 'question' must hold text, got 7"),
        (NUMBER | {"question": "\ud800"}, "column 'question' must hold text, got '\\ud800'"),
        (NUMBER | {"kind": "essay"}, "column 'kind' must be number, choice, code, got 'essay'"),
        (NUMBER | {"kind": None}, "column 'kind' must be number, choice, code, got None"),
        (NUMBER | {"answer": "two"}, "column 'answer' must hold a number without words"),
        (NUMBER | {"answer": "18 cm"}, "column 'answer' must hold a number without words"),
        (NUMBER | {"answer": "?"}, "column 'answer' must hold a number without words"),
        (NUMBER | {"answer": float("nan")}, "column 'answer' must hold a number without words"),
        (NUMBER | {"answer": True}, "column 'answer' must hold text, got True"),
        (NUMBER | {"answer": "9" * 101}, "of up to 100 characters"),
        (NUMBER | {"choices": ["1", "2"]}, "column 'choices' is for choice questions, this one is of kind number"),
        (CHOICE | {"tests": "x"}, "column 'tests' is for code questions, this one is of kind choice"),
        (CHOICE | {"answer": "E"}, "answer 'E' is none of the choices; give A, B, C or a choice's text"),
        (CHOICE | {"answer": "water"}, "answer 'water' is none of the choices"),
        (CHOICE | {"choices": None}, "column 'choices' must be a list of texts, got None"),
        (CHOICE | {"choices": "Sand, Water"}, "column 'choices' must be a list of texts, got 'Sand, Water'"),
        (CHOICE | {"choices": ["Sand", ""]}, "column 'choices' must be a list of texts"),
        (CHOICE | {"choices": ["Sand"], "answer": "A"}, "there must be 2 to 26 options, got 1"),
        (CHOICE | {"choices": ["Sand", "Water", "Sand"]}, "column 'choices' holds 'Sand' twice"),
        (CHOICE | {"choices": ["a b", "a\nb"]}, "column 'choices' holds 'a b' twice"),
        (CHOICE | {"choices": ["B", "C"]}, "answer 'B' is one choice's letter and another's text"),
        (CODE | {"tests": None}, "column 'tests' must hold text, got None"),
        (CODE | {"tests": "assert add(1"}, "column 'tests' must hold a Python program: "),
        (CODE | {"tests": "assert 1"}, "the names that 'tests' uses and doesn't define are none"),
        (CODE | {"tests": "assert add(1, mul(2, 3))"}, "the names that 'tests' uses and doesn't define are add, mul"),
        (CODE | {"entry_point": "mul"}, "column 'tests' must call the entry point 'mul', and must not define it"),
        (CODE | {"tests": "def add(a, b): ...\nadd(1, 2)", "entry_point": "add"}, "must not define it"),
        (CODE | {"answer": "def plus(a, b): ..."}, "column 'answer' must define the entry point 'add'"),
        (CODE | {"answer": "add it up"}, "column 'answer' must hold a Python program: "),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_used_is_named_with_the_reason(tmp_path: Path, row: dict[str, Any], why: str) -> None:
    other = {**NUMBER, "question": "What is 2 + 0?"}
    message = complaint(json_lines(tmp_path, other, row))
    assert message.startswith(", line 2 (the first is 1): ")
    assert why in message


def test_a_row_of_parquet_is_counted_from_0(tmp_path: Path) -> None:
    message = complaint(parquet(tmp_path, NUMBER, CHOICE | {"answer": "E"}))
    assert message.startswith(", row 1 (the first is 0): answer 'E' is none of the choices")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"question": "a"', ", line 1 (the first is 1): no valid JSON: "),
        ('{"answer": "1", "answer": "2"}', ", line 1 (the first is 1): no valid JSON: 'answer' stands there twice"),
        ('\n\n["a"]', ", line 3 (the first is 1): must be a JSON object, {...}, got ['a']"),
        ("[" * 100_000, ", line 1 (the first is 1): no valid JSON: "),
        ("", " has no rows; at least one is needed"),
        ("\n \n", " has no rows; at least one is needed"),
    ],
)
def test_a_line_that_is_no_json_object_is_named(tmp_path: Path, text: str, why: str) -> None:
    assert complaint(written(tmp_path, text)).startswith(why)


def test_a_file_that_is_no_text_or_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_bytes(b"\xff\xfe")
    assert complaint(str(tmp_path / "mine.jsonl")).startswith(" can't be read as UTF-8 text: ")
    (tmp_path / "mine.parquet").write_text("{}")
    assert complaint(str(tmp_path / "mine.parquet")).startswith(" can't be read as Parquet: ")


def test_the_same_question_twice_is_refused_unless_its_options_differ(tmp_path: Path) -> None:
    other = CHOICE | {"choices": ["Sand", "Water"]}
    assert len(load_questions(json_lines(tmp_path, CHOICE, other), data_dir=None, limit=None)) == 2
    message = complaint(json_lines(tmp_path, CHOICE, NUMBER, CHOICE))
    assert message.startswith(": line 1 and line 3 (the first is 1) have the same question 'Which is wet?")


def test_the_same_id_twice_is_refused(tmp_path: Path) -> None:
    message = complaint(json_lines(tmp_path, NUMBER | {"id": "x"}, CHOICE | {"id": "x"}))
    assert message == ": line 1 and line 2 (the first is 1) have the same id 'x'"
