"""Figures of what goes on inside: thoughts beside tokens, and hidden states before and after alignment."""

from dataclasses import replace

import numpy as np
import pytest

from pictures import lines, words
from pipeline.reports.figures.clouds import Clouds, clouds_figure, enough
from pipeline.reports.figures.drifting import Trail, Trails, drift_figure

SIZE = 12


def cloud(count, seed=0, *, away=0.0):
    return np.random.default_rng(seed).normal(size=(count, SIZE)) + away


def clouds(thoughts, tokens=None, **more):
    told = {"model": "embedded", "task": "gsm8k", "graph": "sequential", "latent_steps": 10, "questions": 4, **more}
    return Clouds(thoughts_ND=thoughts, tokens_MD=cloud(120) if tokens is None else tokens, **told)


def coverages(drawing, task="gsm8k"):
    names = ("thoughts", "tokens", "random")
    return {
        space: [drawing.numbers[f"{task}/coverage/{space}/{name}"] for name in names] for space in ("full", "plane")
    }


def test_thoughts_among_the_tokens_cover_them_as_other_tokens_do():
    among = coverages(clouds_figure([clouds(cloud(90, seed=1))], points=1000))
    assert among["full"][0] == pytest.approx(among["full"][1], abs=0.1)
    assert among["full"][0] > 0.85


def test_thoughts_elsewhere_cover_nothing_in_all_dimensions_and_in_the_plane():
    away = coverages(clouds_figure([clouds(cloud(90, seed=1, away=20))], points=1000))
    assert (away["full"][0], away["plane"][0]) == (0, 0)
    assert min(away["full"][1], away["plane"][1]) > 0.85
    assert away["full"][2] == 0


@pytest.mark.parametrize(("points", "used"), [(1000, 60), (25, 25)])
def test_as_many_thoughts_as_tokens_are_used_and_said(points, used):
    drawn = clouds_figure([clouds(cloud(90, seed=1))], points=points)
    kinds = [line["kind"] for line in lines(drawn)]
    assert (kinds.count("token"), kinds.count("thought")) == (used, used)
    assert drawn.numbers["gsm8k/coverage/full/points"] == used
    assert f"90 thoughts, 120 distinct tokens, {used} of each used, 4 questions" in drawn.caption
    assert f"latent thoughts ({used})" in words(drawn)


def test_every_task_has_a_row_and_every_model_a_name():
    rows = [clouds(cloud(20, seed=1)), clouds(cloud(20, seed=2), task="/my/qa.jsonl", model="/m/big")]
    drawn = clouds_figure(rows, points=50)
    assert {"SmolLM2-135M-Instruct (embedded)/gsm8k", "big/qa.jsonl"} <= set(words(drawn))
    assert {(line["model"], line["task"]) for line in lines(drawn)} >= {("big", "qa.jsonl")}


def test_tasks_of_one_name_have_numbers_of_their_own():
    two = [clouds(cloud(20), task=f"{folder}/test.jsonl") for folder in "xy"]
    drawn = clouds_figure(two, points=100)
    assert {name.rpartition("/coverage")[0] for name in drawn.numbers} == {"x/test.jsonl", "y/test.jsonl"}
    assert {line["task"] for line in lines(drawn)} == {"x/test.jsonl", "y/test.jsonl"}


def test_too_few_tokens_or_thoughts_have_no_coverage():
    assert enough(clouds(cloud(6), cloud(12)))
    assert not enough(clouds(cloud(6), cloud(11)))
    assert not enough(clouds(cloud(5), cloud(12)))


def trail(seed, *, away=8.0):
    fed = cloud(40, seed)
    return Trail(
        first_KD=cloud(1, 9),
        before_ND=fed[::-1],
        hidden_ND=fed * away,
        fed_ND=fed,
        hidden_cosine=0.25,
        fed_cosine=0.5,
    )


TRAILS = Trails(
    model="/m/big",
    task="gsm8k",
    graph="sequential",
    latent_steps=10,
    questions=4,
    tied=False,
    tokens_MD=cloud(60),
    tokens_cosine=0.75,
    sides={"ridge": trail(1), "identity": trail(2, away=2.0)},
)


def test_drift_is_told_of_both_alignments_beside_the_tokens():
    drawn = drift_figure(TRAILS, points=1000, label="gsm8k")
    assert drawn.name == "figure-6-drift-gsm8k"
    numbers = drawn.numbers
    assert numbers["ridge/hidden/norm"] == pytest.approx(8 * numbers["ridge/fed/norm"])
    assert numbers["identity/hidden/norm"] == pytest.approx(2 * numbers["identity/fed/norm"])
    assert numbers["tokens/centre"] == 0
    assert numbers["ridge/hidden/values"] > numbers["identity/hidden/values"] > numbers["identity/fed/values"]
    assert (numbers["tokens/cosine"], numbers["ridge/fed/cosine"], numbers["ridge/hidden/cosine"]) == (0.75, 0.5, 0.25)
    assert {"length", "spread", "beyond", "0.75"} <= set(words(drawn))
    assert "big" in drawn.caption
    assert "40 latent steps of each alignment (4 questions of gsm8k, graph sequential, m = 10)" in drawn.caption


def test_densities_are_densities_and_every_point_is_in_the_table():
    table = lines(drift_figure(TRAILS, points=1000))
    curve = [(float(line["x"]), float(line["y"])) for line in table if line["panel"] == "values"]
    assert len(curve) == 2 * 4 * 91
    x, y = np.array(curve[:91]).T
    assert 0.8 < float(np.trapezoid(y, x)) < 1.2
    kinds = [(line["alignment"], line["kind"]) for line in table if line["panel"] == "plane"]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        (side, kind): count
        for side in ("ridge", "identity")
        for kind, count in {"tokens": 60, "hidden": 40, "fed": 40, "before": 1}.items()
    }


def test_a_tied_model_is_said_to_have_the_identity_for_w_a():
    assert "W_a is the identity up to lambda" not in drift_figure(TRAILS, points=20).caption
    assert "W_a is the identity up to lambda" in drift_figure(replace(TRAILS, tied=True), points=20).caption


def test_lots_are_told_and_the_same_each_time():
    assert "of which at most 20 of each kind are drawn by lot" in drift_figure(TRAILS, points=20).caption
    assert "by lot" not in drift_figure(TRAILS, points=60).caption
    assert drift_figure(TRAILS, points=20) == drift_figure(TRAILS, points=20)
