"""The paper's table from runs: who stands where, what is better, and the paper's numbers beside ours."""

import pytest

from compared import QWEN, measured, reported, row, texts, three_methods
from finished import finished_run, rows_of
from pipeline.presets.paper import published_results


def test_the_papers_improvements_come_again_from_its_numbers():
    [grid] = reported(three_methods()).paper
    accuracy, token, speed = (row(grid, what) for what in ("Acc. %", "Token", "Speed s"))
    assert [cell.paper for cell in accuracy] == ["95.4", "96.4", "98.6", "+2.2"]
    # Our tokens and seconds are the paper's here, so the improvements are.
    assert texts(token) == ["724", "2420", "581", "↓76.0 %"]
    assert texts(speed) == ["369", "2874", "512", "×5.6"]
    assert [cell.paper for cell in (token[3], speed[3])] == ["↓76.0 %", "×5.6"]


@pytest.mark.parametrize("graph", ["sequential", "hierarchical"])
def test_every_published_cell_finds_its_place(graph):
    published = [one for one in published_results() if one.cell.graph == graph and one.method == "latent_mas"]
    for one in published:
        run = finished_run(
            "r", rows_of([True]), method="latent_mas", task=one.cell.task, model=one.cell.model, graph=graph
        )
        [grid] = reported([run]).paper
        assert row(grid, "Acc. %")[2].numbers[0].paper == one.accuracy


def test_a_folder_named_as_the_papers_model_counts_as_it_and_another_model_does_not():
    names = ("/models/Qwen3-4B", "/models/Qwen3-4B-Base", "somebody/Qwen3-4B")
    here, other, foreign = (reported(three_methods(model=name)).paper[0] for name in names)
    assert row(here, "Acc. %")[0].paper == "95.4"
    for grid in (other, foreign):
        assert {cell.paper for cell in row(grid, "Acc. %")} == {""}
    assert "arXiv" in here.caption
    assert "arXiv" not in other.caption


def test_a_graph_of_ones_own_has_no_number_in_the_paper_whatever_its_name(tmp_path):
    graph = tmp_path / "sequential.yaml"
    graph.write_text(three_methods()[2].graph)
    [grid] = reported(three_methods(graph=str(graph))).paper
    assert [cell.paper for cell in row(grid, "Acc. %")] == ["95.4", "", "", ""]


def test_the_improvement_has_interval_and_chance_against_both_other_methods():
    [grid] = reported(three_methods()).paper
    gain = row(grid, "Acc. %")[3]
    assert gain.shown == "+70.0"  # nine against two of ten
    assert gain.notes == ("p = 0.016", "vs. Single +40.0, p = 0.12")  # 2 / 2^7 and 2 / 2^4
    against = {number.against: number for number in gain.numbers}
    assert (against["text_mas"].value, against["text_mas"].p_value) == (pytest.approx(70), pytest.approx(2 / 2**7))
    assert against["text_mas"].low < 70 < against["text_mas"].high
    assert against["single"].value == pytest.approx(40)


def test_the_better_one_is_bold_and_accuracy_only_if_it_is_hardly_chance():
    runs = three_methods()
    chance = [
        runs[0],
        runs[1],
        measured("latent", [True] * 4 + [False] * 6, 581, 512, model=QWEN, task="arc_easy", method="latent_mas"),
    ]
    sure, unsure = (reported(given).paper[0] for given in (runs, chance))
    assert [cell.bold for cell in row(sure, "Acc. %")] == [False, False, True, False]
    assert [cell.bold for cell in row(unsure, "Acc. %")] == [False, False, False, False]
    assert row(unsure, "Acc. %")[3].shown == "+20.0†"
    assert [cell.bold for cell in row(unsure, "Token")] == [False, False, True, False]


def test_a_worse_latent_run_leaves_the_bold_to_the_other_and_says_how_much_worse():
    _, text, latent = three_methods()
    swapped = [
        measured("text", [True] * 9 + [False], 100, 10, model=QWEN, task="arc_easy", method="text_mas"),
        measured("latent", [True] * 2 + [False] * 8, 150, 40, model=QWEN, task="arc_easy", method="latent_mas"),
    ]
    [grid] = reported(swapped).paper
    assert [cell.bold for cell in row(grid, "Acc. %")] == [False, True, False, False]
    assert texts(row(grid, "Token")) == ["–", "100", "150", "↑50.0 %"]
    assert row(grid, "Speed s")[3].shown == "×0.25"


def test_equal_numbers_are_neither_bold_nor_marked():
    same = [measured(name, [True, False], 5, 1, method=name) for name in ("text_mas", "latent_mas")]
    [grid] = reported(same).paper
    assert not any(cell.bold or cell.mark for what in ("Acc. %", "Token", "Speed s") for cell in row(grid, what))
    assert [row(grid, what)[3].text for what in ("Acc. %", "Token", "Speed s")] == ["+0.0", "0.0 %", "×1.0"]


def test_a_missing_method_leaves_dashes():
    single, text, latent = three_methods()
    assert texts(row(reported([single]).paper[0], "Acc. %")) == ["50.0", "–", "–", "–"]
    assert texts(row(reported([latent]).paper[0], "Token")) == ["–", "–", "581", "–"]


def test_graphs_and_models_have_blocks_of_their_own_and_a_single_agent_stands_in_all_of_its_model():
    runs = [
        *three_methods(),
        finished_run("h", rows_of([True] * 10), method="latent_mas", graph="hierarchical", model=QWEN, task="arc_easy"),
        finished_run("big", rows_of([True] * 10), method="latent_mas", model="Qwen/Qwen3-14B", task="arc_easy"),
    ]
    grids = reported(runs[::-1]).paper
    assert [grid.title for grid in grids] == ["Sequential, Qwen3-4B", "Hierarchical, Qwen3-4B", "Sequential, Qwen3-14B"]
    assert [texts(row(grid, "Acc. %"))[0] for grid in grids] == ["50.0", "50.0", "–"]
    assert {number.graph for number in grids[1].numbers} == {"hierarchical"}


