"""Figures that finished runs alone can give: which runs they show, and the numbers that they draw."""

from dataclasses import replace

import pytest

from finished import finished_run, rows_of
from pictures import ids, lines, words
from pipeline.reports.figures import agents_figure, run_figures
from pipeline.reports.figures.alignment import alignment_figure
from pipeline.reports.figures.costs import costs_figure
from pipeline.reports.figures.steps import steps_figure
from pipeline.reports.stats import wilson_interval

HALF = [True, False] * 4


def run(name, outcomes=HALF, *, seconds=10.0, tokens=100.0, first=0, **settings):
    made = finished_run(name, rows_of(outcomes, first=first), **settings)
    return replace(made, metrics=replace(made.metrics, seconds=seconds, output_tokens_per_question=tokens))


def text(name="text", **settings):
    return run(name, method="text_mas", **settings)


def latent(name="latent", *args, **settings):
    return run(name, *args, method="latent_mas", **settings)


TRIO = [run("one", seconds=5.0), text(seconds=56.0, tokens=390.0), latent(seconds=10.0, tokens=130.0)]


def test_costs_are_drawn_with_how_many_times_textmas_takes():
    drawn = costs_figure(TRIO)
    assert [(line["method"], float(line["seconds"])) for line in lines(drawn)] == [
        ("single", 5),
        ("text_mas", 56),
        ("latent_mas", 10),
    ]
    assert drawn.numbers == {
        "sequential/demo/seconds": pytest.approx(5.6),
        "sequential/demo/output_tokens_per_question": pytest.approx(3.0),
    }
    assert {"×5.6", "×3.0", "Single", "TextMAS", "LatentMAS", "seconds of the run"} <= set(words(drawn))
    assert "m = 10" in drawn.caption
    assert "SmolLM2-135M-Instruct (embedded)" in drawn.caption
    assert "n = 8 questions a task; so few that" in drawn.caption


def test_every_graph_has_a_panel_of_its_own_beside_the_same_single_agent_and_the_usual_one_comes_first():
    other = [method(graph="hierarchical", seconds=1.0) for method in (text, latent)]
    table = lines(costs_figure([*other, *TRIO]))
    assert [(line["graph"], line["method"]) for line in table] == [
        (graph, method) for graph in ("sequential", "hierarchical") for method in ("single", "text_mas", "latent_mas")
    ]


@pytest.mark.parametrize(
    "other",
    [
        text(max_new_tokens=99),
        text(first=3),
        text(graph="hierarchical"),
        text(task="gsm8k"),
        text(memory="none"),
        text(model="/models/other"),
        text(roles={"solver": {"model": "/models/other"}}),
    ],
    ids=["budget", "questions", "graph", "task", "control", "model", "roles"],
)
def test_methods_on_other_terms_are_not_set_beside_each_other(other):
    assert costs_figure([TRIO[0], other, TRIO[2]]) is None


@pytest.mark.parametrize(
    ("teams", "alone"),
    [({"budget": "system"}, {}), ({"temperature": 0}, {"temperature": 0.0, "top_p": 0.5})],
    ids=["whose the budget is", "top_p of greedy decoding"],
)
def test_what_makes_no_difference_to_a_single_agent_does_not_keep_it_out(teams, alone):
    drawn = costs_figure([run("one", **alone), text(**teams), latent(**teams)])
    assert [line["method"] for line in lines(drawn)] == ["single", "text_mas", "latent_mas"]


def test_of_several_numbers_of_latent_steps_costs_show_the_usual_one():
    steps = [latent(f"m{m}", latent_steps=m, seconds=float(1 + m)) for m in (0, 40, 10, 20)]
    assert [line["latent_steps"] for line in lines(costs_figure([*steps, TRIO[1]]))] == ["0", "10"]
    assert [line["latent_steps"] for line in lines(costs_figure([*steps[:2], TRIO[1]]))] == ["0", "40"]


def test_runs_whose_seconds_were_not_taken_alike_are_named_in_the_caption():
    wide = replace(TRIO[1], execution={"batch_size": 32})
    narrow = replace(TRIO[2], execution={"batch_size": 8})
    assert "batch_size differs, so their seconds can't be compared" in costs_figure([wide, narrow]).caption


def before(outcomes, **settings):
    return latent("before", outcomes, alignment="identity", **settings)


