"""Loading: where rows come from, how they become questions, and one clear line for each way to get it wrong."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.benchmarks import BENCHMARKS, load_questions
from pipeline.benchmarks.arc import choice_question
from pipeline.benchmarks.code import function_question
from pipeline.benchmarks.gsm8k import number_question

SUM = {"question": "What is 1 + 1?", "answer": "1 + 1 = 2\n#### 2"}
CHOICE = {
    "id": "row_1",
    "question": "Which one is wet?",
    "choices": {"text": ["Sand", "Water", "Glass"], "label": ["A", "B", "C"]},
    "answerKey": "B",
}


def write(folder: Path, name: str, *rows: dict[str, Any]) -> str:
    pq.write_table(pa.Table.from_pylist(list(rows)), folder / f"{name}.parquet")
    return str(folder)


def complaint(task: str, data_dir: str | Path | None = None, limit: int | None = None) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        load_questions(task, data_dir=None if data_dir is None else str(data_dir), limit=limit)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_every_benchmark_is_filed_under_its_own_name_and_has_a_source() -> None:
    for name, benchmark in BENCHMARKS.items():
        assert benchmark.name == name
        assert benchmark.kinds
        assert benchmark.embedded or benchmark.file


def test_only_the_sample_of_medqa_has_no_repository() -> None:
    assert [name for name, benchmark in BENCHMARKS.items() if not benchmark.hub_id] == ["medqa", "demo"]
    assert complaint("medqa") == "medqa is not on the Hugging Face Hub; give --data-dir with medqa.parquet"


def test_a_file_gives_questions_numbered_by_row(tmp_path: Path) -> None:
    questions = load_questions("gsm8k", data_dir=write(tmp_path, "gsm8k", SUM, SUM, SUM), limit=2)
    assert [question.id for question in questions] == ["gsm8k/0000", "gsm8k/0001"]
    assert questions[0].text == "What is 1 + 1?"
    assert (questions[0].kind, questions[0].gold) == ("number", "2")


@pytest.mark.parametrize(("written", "gold"), [("70,000", "70000"), ("1,450,000", "1450000"), ("-10", "-10")])
def test_a_gold_is_read_whole(written: str, gold: str) -> None:
    assert number_question({"question": "?", "answer": f"so\n#### {written}"}, "id").gold == gold


def test_options_follow_the_question_one_a_line() -> None:
    question = choice_question(CHOICE, "unused")
    assert question.text == "Which one is wet?\n\nA. Sand\nB. Water\nC. Glass"
    assert (question.id, question.gold, question.labels) == ("row_1", "B", ("A", "B", "C"))


def test_numeric_labels_are_shown_and_graded_as_letters() -> None:
    row = CHOICE | {"choices": {"text": ["w", "x", "y", "z"], "label": ["1", "2", "3", "4"]}, "answerKey": "4"}
    question = choice_question(row, "")
    assert (question.gold, question.labels) == ("D", ("A", "B", "C", "D"))
    assert question.text.endswith("\nC. y\nD. z")


def test_a_function_question_hides_the_solution_and_calls_its_check() -> None:
    row = {
        "task_id": "T/1",
        "prompt": "def one():\n",
        "canonical_solution": "    return 1\n",
        "entry_point": "one",
        "test": "def check(candidate):\n    assert candidate() == 1\n",
    }
    question = function_question(row, "")
    assert question.gold == "def one():\n    return 1\n"
    assert question.tests.endswith("\ncheck(one)")
    assert "return 1" not in question.text
    with pytest.raises(ValueError, match="must define the entry point 'two'"):
        function_question(row | {"entry_point": "two"}, "")


def test_an_unknown_task_names_the_allowed_ones_and_a_near_match() -> None:
    message = complaint("gms8k")
    assert "did you mean gsm8k?" in message
    assert "allowed: arc_easy, arc_challenge, gsm8k, medqa, mbppplus" in message
    assert "--task" in message


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(limit: int) -> None:
    assert complaint("demo", limit=limit) == f"--limit must be 1 or more, got {limit}"


def test_a_missing_folder_a_missing_file_and_a_wrong_file_are_told_apart(tmp_path: Path) -> None:
    assert "is not a folder" in complaint("gsm8k", tmp_path / "none")
    assert "has no gsm8k.parquet; it has no Parquet files" in complaint("gsm8k", tmp_path)
    write(tmp_path, "other", SUM)
    assert "it has other.parquet" in complaint("gsm8k", tmp_path)
    (tmp_path / "gsm8k.parquet").write_text("question,answer\n")
    assert "can't be read as Parquet" in complaint("gsm8k", tmp_path)


def test_a_missing_column_is_named_with_the_columns_there_are(tmp_path: Path) -> None:
    message = complaint("gsm8k", write(tmp_path, "gsm8k", {"question": "?", "solution": "#### 1"}))
    assert "gsm8k.parquet has no column 'answer'" in message
    assert "it has question, solution" in message


def test_an_empty_data_set_is_refused(tmp_path: Path) -> None:
    empty = pa.table({"question": pa.array([], pa.string()), "answer": pa.array([], pa.string())})
    pq.write_table(empty, tmp_path / "gsm8k.parquet")
    assert "has no rows" in complaint("gsm8k", tmp_path)


def test_duplicate_ids_are_refused(tmp_path: Path) -> None:
    message = complaint("arc_easy", write(tmp_path, "arc_easy", CHOICE, CHOICE | {"id": "x"}, CHOICE))
    assert "row 0 and row 2 (the first is 0) have the same id 'row_1'" in message


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"answerKey": "D"}, "answerKey 'D' is not among the options A, B, C"),
        ({"answerKey": None}, "column 'answerKey' must hold text, got None"),
        ({"question": "  "}, "column 'question' must hold text"),
        ({"choices": None}, "column 'choices' must hold 'text' and 'label' lists"),
        ({"choices": {"text": ["x"], "label": ["A", "B", "C"]}}, "there are 1 option texts for 3 labels"),
        ({"choices": {"text": ["x", "y"], "label": ["B", "A"]}}, "labels must be A, B, ... or 1, 2, ... in order"),
        ({"choices": {"text": ["x", None], "label": ["A", "B"]}}, "choices.text must be a list of texts"),
    ],
)
def test_a_row_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    message = complaint("arc_easy", write(tmp_path, "arc_easy", CHOICE, CHOICE | {"id": "row_2"} | change))
    assert "arc_easy.parquet, row 1 (the first is 0): " in message
    assert why in message


@pytest.mark.parametrize("answer", ["no mark", "#### many", "####", "7 #### "])
def test_a_number_row_without_a_gold_is_refused(tmp_path: Path, answer: str) -> None:
    assert "must end in '#### <number>'" in complaint("gsm8k", write(tmp_path, "gsm8k", SUM | {"answer": answer}))
