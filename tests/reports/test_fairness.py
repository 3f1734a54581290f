"""What keeps runs from being compared."""

from dataclasses import replace

import pytest

from finished import finished_run, prediction, rows_of
from pipeline.reports import compare_runs, differences

ROWS = rows_of([True, False, True])


def run(name, method="latent_mas", rows=ROWS, **settings):
    return finished_run(name, rows, method=method, **settings)


def test_runs_on_the_same_questions_with_the_same_budgets_do_not_differ():
    runs = [run("s", "single"), run("t", "text_mas"), run("l", latent_steps=80, seed=3), run("c", memory="shuffled")]
    assert differences(runs) == ()
    assert differences([]) == differences(runs[:1]) == ()


def test_other_tasks_and_models_stand_in_other_tables():
    assert differences([run("a"), run("b", task="gsm8k", max_new_tokens=1), run("c", model="x/y", top_p=1)]) == ()


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (rows_of([True, False]), "2 and 3 questions, 2 of them in common"),
        (rows_of([True, False, True], first=5), "3 and 3 questions, none of them in common"),
        ([*ROWS[:2], prediction(2, True, text="What?")], "their question 'q2' has different texts"),
        ([*ROWS[:2], prediction(2, True, gold="7")], "their question 'q2' has different right answers"),
    ],
)
def test_other_questions_are_named(rows, words):
    assert differences([run("a"), run("b", rows=rows), run("c", rows=rows)]) == (f"b, c and a: {words}",)


def test_the_order_of_the_questions_is_no_difference():
    assert differences([run("a"), run("b", rows=ROWS[::-1])]) == ()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"max_new_tokens": 64}, "max_new_tokens 64 and 2048"),
        ({"temperature": 0}, "temperature 0 and 0.6"),
        ({"top_p": 0.5}, "top_p 0.5 and 0.95"),
        ({"budget": "system"}, "budget system and agent"),
        ({"chat_options": {"enable_thinking": False}}, "chat_options {'enable_thinking': False} and {}"),
    ],
)
def test_other_budgets_are_named(setting, words):
    assert differences([run("t", "text_mas"), run("l", **setting)]) == (f"l and t: the settings differ: {words}",)


def test_how_a_single_agent_shares_its_budget_is_no_difference_but_how_teams_do_is():
    alone, shared, own = run("s", "single"), run("t", "text_mas", budget="system"), run("l")
    assert differences([alone, shared]) == ()
    assert differences([alone, shared, own]) == ("l and t: the settings differ: budget agent and system",)


def test_greedy_runs_do_not_differ_in_what_they_would_sample_from():
    assert differences([run("a", temperature=0, top_p=0.5), run("b", temperature=0)]) == ()


def test_seconds_taken_with_other_settings_are_told_of_but_no_reason_to_refuse():
    slow, fast = (replace(run(f"b{size}"), execution={"batch_size": size, "replicas": 1}) for size in (1, 8))
    assert differences([slow, fast]) == ()
    notes = compare_runs([slow, fast]).notes
    assert "b1 1, b8 8: batch_size differs, so their seconds can't be compared" in notes
