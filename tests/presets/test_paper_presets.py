"""The paper's presets: the files are what the table gives, and say what the paper says."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from jobs.cli import config_of, config_parser, parse
from pipeline.benchmarks import BENCHMARKS
from pipeline.config import RunConfig
from pipeline.graphs import plan_for
from pipeline.presets.paper import CELLS, FOLDER, Cell, preset_text, published_results

PAPER_CAPS = {2048: ("arc_easy", "arc_challenge", "gsm8k"), 4096: ("medqa", "mbppplus", "humanevalplus")}
PAPER_CAPS |= {8192: ("gpqa_diamond",), 20000: ("aime24", "aime25")}


def test_there_are_nine_tasks_three_models_and_two_graphs():
    assert len(CELLS) == len(set(CELLS)) == 9 * 3 * 2
    assert {len({getattr(cell, part) for cell in CELLS}) for part in ("task", "model", "graph")} == {9, 3, 2}


def test_tasks_and_caps_are_those_of_the_benchmarks():
    caps = {name: benchmark.max_new_tokens for name, benchmark in BENCHMARKS.items() if name != "demo"}
    assert {cell.task: cell.cap for cell in CELLS} == caps


def test_the_files_are_what_the_table_gives_and_there_are_no_others():
    assert {path: path.read_text("utf-8") for path in FOLDER.rglob("*.yaml")} == {c.path: preset_text(c) for c in CELLS}


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: str(cell.path.relative_to(FOLDER)))
def test_a_preset_is_a_run_that_can_be_walked_with_the_papers_settings(cell):
    config = RunConfig.from_yaml(cell.path)
    assert (config.data.task, config.model.model, config.collaboration.graph) == (cell.task, cell.model, cell.graph)
    assert cell.task in PAPER_CAPS[config.decoding.max_new_tokens]
    assert (config.decoding.temperature, config.decoding.top_p) == (0.6, 0.95)
    team = config.collaboration
    assert (team.method, team.alignment, team.handover, team.memory) == ("latent_mas", "ridge", "full", "real")
    assert team.experts == "parallel"
    assert team.latent_steps in (0, 10, 20, 40, 80)
    assert set(plan_for(team).thinkers.values()) == {team.latent_steps}
    assert len(plan_for(team).graph.roles) == 4


def test_every_number_of_the_papers_latent_mas_has_its_preset_and_names_it():
    found = [result for result in published_results() if result.method == "latent_mas"]
    assert len(found) == 2 * (6 * 3 + 3 * 2)
    for result in found:
        text = result.cell.path.read_text("utf-8")
        assert f"Table {result.table}:" in text
        assert f"LatentMAS: {result.accuracy:g} %, {result.output_tokens_per_question:g} tokens" in text


def test_every_result_of_the_paper_has_its_three_numbers_for_three_methods():
    results = published_results()
    assert len({(result.cell, result.method) for result in results}) == len(results) == 3 * 48
    rows = (FOLDER / "results.csv").read_text("utf-8").splitlines()
    assert len(rows) == 1 + 3 * len(results)
    assert {cell.path.name for cell in CELLS} >= {result.cell.path.name for result in results}


def test_a_published_m_is_not_called_ours_and_ours_not_published():
    marks = {cell: cell.path.read_text("utf-8") for cell in CELLS}
    published = {cell for cell, text in marks.items() if "# published: " in text}
    assert {cell for cell, text in marks.items() if "# ours: the authors published no m" in text} == set(
        CELLS
    ) - published
    aime = {Cell(task="aime25", model="Qwen/Qwen3-14B", graph=graph) for graph in ("sequential", "hierarchical")}
    assert aime < published
    assert all(yaml.safe_load(marks[cell])["latent_steps"] == 10 for cell in aime)


def test_flags_win_over_a_preset():
    path = Cell(task="gsm8k", model="Qwen/Qwen3-4B", graph="hierarchical").path
    parser = config_parser("eval.py", "")
    values = parse(parser, ["--config", str(path), "--method", "text_mas", "--max-new-tokens", "64"])
    config = config_of(values)
    assert (config.collaboration.method, config.decoding.max_new_tokens) == ("text_mas", 64)
    assert (config.data.task, config.collaboration.graph) == ("gsm8k", "hierarchical")


def test_writing_the_presets_again_changes_nothing():
    before = {path: path.read_bytes() for path in FOLDER.rglob("*.yaml")}
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-m", "pipeline.presets.paper"], cwd=root, check=True, capture_output=True)
    assert {path: path.read_bytes() for path in FOLDER.rglob("*.yaml")} == before