def test_chained_experts_are_another_graph():
    runs = [
        finished_run(experts, rows_of([True]), method="latent_mas", graph="hierarchical", experts=experts)
        for experts in ("parallel", "chained")
    ]
    titles = [grid.title for grid in reported(runs).paper]
    assert titles == ["Hierarchical, embedded", "Hierarchical-chained, embedded"]


def test_what_no_team_answers_stands_in_the_first_block_alone():
    alone = finished_run("alone", rows_of([True]), task="gsm8k")
    teams = [finished_run(g, rows_of([True]), method="latent_mas", graph=g) for g in ("hierarchical", "sequential")]
    first, second = reported([alone, *teams]).paper
    assert [line.cells[0].text for line in first.rows if line.begins] == ["gsm8k", "demo"]
    assert [line.cells[0].text for line in second.rows if line.begins] == ["demo"]


def test_seeds_are_put_together():
    shares = ([True] * 6 + [False] * 4, [True] * 8 + [False] * 2)
    runs = [measured(f"l{s}", share, 10 + 2 * s, 5, method="latent_mas", seed=s) for s, share in enumerate(shares)]
    text = measured("t", [False] * 10, 44, 10, method="text_mas")
    [grid] = reported([*runs, text]).paper
    accuracy, token, speed = (row(grid, what) for what in ("Acc. %", "Token", "Speed s"))
    assert accuracy[2].shown == "70.0 ± 14.1"
    assert (accuracy[2].interval, accuracy[2].notes) == ("", ("2 seeds",))
    assert accuracy[3].text == "+70.0"
    assert (token[2].shown, token[3].shown) == ("11 ± 1.4", "↓75.0 %")
    assert speed[3].shown == "×2.0"
    assert accuracy[2].numbers[0].seeds == 2


def test_seeds_with_as_many_right_answers_have_no_difference():
    shares = [[True, False, False], [False, True, False], [False, False, True]]
    runs = [measured(f"l{s}", [True, *share], 1, 1, method="latent_mas", seed=s) for s, share in enumerate(shares)]
    runs += [measured(f"t{s}", [True, *shares[0]], 1, 1, method="text_mas", seed=s) for s in range(3)]
    [grid] = reported(runs).paper
    assert row(grid, "Acc. %")[3].shown == "+0.0"


def test_other_ways_to_run_a_method_have_rows_of_their_own_below_the_plain_one():
    runs = three_methods()
    shared = {"method": "latent_mas", "model": QWEN, "task": "arc_easy"}
    others = [
        measured("none", [False] * 10, 300, 300, memory="shuffled", **shared),
        measured("m40", [True] * 10, 600, 600, latent_steps=40, **shared),
        measured("m20", [True] * 10, 590, 550, latent_steps=20, **shared),
    ]
    [grid] = reported([*others, *runs]).paper
    heads = [line.cells[0].text for line in grid.rows if line.begins]
    assert heads == ["arc_easy", "LatentMAS m=20", "LatentMAS m=40", "LatentMAS memory shuffled"]
    assert texts(row(grid, "Acc. %", 1)) == ["", "", "100.0", "+80.0"]
    assert [row(grid, "Acc. %", place)[2].paper for place in range(4)] == ["98.6", "98.6", "98.6", ""]


def test_a_control_is_called_one_even_where_nothing_else_is_shown():
    [grid] = reported([finished_run("c", rows_of([True]), method="latent_mas", alignment="identity")]).paper
    assert "LatentMAS alignment identity" in grid.rows[0].cells[0].below


def test_lenient_accuracy_has_a_row_if_wanted():
    runs = three_methods()
    assert "Lenient %" not in [line.cells[1].text for line in reported(runs).paper[0].rows]
    [grid] = reported(runs, lenient=True).paper
    assert texts(row(grid, "Lenient %")) == ["50.0", "20.0", "90.0", "+70.0"]
    assert row(grid, "Lenient %")[3].numbers[0].metric == "accuracy_lenient_gain"


def test_unscored_questions_are_told_and_a_run_without_a_score_has_no_accuracy():
    text = finished_run("t", rows_of([True, None, False, True]), method="text_mas")
    lost = finished_run("l", rows_of([None] * 4), method="latent_mas")
    [grid] = reported([text, lost]).paper
    assert grid.rows[0].cells[0].interval == "n = 4, 5 unscored"
    accuracy = row(grid, "Acc. %")
    assert texts(accuracy) == ["–", "66.7", "–", "–"]
    assert accuracy[1].numbers[0].n == 3
    assert accuracy[3].notes == ("no scored question in common",)


def test_an_improvement_on_part_of_the_questions_says_on_how_many():
    text = finished_run("t", rows_of([True, None, False, True]), method="text_mas")
    latent = finished_run("l", rows_of([True] * 4), method="latent_mas")
    [grid] = reported([text, latent]).paper
    assert "on 3 questions" in row(grid, "Acc. %")[3].notes


def test_tokens_and_seconds_of_nothing_have_no_improvement():
    runs = [measured("t", [None], 0, 0, method="text_mas"), measured("l", [None], 0, 0, method="latent_mas")]
    [grid] = reported(runs).paper
    assert [row(grid, what)[3].text for what in ("Token", "Speed s")] == ["–", "–"]
