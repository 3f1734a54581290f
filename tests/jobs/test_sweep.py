"""jobs/sweep.py: cells and grids, what is wrong with them, and a sweep that is stopped and gone on with."""

import signal
from pathlib import Path

import pytest
import yaml

from evaluations import ROOT, evaluate, own_questions, rows, started
from jobs import sweep
from jobs.sweep import expanded

CONTROLS = ROOT / "pipeline/presets/controls.yaml"
QUESTIONS = 40


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def cells_of(*argv: str) -> dict[str, dict]:
    """The settings of each cell that a command line asks for, as its run folder has them."""
    series = sweep.prepare(argv)
    return {name: request.folder.config.flat() for name, request in series.requests.items()}


def test_a_grid_is_every_combination_in_order_and_names_tell_what_differs():
    grid = {"method": ["text_mas", "latent_mas"], "latent_steps": [10, 20]}
    cells = expanded([], grid)
    assert [cell.name for cell in cells] == ["text_mas-m10", "text_mas-m20", "latent_mas-m10", "latent_mas-m20"]
    assert cells[3].settings == {"method": "latent_mas", "latent_steps": 20}


def test_every_cell_is_run_at_every_point_of_the_grid():
    cells = expanded([{"name": "real"}, {"memory": "none"}], {"seed": [0, 1]})
    assert [cell.name for cell in cells] == ["real-seed0", "real-seed1", "none-seed0", "none-seed1"]
    assert cells[2].settings == {"memory": "none", "seed": 0}


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"temperature": 0.5}, "temp0.5"),
        ({"model": "Qwen/Qwen3-4B", "graph": "my/duo.yaml"}, "Qwen3-4B-duo"),
        ({"chat_options": {"enable_thinking": False}}, "chat_options_enable_thinking_False"),
        ({}, "base"),
    ],
)
def test_names_can_be_folders(settings, name):
    (cell,) = expanded([settings], {})
    assert cell.name == name


def test_the_controls_are_five_cells_that_differ_in_the_control_alone(model_dir):
    cells = cells_of("--config", str(CONTROLS), "--model", str(model_dir), "--out", "out", "--batch-size", "3")
    controls = {name: (flat["memory"], flat["alignment"]) for name, flat in cells.items()}
    assert controls == {
        "real": ("real", "ridge"),
        "shuffled": ("shuffled", "ridge"),
        "none": ("none", "ridge"),
        "identity": ("real", "identity"),
        "random": ("real", "random"),
    }
    rest = [{**flat, "memory": "", "alignment": ""} for flat in cells.values()]
    assert rest == [rest[0]] * 5
    assert (rest[0]["method"], rest[0]["task"], rest[0]["batch_size"]) == ("latent_mas", "demo", 3)
    assert yaml.safe_load(CONTROLS.read_text())["model"] == "embedded"


def test_the_file_in_a_sweeps_folder_gives_the_same_sweep(model_dir):
    first = cells_of("--grid", "{seed: [3, 4]}", "--model", str(model_dir), "--limit", "2", "--out", "one")
    again = cells_of("--config", "one/sweep.yaml", "--out", "two")
    resumed = cells_of("--resume", "one")
    assert list(first) == ["seed3", "seed4"]
    assert first == again == resumed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("task: demo", ["--cells", "--grid"]),
        ("cells: [{latent_step: 3}]", ["latent_step3: unknown setting 'latent_step'"]),
        ("cells: [{latent_steps: -1}]", ["m-1: --latent-steps is -1"]),
        ("cells: [{latent_steps: ten}]", ["--latent-steps is 'ten'"]),
        ("cells: [{task: gsm}]", ["--task 'gsm' is unknown"]),
        ("cells: [{memory: real}, {memory: real}]", ["'real'", "a name of its own"]),
        ("cells: [{name: ../x, seed: 1}]", ["'../x'", "folder"]),
        ("cells: [3]", ["--cells", "3"]),
        ("cells: 3", ["--cells", "3"]),
        ("grid: {seed: 3}", ["--grid", "3"]),
        ("grid: {seed: []}", ["--grid", "'seed'"]),
        ("grid: {seeds: [1]}", ["unknown setting 'seeds'"]),
        ("{cells: [{seed: 1}], grid: {seed: [2]}}", ["--grid", "--cells", "'seed'"]),
        ("{latent_step: 3, cells: [{seed: 1}]}", ["SWEEP.yaml", "latent_step"]),
        ("{method: single, cells: [{memory: none}]}", ["none: --memory"]),
        ("- 1", ["SWEEP.yaml"]),
        ("cells: {", ["SWEEP.yaml"]),
    ],
)
def test_a_bad_sweep_ends_in_one_line_and_leaves_nothing_behind(text, words, model_dir, capsys, tmp_path):
    Path("SWEEP.yaml").write_text(text)
    assert sweep.main(["--config", "SWEEP.yaml", "--model", str(model_dir), "--out", "out"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    line = captured.err.strip().splitlines()[-1]
    assert [word for word in ["sweep.py: error: ", *words] if word not in line] == []
    assert captured.err.count("sweep.py: error") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["SWEEP.yaml"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--resume", "nowhere"], "'nowhere' is no sweep's folder"),
        (["--resume", ""], "--resume is ''"),
        (["--resume", "x" * 300], "no sweep's folder"),
        (["--resume", "out", "--grid", "{seed: [1]}"], "leave --grid out"),
        (["--resume", "out", "--out", "x"], "leave --out out"),
        (["--resume", "out", "--latent-steps", "4"], "seed1: --latent-steps was 10 and is now 4"),
        (["--grid", "{seed: [1]}", "--out", "out"], "exists"),
    ],
)
def test_what_does_not_go_with_an_earlier_sweep_is_refused(argv, words, model_dir, capsys):
    cells_of("--grid", "{seed: [1]}", "--model", str(model_dir), "--out", "out")
    assert sweep.main(argv) == 2
    assert words in capsys.readouterr().err


@pytest.mark.ray
def test_a_stopped_sweep_goes_on_with_what_is_missing(ray_head, model_dir, shared_store, tmp_path):
    asked = own_questions(tmp_path, [f"{number}+1?" for number in range(QUESTIONS)])
    settings = [*asked, "--model", str(model_dir), *shared_store, "--method", "text_mas"]
    settings += ["--cells", "[{name: brief, max_new_tokens: 2}, {name: long, max_new_tokens: 60, batch_size: 1}]"]
    address = ["--address", ray_head.address]
    with started(tmp_path / "out", *address, *settings, job="sweep.py") as run:
        run.part("long").wait_for_rows()
        run.process.send_signal(signal.SIGINT)
        code, _, err = run.end()
    assert code == 130, err
    assert "Traceback" not in err
    assert f"go on with: python jobs/sweep.py --resume {tmp_path / 'out'}" in err
    assert "cell 2/2 long" in err
    before = len(rows("out/long"))
    assert (len(rows("out/brief")), 0 < before < QUESTIONS) == (QUESTIONS, True)
    code, line, err = evaluate("--resume", "out", *address, "--batch-size", "20", job="sweep.py")
    assert code == 0, err
    assert f"cell 1/2 brief: {QUESTIONS} questions, {QUESTIONS} of them answered before" in err
    assert (list(line["cells"]), line["num_questions"], line["num_unscored"]) == (["brief", "long"], 2 * QUESTIONS, 0)
    assert [sum(row["attempt"] == 1 for row in rows(f"out/{name}")) for name in line["cells"]] == [QUESTIONS, before]