def test_alignment_is_shown_with_intervals_and_a_paired_p():
    ours = [before([False] * 6 + [True] * 2), latent("after", [True] * 8)]
    drawn = alignment_figure(ours)
    found = {(line["alignment"], line["score"]): line for line in lines(drawn)}
    low, high = wilson_interval(2, 8)
    one = found["identity", "strict"]
    assert (float(one["low"]), float(one["high"])) == (pytest.approx(100 * low), pytest.approx(100 * high))
    assert (float(one["accuracy_percent"]), one["n"]) == (25, "8")
    # six questions that only one of the two has right: p = 2 / 2^6
    assert drawn.numbers["sequential/demo/strict/p"] == pytest.approx(0.03125)
    assert "p = 0.031" in words(drawn)
    assert "W_a is the identity up to lambda there" in drawn.caption


def test_a_model_that_does_not_tie_its_embeddings_is_not_said_to():
    ours = [before(HALF, model="/m/big"), latent("after", HALF, model="/m/big")]
    assert "identity up to lambda" not in alignment_figure(ours).caption
    assert "big ties its embeddings" in alignment_figure(ours, tied=["/m/big"]).caption


def test_unscored_questions_are_left_out_of_accuracy_and_pairs():
    drawn = alignment_figure([before([True, None, False, False]), latent("after", [True, True, True, None])])
    assert {(line["alignment"], line["n"]) for line in lines(drawn)} == {("identity", "3"), ("ridge", "3")}
    assert drawn.numbers["sequential/demo/strict/p"] == 1  # one pair differs


@pytest.mark.parametrize(
    "other",
    [
        before(HALF, latent_steps=20),
        before(HALF, seed=1),
        before(HALF, graph="hierarchical"),
        before(HALF, temperature=0.0),
        latent("random", HALF, alignment="random"),
        text(),
    ],
    ids=["m", "seed", "graph", "temperature", "random", "method"],
)
def test_alignments_are_compared_only_where_all_else_is_alike(other):
    assert alignment_figure([other, latent("after", HALF)]) is None


def test_how_the_same_questions_were_asked_for_keeps_no_runs_apart():
    ours = [before(HALF, limit=8, temperature=0), latent("after", HALF, temperature=0.0, top_p=0.5)]
    assert alignment_figure(ours) is not None


def test_roles_with_a_checkpoint_of_their_own_are_not_drawn_as_the_model_alone():
    other = {"solver": {"model": "/models/other"}}
    mixed = [latent(f"r{m}", [True] * 8, latent_steps=m, roles=other) for m in (0, 10, 20)]
    assert steps_figure(mixed) is None
    drawn = steps_figure([*mixed, *(latent(f"m{m}", HALF, latent_steps=m) for m in (0, 10))])
    assert {line["accuracy_percent"] for line in lines(drawn)} == {"50"}


def test_without_latent_steps_there_is_nothing_to_align():
    assert alignment_figure([before(HALF, latent_steps=0), latent("after", HALF, latent_steps=0)]) is None


def test_the_random_control_is_shown_where_it_was_run():
    ours = [before(HALF), latent("after", HALF), latent("random", HALF, alignment="random")]
    assert {line["alignment"] for line in lines(alignment_figure(ours))} == {"identity", "ridge", "random"}
    assert "random orthogonal" in words(alignment_figure(ours))


def ladder(steps, **settings):
    return [
        latent(f"m{m}", [True] * place + [False] * (8 - place), latent_steps=m, **settings)
        for place, m in enumerate(steps)
    ]


def test_accuracy_is_drawn_against_latent_steps_upwards():
    drawn = steps_figure(ladder([160, 0, 10]))
    strict = [line for line in lines(drawn) if line["score"] == "strict"]
    assert [(line["latent_steps"], line["accuracy_percent"]) for line in strict] == [
        ("0", "12.5"),
        ("10", "25"),
        ("160", "0"),
    ]
    assert {"0", "10", "160", "demo"} <= set(words(drawn))


def test_one_number_of_latent_steps_makes_no_ladder():
    assert steps_figure([latent(), before(HALF, latent_steps=20)]) is None


def test_runs_that_differ_in_more_than_latent_steps_stand_on_no_ladder():
    assert steps_figure([*ladder([10]), *ladder([20], seed=1)]) is None


def test_a_task_shows_its_longest_ladder():
    runs = [*ladder([0, 10], seed=1), *ladder([5, 10, 20])]
    assert {line["latent_steps"] for line in lines(steps_figure(runs))} == {"5", "10", "20"}


def test_many_tasks_are_drawn_in_rows_and_none_is_lost():
    tasks = ["arc_easy", "arc_challenge", "gsm8k", "medqa", "aime24", "aime25", "mbppplus"]
    few, many = (
        steps_figure([one for task in some for one in ladder([0, 10], task=task)]) for some in (tasks[:2], tasks)
    )
    assert [line["task"] for line in lines(many)[::4]] == tasks
    assert set(tasks) <= set(words(many))
    assert words(many).count("sequential: strict") == 3 * words(few).count("sequential: strict")


