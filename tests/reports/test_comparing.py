"""What is said of several finished runs together: who is paired with whom, and what is refused."""

import json
from dataclasses import replace

import pytest

from finished import finished_run, prediction, rows_of
from pipeline.reports import compare_runs, comparison_table, pairs_table, seeds_table

ALONE = finished_run("alone", rows_of([True, False, True, False, False]))
LATENT = finished_run("latent", rows_of([True, True, True, True, False]), method="latent_mas")


def test_runs_are_paired_with_the_first_one_of_a_single_agent():
    again = finished_run("again", rows_of([False] * 5), seed=1)
    found = compare_runs([LATENT, ALONE, again])
    assert [(pair.run, pair.baseline, pair.task) for pair in found.pairs] == [
        ("latent", "alone", "demo"),
        ("again", "alone", "demo"),
    ]
    better, worse = (pair.result for pair in found.pairs)
    assert (better.questions, better.only_a, better.only_b, better.p_value) == (5, 0, 2, 0.5)
    assert (better.accuracy_a, better.accuracy_b, better.difference) == pytest.approx((0.4, 0.8, 0.4))
    assert (worse.only_a, worse.only_b, worse.difference) == (2, 0, pytest.approx(-0.4))
    assert found.notes == ()


def test_a_named_baseline_wins_and_is_shown_also_where_it_is_not_among_the_runs():
    text = finished_run("text", rows_of([True] * 5), method="text_mas")
    found = compare_runs([ALONE, LATENT], [text])
    assert [run.name for run in found.runs] == ["text", "alone", "latent"]
    assert [(pair.run, pair.baseline) for pair in found.pairs] == [("alone", "text"), ("latent", "text")]


def test_every_task_has_a_baseline_of_its_own():
    sums = finished_run("m1", rows_of([True]), task="gsm8k")
    team = finished_run("m2", rows_of([True]), task="gsm8k", method="text_mas")
    found = compare_runs([ALONE, sums, team, LATENT], [LATENT])
    assert [(pair.run, pair.baseline, pair.task) for pair in found.pairs] == [
        ("alone", "latent", "demo"),
        ("m2", "m1", "gsm8k"),
    ]


def test_without_a_single_agent_nothing_is_paired_and_a_note_says_what_to_do():
    other = finished_run("text", rows_of([True] * 5), method="text_mas")
    found = compare_runs([LATENT, other])
    assert found.pairs == ()
    assert found.notes == ("demo: no run of a single agent to pair the others with; name a run with --baseline",)
    assert compare_runs([LATENT]).notes == ()


def test_unscored_questions_are_left_out_and_told_of():
    holes = finished_run("holes", rows_of([True, None, True, None, True]), method="latent_mas")
    found = compare_runs([ALONE, holes])
    assert (found.pairs[0].result.questions, found.pairs[0].result.unscored) == (3, 2)
    assert found.pairs[0].result.accuracy_a == pytest.approx(2 / 3)
    assert found.notes == ("holes and alone: 2 questions left out because one of the two has them unscored",)


def test_other_questions_are_paired_on_those_in_common_or_not_at_all():
    some = finished_run("some", rows_of([True] * 4, first=3), method="text_mas")
    none = finished_run("none", rows_of([True], first=9), method="text_mas")
    found = compare_runs([ALONE, some, none])
    assert [(pair.run, pair.result.questions) for pair in found.pairs] == [("some", 2)]
    assert found.notes == (
        "some and alone: paired on the 2 questions in common of 4 and 5",
        "none and alone: not paired, because they have no question in common",
    )


@pytest.mark.parametrize(("changed", "what"), [({"text": "What?"}, "texts"), ({"gold": "2"}, "right answers")])
def test_runs_on_other_texts_or_golds_are_not_paired_and_the_question_is_named(changed, what):
    rows = [*rows_of([True] * 4), prediction(4, True, **changed)]
    found = compare_runs([ALONE, finished_run("other", rows, method="latent_mas")])
    assert found.pairs == ()
    assert found.notes == (f"other and alone: not paired, because their question 'q4' has different {what}",)


def test_budgets_that_differ_are_named_once_for_all_runs_that_they_concern():
    rows = rows_of([True] * 5)
    wide = [finished_run(name, rows, method="text_mas", max_new_tokens=4096, temperature=0) for name in ("w1", "w2")]
    found = compare_runs([ALONE, *wide, LATENT])
    assert len(found.pairs) == 3
    assert found.notes[0] == (
        "w1, w2 and alone: the settings differ: max_new_tokens 4096 and 2048, temperature 0 and 0.6"
    )


