"""jobs/sweep.py: cells and grids, what is wrong with them, and a sweep that is stopped and gone on with."""

import json
import signal
from pathlib import Path

import pytest
import yaml

from evaluations import ROOT, evaluate, own_questions, rows, started
from jobs import sweep
from jobs.grids import expanded
from pipeline.config import RunConfig
from pipeline.records import Answer, Prediction, Score, Turn, Usage
from pipeline.runtime.facts import note
from tiny import save_tiny_model

CONTROLS = ROOT / "pipeline/presets/controls.yaml"
QUESTIONS = 40


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def cells_of(*argv: str) -> dict[str, dict]:
    """The settings of each cell that a command line asks for, as its run folder has them."""
    series = sweep.prepare(argv)
    return {name: request.folder.config.flat() for name, request in series.requests.items()}


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
    (cell,) = expanded([settings], {}, RunConfig().flat()).cells
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
        ("{cells: [{seed: 1}], seed: [1, 2]}", ["--seed has several values", "--cells sets 'seed'"]),
        ("{grid: {seed: [1]}, seed: [1, 2]}", ["--seed has several values", "--grid sets 'seed'"]),
        ("seed: [0, ten]", ["--seed", "Got value: ten"]),
        ("seed: []", ["--seed has no values"]),
        ("chat_options: [1, 2]", ["--chat-options"]),
        ("experiment: [a, b]", ["--experiment"]),
        ("latent_steps: [3, -1]", ["m-1: --latent-steps is -1"]),
        ("{method: single, graph: [sequential, circle]}", ["--graph 'circle' is unknown"]),
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
        (["--resume", "out", "--batch-size", "4,8"], "give --batch-size one value"),
        (["--grid", "{seed: [1]}", "--out", "out"], "exists"),
    ],
)
def test_what_does_not_go_with_an_earlier_sweep_is_refused(argv, words, model_dir, capsys):
    cells_of("--grid", "{seed: [1]}", "--model", str(model_dir), "--out", "out")
    assert sweep.main(argv) == 2
    assert words in capsys.readouterr().err


def test_flags_with_several_values_are_a_grid(model_dir, capsys):
    argv = ["--method", "single,text_mas,latent_mas", "--latent-steps", "0,10", "--limit", "2", "--seed", "3"]
    cells = cells_of(*argv, "--model", str(model_dir), "--out", "one")
    assert list(cells) == ["single", "text_mas", "latent_mas-m0", "latent_mas-m10"]
    assert {(flat["limit"], flat["seed"]) for flat in cells.values()} == {(2, 3)}
    assert "4 of the grid's 6 points" in capsys.readouterr().err
    assert cells_of("--resume", "one") == cells
    assert "points" not in capsys.readouterr().err


def test_lists_in_a_file_are_a_grid_which_a_flag_can_narrow(model_dir):
    Path("SWEEP.yaml").write_text("{seed: [0, 1], task: [demo], alignment: [ridge, random], latent_steps: '2,3'}")
    argv = ["--config", "SWEEP.yaml", "--model", str(model_dir), "--alignment", "identity", "--limit", "2"]
    cells = cells_of(*argv, "--out", "one")
    assert list(cells) == ["m2-demo-seed0", "m2-demo-seed1", "m3-demo-seed0", "m3-demo-seed1"]
    assert {flat["alignment"] for flat in cells.values()} == {"identity"}


def test_a_path_with_a_comma_in_its_name_is_one_path(tmp_path):
    folder = save_tiny_model(tmp_path / "one,two")
    (flat,) = cells_of("--model", str(folder), "--seed", "1,1", "--limit", "2", "--out", "x").values()
    assert flat["model"] == str(folder)


def test_finished_cells_are_skipped_and_no_cluster_is_started_for_them(model_dir, monkeypatch, capsys):
    def refused(*_, **__):
        raise AssertionError("there is nothing to start it for")

    argv = ["--seed", "0,1", "--model", str(model_dir), "--limit", "2"]
    series = sweep.prepare([*argv, "--out", "out"])
    for request in series.requests.values():
        score = Score(correct=True, correct_lenient=True, prediction="1", prediction_lenient="1", reason="correct")
        turn = Turn(role="solver", text="1", finish="stop", usage=Usage(), seconds=1.0)
        answers = [Answer(question_id=one.question.id, turns=(turn,)) for one in request.assignments]
        pairs = zip(request.assignments, answers, strict=True)
        request.folder.append([Prediction.of(*pair, score, seconds=0, attempt=1) for pair in pairs])
        note(request.folder, run_id="r")
    monkeypatch.setattr("ray.init", refused)
    monkeypatch.setattr("pipeline.runtime.evaluate.is_told", lambda request: True)
    capsys.readouterr()
    assert sweep.main(["--resume", "out"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["num_questions"] == 4
    for words in ("2 of 2 runs were finished before", "cell 1/2 seed0: finished before, and skipped", "Comparison"):
        assert words in err


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
    assert "cell 1/2 brief: finished before, and skipped" in err
    assert (list(line["cells"]), line["num_questions"], line["num_unscored"]) == (["brief", "long"], 2 * QUESTIONS, 0)
    assert [sum(row["attempt"] == 1 for row in rows(f"out/{name}")) for name in line["cells"]] == [QUESTIONS, before]
