"""The embedded questions are ours, so every gold is checked here by working it out again."""

import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import pipeline.benchmarks
from pipeline.benchmarks import load_questions
from pipeline.benchmarks.arc import choice_question
from pipeline.benchmarks.code import function_question
from pipeline.benchmarks.gsm8k import number_question

SAMPLES = Path(pipeline.benchmarks.__file__).parent / "samples"
STEP = re.compile(r"<<(?P<sum>[-+*/.0-9]+)=(?P<result>-?[.0-9]+)>>(?P<shown>-?[0-9,]+(?:\.[0-9]+)?)")


def rows(kind: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SAMPLES / f"demo_{kind}.jsonl").read_text(encoding="utf-8").splitlines()]


def exactly(expression: str) -> Fraction:
    exact = re.sub(r"[0-9]+(?:\.[0-9]+)?", r"Fraction('\g<0>')", expression)
    return Fraction(eval(exact, {"Fraction": Fraction}))


def run(program: str) -> None:
    exec(compile(program, "<sample>", "exec"), {})


def test_there_are_twelve_questions_of_each_kind_and_kinds_alternate() -> None:
    kinds = [question.kind for question in load_questions("demo", data_dir=None, limit=None)]
    assert kinds == ["number", "choice", "code"] * 12


def test_ids_are_unique_and_stable_under_a_limit() -> None:
    everything = load_questions("demo", data_dir=None, limit=None)
    assert len({question.id for question in everything}) == 36
    assert load_questions("demo", data_dir=None, limit=5) == everything[:5]


def test_the_demo_ignores_the_data_folder() -> None:
    assert load_questions("demo", data_dir="/no/such/folder", limit=1)[0].kind == "number"


@pytest.mark.parametrize("row", rows("number"), ids=lambda row: row["question"][:30])
def test_a_worked_solution_adds_up_to_its_gold(row: dict[str, Any]) -> None:
    steps = list(STEP.finditer(row["answer"]))
    for step in steps:
        assert exactly(step["sum"]) == Fraction(step["result"]) == Fraction(step["shown"].replace(",", ""))
    assert len(steps) == row["answer"].count("<<")
    assert number_question(row, "id").gold == steps[-1]["result"]


def test_number_golds_include_thousands_commas_decimals_and_negatives() -> None:
    written = [row["answer"].split("####")[1].strip() for row in rows("number")]
    assert sum("," in gold for gold in written) == 3
    assert sum("." in gold for gold in written) == 2
    assert sum(gold.startswith("-") for gold in written) == 2
    assert not any("," in number_question(row, "id").gold for row in rows("number"))


@pytest.mark.parametrize("row", rows("choice"), ids=lambda row: row["id"])
def test_a_choice_has_distinct_options_and_its_gold_among_them(row: dict[str, Any]) -> None:
    question = choice_question(row, "")
    assert question.gold in question.labels
    assert len(set(row["choices"]["text"])) == len(question.labels)


def test_choices_include_three_and_five_options_numeric_labels_and_all_golds() -> None:
    labels = [row["choices"]["label"] for row in rows("choice")]
    assert {len(row) for row in labels} == {3, 4, 5}
    assert ["1", "2", "3", "4"] in labels
    assert {choice_question(row, "").gold for row in rows("choice")} == set("ABCDE")


@pytest.mark.parametrize("row", rows("code"), ids=lambda row: row["entry_point"])
def test_a_reference_solution_passes_its_tests_and_an_empty_body_fails_them(row: dict[str, Any]) -> None:
    question = function_question(row, "")
    run(f"{question.gold}\n{question.tests}")
    with pytest.raises(AssertionError):
        run(f"{row['prompt']}    pass\n{question.tests}")
    assert row["prompt"].strip() in question.text
    assert row["canonical_solution"].strip() not in question.text
