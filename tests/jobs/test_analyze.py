"""jobs/analyze.py on run folders, with a tiny model."""

import json
import string
from dataclasses import replace

import mlflow
import pytest

from finished import prediction, rows_of, run_folder
from jobs import analyze
from jobs.inside import subjects
from pipeline.config import CollaborationConfig
from pipeline.graphs import plan_for
from pipeline.runtime.finished import finished_folders, read_runs

OUTCOMES = [True, False, True, False]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def written(outcomes=OUTCOMES):
    """Rows of agents that write many different letters."""
    rows = [prediction(place, outcome) for place, outcome in enumerate(outcomes)]
    return [replace(row, turns=tuple(replace(turn, text=string.ascii_letters) for turn in row.turns)) for row in rows]


def runs_in(folder, model, *, rows=None):
    """What all figures need: methods, alignments, and two numbers of latent steps."""
    cells = {
        "text": {"method": "text_mas"},
        "latent": {"method": "latent_mas", "latent_steps": 3},
        "identity": {"method": "latent_mas", "latent_steps": 3, "alignment": "identity"},
        "m5": {"method": "latent_mas", "latent_steps": 5},
    }
    for name, settings in cells.items():
        run_folder(folder / name, rows or written(), model=str(model), **settings)
    return folder


def analyzed(capsys, *argv):
    code = analyze.main([*map(str, argv)])
    out, err = capsys.readouterr()
    return code, json.loads(out.splitlines()[-1]) if out else {}, err


def test_all_figures_are_drawn_written_and_logged(tmp_path, model_dir, capsys):
    runs_in(tmp_path / "runs", model_dir)
    code, told, _ = analyzed(capsys, "runs", "--out", "figures", "--questions", 2)
    assert code == 0
    assert list(told["figures"]) == [
        "figure-4-speed-and-tokens",
        "figure-5-thoughts-and-tokens",
        "figure-6-drift-demo",
        "figure-7-alignment",
        "figure-8-latent-steps",
    ]
    assert told["left_out"] == []
    files = [name for figure in told["figures"].values() for name in figure["files"]]
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == sorted(
        [*files, "captions.json", "figures.md"]
    )
    numbers = told["figures"]["figure-5-thoughts-and-tokens"]["numbers"]
    # three agents, two questions, and of m the smallest one, as the usual one is not there
    assert (
        "18 thoughts, 52 distinct tokens, 18 of each used, 2 questions" in (tmp_path / "figures/figures.md").read_text()
    )
    assert 0 <= numbers["demo/coverage/full/thoughts"] <= 1
    assert told["figures"]["figure-6-drift-demo"]["numbers"]["tokens/centre"] == 0
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    [run] = client.search_runs([client.get_experiment_by_name("latentmas/analysis").experiment_id])
    assert (run.info.run_name, run.data.tags["kind"]) == ("figures", "analysis")
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {*files, "captions.json", "figures.md"}


def test_figures_that_lack_runs_are_left_out_with_what_is_missing(tmp_path, model_dir, capsys):
    run_folder(tmp_path / "latent", rows_of(OUTCOMES), method="latent_mas", latent_steps=2, model=str(model_dir))
    run_folder(tmp_path / "broken_off", rows_of([True]), finished=False)
    code, told, err = analyzed(capsys, ".", "--out", "figures", "--questions", 1, "--no-mlflow")
    assert code == 0
    assert list(told["figures"]) == ["figure-6-drift-demo"]
    assert [line.split(":")[0] for line in told["left_out"]] == [
        "figure 5 of demo with tiny-llama",
        "figure 4",
        "figure 7",
        "figure 8",
    ]
    assert all(line in err for line in [*told["left_out"], f"{tmp_path / 'broken_off'}: not finished, so left out"])
    assert not (tmp_path / "mlflow.db").exists()


def test_a_model_that_has_moved_costs_its_own_figures_or_is_named(tmp_path, model_dir, capsys):
    runs_in(tmp_path / "runs", "/gone/tiny-llama")
    flags = ("--out", "figures", "--questions", 1, "--no-mlflow")
    code, told, err = analyzed(capsys, "runs", *flags)
    assert code == 0
    assert "left out, figures 5 and 6 with /gone/tiny-llama: --model '/gone/tiny-llama' is no folder" in err
    assert len(told["figures"]) == 3
    code, told, _ = analyzed(capsys, "runs", *flags, "--model", model_dir)
    assert (code, len(told["figures"]), told["left_out"]) == (0, 5, [])


def test_empty_texts_cost_figure_5_alone(tmp_path, model_dir, capsys):
    runs_in(tmp_path / "runs", model_dir, rows=[replace(row, turns=()) for row in written()])
    code, told, err = analyzed(capsys, "runs", "--out", "figures", "--questions", 1, "--no-mlflow")
    assert (code, len(told["figures"])) == (0, 4)
    assert "left out, figure 5 of demo" in err