def test_the_same_runs_give_the_same_bytes_whatever_the_user_has_set_up():
    import matplotlib as mpl

    first = run_figures(TRIO)
    with mpl.rc_context({"font.size": 20, "svg.hashsalt": None, "axes.facecolor": "red"}):
        assert run_figures(TRIO) == first


def test_pictures_can_stand_in_one_page():
    drawings = run_figures([*TRIO, before(HALF), *ladder([0, 20])])
    assert [one.name for one in drawings] == [
        "figure-4-speed-and-tokens",
        "figure-7-alignment",
        "figure-8-latent-steps",
    ]
    assert all(one.svg.startswith("<svg") and one.png.startswith(b"\x89PNG") for one in drawings)
    assert not ids(drawings[0]) & ids(drawings[1])
    assert ids(drawings[0])


def test_drawing_leaves_no_trace_in_pyplot():
    from matplotlib import pyplot as plt

    before_it = plt.get_fignums()
    run_figures(TRIO)
    assert plt.get_fignums() == before_it


def test_runs_that_fit_no_figure_give_none():
    assert run_figures([]) == run_figures([TRIO[0]]) == []


def test_one_run_is_shown_agent_by_agent():
    told = {
        **latent().metrics.to_dict(),
        "seconds_per_agent": {"planner": 1.5, "solver": 4.25},
        "output_tokens_per_agent": {"planner": 0, "solver": 77},
    }
    drawn = agents_figure(told)
    assert lines(drawn) == [
        {"role": "planner", "seconds": "1.5", "tokens": "0"},
        {"role": "solver", "seconds": "4.25", "tokens": "77"},
    ]
    assert {"planner", "solver", "77", "4.2", "wall time (s)", "output tokens"} <= set(words(drawn))
    assert "m = 10 latent steps" in drawn.caption


def test_a_run_in_which_nobody_had_a_turn_has_a_figure_too():
    nobody = {**latent().metrics.to_dict(), "seconds_per_agent": {}, "output_tokens_per_agent": {}}
    assert agents_figure(nobody).csv == ""


@pytest.mark.parametrize("name", ["a$^$.jsonl", "_own.jsonl", "x$.jsonl", "<b>&.jsonl"])
def test_whatever_a_task_is_called_stands_in_every_figure(name):
    m0 = latent("m0", latent_steps=0, task=name)
    ours = [run("one", task=name), text(task=name), latent(task=name), before(HALF, task=name), m0]
    drawn = run_figures(ours)
    assert [name in [word.strip() for word in words(one)] for one in drawn] == [True] * 3


def test_a_role_may_be_called_anything():
    roles = {"seconds_per_agent": {"$\\no$": 1.0}, "output_tokens_per_agent": {"$\\no$": 1}}
    assert "$\\no$" in words(agents_figure({**latent().metrics.to_dict(), **roles}))


def test_tasks_and_models_of_one_name_are_told_apart():
    places = [("x/test.jsonl", "/m/a/big"), ("y/test.jsonl", "/m/a/big"), ("x/test.jsonl", "/m/b/big")]
    shared = [{"task": task, "model": model} for task, model in places]
    ours = [method(**one) for one in shared for method in (text, latent)]
    ours += [latent(latent_steps=0, **one) for one in shared] + [before(HALF, **one) for one in shared]
    told = {("a/big", "x/test.jsonl"), ("a/big", "y/test.jsonl"), ("b/big", "x/test.jsonl")}
    for drawn in run_figures(ours):
        assert {(line["model"], line["task"]) for line in lines(drawn)} == told
    assert len(costs_figure(ours).numbers) == 2 * len(places)
    assert len(alignment_figure(ours).numbers) == 2 * len(places)


def test_graphs_of_one_name_that_differ_have_panels_of_their_own():
    other = [replace(run, graph="roles: [another]") for run in (text(seconds=2.0), latent(seconds=1.0))]
    drawn = next(one for one in run_figures([*TRIO, *other]) if one.name.startswith("figure-4"))
    teams = [line for line in lines(drawn) if line["method"] == "text_mas"]
    assert [(line["graph"], float(line["seconds"])) for line in teams] == [
        ("sequential (1)", 56),
        ("sequential (2)", 2),
    ]


def test_the_caption_says_that_of_several_seeds_one_is_drawn():
    assert not any("several seeds" in drawn.caption for drawn in run_figures(TRIO))
    again = [replace(run, settings={**run.settings, "seed": 1}) for run in TRIO]
    assert all("Of several seeds the first" in drawn.caption for drawn in run_figures([*TRIO, *again]))