def test_settings_of_the_chat_template_that_differ_are_named():
    rows = rows_of([True] * 5)
    quiet = finished_run("quiet", rows, method="text_mas", chat_options={"enable_thinking": False})
    assert compare_runs([ALONE, quiet]).notes == (
        "quiet and alone: the settings differ: chat_options {'enable_thinking': False} and {}",
    )


def test_runs_that_nothing_is_paired_with_are_told_of():
    here, there = (finished_run(name, rows_of([True]), task=f"{name}/qa.jsonl") for name in ("..", "/abs"))
    found = compare_runs([ALONE, LATENT, here, there])
    assert [pair.run for pair in found.pairs] == ["latent"]
    assert found.notes == (".., /abs: not paired, because no other run answers the same task with the same model",)


def seeded(name, outcomes, **settings):
    return finished_run(name, rows_of(outcomes), method="latent_mas", **settings)


def test_runs_that_differ_in_their_seed_alone_share_a_line():
    runs = [
        seeded("s0", [True, True, True, True], seed=0, batch_size=4),
        seeded("other", [True, True, True, True], seed=1, latent_steps=3),
        seeded("s1", [True, True, False, False], seed=1, replicas=3),
        seeded("s2", [True, True, True, False], seed=2, experiment="mine"),
    ]
    [line] = compare_runs(runs).seeds
    assert (line.run, line.method, line.graph, line.task) == ("s0", "latent_mas", "sequential", "demo")
    assert line.seeds == (0, 1, 2)
    spread = line.accuracy
    assert (spread.seeds, spread.mean, spread.low, spread.high) == (3, 0.75, 0.5, 1.0)
    assert spread.standard_deviation == pytest.approx(0.25)


def test_a_run_that_is_there_twice_counts_once_over_seeds():
    twins = [seeded("a", [True], seed=0), seeded("b", [True], seed=0)]
    found = compare_runs(twins)
    assert found.seeds == ()
    assert "b and a: the same settings and seed, so counted as one over seeds" in found.notes
    [line] = compare_runs([*twins, seeded("c", [False], seed=1)]).seeds
    assert (line.seeds, line.accuracy.mean) == ((0, 1), 0.5)


def test_runs_without_a_scored_question_have_no_accuracy_over_seeds():
    outcomes_by_name = [("a", [True, True]), ("lost", [None, None]), ("c", [True, False])]
    runs = [seeded(name, outcomes, seed=seed) for seed, (name, outcomes) in enumerate(outcomes_by_name)]
    found = compare_runs(runs)
    [line] = found.seeds
    assert (line.run, line.seeds, line.accuracy.mean) == ("a", (0, 2), 0.75)
    assert "lost: all questions are unscored, so there is no accuracy (0 is none)" in found.notes
    assert compare_runs(runs[:2]).seeds == ()


def test_seeds_of_other_questions_or_another_graph_do_not_share_a_line():
    run = seeded("a", [True, False], seed=0)
    other_graph = replace(seeded("b", [True, False], seed=1), graph="roles: []")
    assert compare_runs([run, other_graph]).seeds == ()
    assert compare_runs([run, seeded("c", [True], seed=1)]).seeds == ()


def test_all_of_a_comparison_goes_into_json():
    found = compare_runs([ALONE, LATENT, finished_run("later", rows_of([True] * 5), seed=3)])
    told = json.loads(found.to_json())
    assert [run["name"] for run in told["runs"]] == ["alone", "latent", "later"]
    assert told["runs"][0]["accuracy"] == 0.4
    assert told["pairs"][0]["result"]["difference"] == pytest.approx(0.4)
    assert told["seeds"][0]["seeds"] == [0, 3]
    assert told["notes"] == list(found.notes)


def test_tables_have_a_line_for_each_run_pair_and_group_of_seeds():
    found = compare_runs([ALONE, LATENT, finished_run("later", rows_of([True] * 5), seed=3)])
    metrics = [run.metrics.to_dict() for run in found.runs]
    named = comparison_table(metrics, [run.name for run in found.runs])
    assert (named.row_count, len(named.columns)) == (3, len(comparison_table(metrics).columns) + 1)
    assert pairs_table(found.pairs).row_count == 2
    assert seeds_table(found.seeds).row_count == 1