def test_a_graph_that_has_nobody_think_is_not_looked_into(tmp_path, model_dir, capsys):
    graph = plan_for(CollaborationConfig()).graph
    still = replace(graph, roles=tuple(replace(role, latent_steps=0) for role in graph.roles if not role.answers))
    still = replace(still, roles=(*still.roles, graph.roles[-1]))
    (tmp_path / "still.yaml").write_text(still.to_yaml())
    run_folder(tmp_path / "run", written(), model=str(model_dir), method="latent_mas", graph="still.yaml")
    code, _, err = analyzed(capsys, "run", "--out", "figures", "--no-mlflow")
    assert code == 2
    assert "left out, figures 5 and 6: they need a run of latent_mas" in err


def test_tasks_of_one_name_have_a_figure_6_each(tmp_path, model_dir, capsys):
    for folder in "xy":
        run_folder(
            tmp_path / folder, written(), model=str(model_dir), method="latent_mas", task=f"{folder}/my test.jsonl"
        )
    _, told, _ = analyzed(capsys, "x", "y", "--out", "figures", "--questions", 1, "--no-mlflow")
    names = ["figure-6-drift-x-my-test.jsonl", "figure-6-drift-y-my-test.jsonl"]
    assert list(told["figures"]) == names
    assert all((tmp_path / "figures" / f"{name}.png").is_file() for name in names)


def test_a_dead_tracker_costs_a_warning_and_no_figure(tmp_path, model_dir, capsys):
    runs_in(tmp_path / "runs", model_dir)
    code, told, err = analyzed(
        capsys, "runs", "--out", "figures", "--questions", 1, "--tracking-uri", "http://user:secret@127.0.0.1:9"
    )
    assert (code, len(told["figures"])) == (0, 5)
    assert "warning: the figures are not in MLflow (http://***@127.0.0.1:9)" in err
    assert "secret" not in err


def test_figures_drawn_again_take_the_place_of_those_before(tmp_path, model_dir, capsys):
    run_folder(tmp_path / "latent", written(), method="latent_mas", latent_steps=3, model=str(model_dir))
    pictures = []
    for _ in range(2):
        assert analyzed(capsys, "latent", "--out", "figures", "--questions", 1, "--no-mlflow")[0] == 0
        pictures.append({path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()})
    assert pictures[0] == pictures[1]


def test_the_usual_run_is_looked_at_beside_texts_on_the_same_questions(tmp_path):
    settings = {
        "a": {"method": "latent_mas", "latent_steps": 40},
        "b": {"method": "latent_mas", "graph": "hierarchical"},
        "c": {"method": "latent_mas"},
        "d": {"method": "latent_mas", "memory": "shuffled"},
        "e": {"method": "text_mas", "graph": "hierarchical"},
        "f": {"method": "text_mas"},
    }
    for name, one in settings.items():
        run_folder(tmp_path / name, rows_of(OUTCOMES), **one)
    run_folder(tmp_path / "g", rows_of([True]), method="latent_mas", task="gsm8k")
    run_folder(tmp_path / "h", rows_of(OUTCOMES), method="text_mas", task="gsm8k")
    runs = list(read_runs(finished_folders(tmp_path)[0]).values())
    found = subjects(runs)
    assert [(one.task, one.latent.name, one.text and one.text.name) for one in found] == [
        ("demo", "c", "f"),
        ("gsm8k", "g", None),
    ]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["nowhere", "--out", "o"], "'nowhere' holds no finished run"),
        (
            ["alone", "--out", "o"],
            "no figure can be drawn of these runs: figures 5 and 6: they need a run of latent_mas",
        ),
        (["alone", "--out", "alone/config.yaml"], "--out 'alone/config.yaml' can't be written"),
        (["alone", "--out", "o", "--questions", "0"], "--questions is 0; allowed: 1 or more"),
        (["alone", "--out", "o", "--points", "3"], "--points is 3; allowed: 10 or more"),
        (["alone", "--out", "o", "--model", "/no/model/here"], "--model '/no/model/here' is no folder"),
        (
            ["two", "--out", "o", "--model", "/m"],
            "--model '/m' can't stand for several models; the runs have /m/a, /m/b",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(argv, words, tmp_path, capsys):
    run_folder(tmp_path / "alone", rows_of([True, False]))
    for model in ("a", "b"):
        run_folder(tmp_path / "two" / model, rows_of([True]), method="latent_mas", model=f"/m/{model}")
    assert analyze.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err.splitlines()[-1]
    assert err.splitlines()[-1].startswith("analyze.py: error: ")
