"""jobs/eval.py with several tasks: one folder, a run of its own in it for each."""

import json
import shutil
from pathlib import Path

import mlflow
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evaluations import evaluate, rows, texts
from jobs import eval
from jobs.plans import Series
from pipeline.benchmarks import BENCHMARKS, task_names
from pipeline.config import RunConfig
from pipeline.records import Answer, Prediction
from pipeline.reports import summarize
from pipeline.runtime.evaluate import RunEnd
from pipeline.runtime.results import RunFolder


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    """Two small tasks in the working folder, and the settings that choose them."""
    monkeypatch.chdir(tmp_path)
    sums = [{"question": f"{number}+1?", "answer": f"#### {number + 1}"} for number in range(3)]
    choice = {"question": "Wet?", "choices": {"text": ["Sand", "Water"], "label": ["A", "B"]}, "answerKey": "B"}
    pq.write_table(pa.Table.from_pylist(sums), "gsm8k.parquet")
    pq.write_table(pa.Table.from_pylist([{"id": f"w{n}", **choice} for n in range(2)]), "arc_easy.parquet")
    return ["--task", "gsm8k,arc_easy", "--data-dir", "."]


def test_every_task_gets_the_papers_number_of_tokens_unless_one_is_given(data, model_dir, monkeypatch):
    monkeypatch.setattr("pipeline.benchmarks.token_cap", {"gsm8k": 7, "arc_easy": 11}.get)
    for given, expected in ([], [7, 11]), (["--max-new-tokens", "5"], [5, 5]):
        series = eval.prepare([*data, "--model", str(model_dir), "--out", f"run{len(given)}", *given])
        assert isinstance(series, Series)
        assert list(series.requests) == ["gsm8k", "arc_easy"]
        assert [run.config.decoding.most_tokens for run in series.requests.values()] == expected
        kept = [RunFolder.open(series.folder / name).config for name in series.requests]
        assert [config.decoding.max_new_tokens for config in kept] == expected
        assert [config.data.task for config in kept] == ["gsm8k", "arc_easy"]
    assert RunConfig.from_yaml(series.folder / "config.yaml").data.task == "gsm8k,arc_easy"
    one = eval.prepare(["--task", "gsm8k", "--data-dir", ".", "--model", str(model_dir), "--out", "one"])
    assert one.config.decoding.most_tokens == 7


def test_all_tasks_are_those_of_others_and_not_the_demo():
    assert set(task_names("all")) == BENCHMARKS.keys() - {"demo"}


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--task", "gsm8k,gsm"], ["--task", "gsm"]),
        (["--task", "gsm8k,gsm8k"], ["gsm8k"]),
        (["--task", "gsm8k,arc_challenge"], ["arc_challenge: --data-dir", "arc_challenge.parquet"]),
        (["--model", "./nothing"], ["--model", "nothing"]),
        (["--memory", "shuffled", "--limit", "1"], ["gsm8k: --memory shuffled"]),
    ],
)
def test_nothing_is_made_before_all_tasks_have_been_checked(data, argv, words, model_dir, tmp_path, capsys):
    before = set(tmp_path.iterdir())
    assert eval.main([*data, "--model", str(model_dir), "--out", "run", *argv]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert [word for word in ["eval.py: error: ", *words] if word not in line] == []
    assert set(tmp_path.iterdir()) == before


def test_a_run_that_would_be_called_as_the_file_of_settings_is_refused_before_anything_is_made(
    data, model_dir, tmp_path, capsys
):
    Path("config.yaml.jsonl").write_text('{"question": "2+2?", "answer": "4", "kind": "number"}\n')
    before = set(tmp_path.iterdir())
    argv = ["--task", "config.yaml.jsonl,gsm8k", *data[2:], "--model", str(model_dir), "--out", "run"]
    assert eval.main(argv) == 2
    assert "a run can't be called 'config.yaml'" in capsys.readouterr().err
    assert set(tmp_path.iterdir()) == before


CODE = {"question": "Write f.", "answer": "def f(): return 1", "kind": "code", "tests": "assert f() == 1"}


def test_what_programs_are_locked_in_with_is_said_once_and_not_where_something_is_wrong(data, model_dir, capsys):
    for name in ("one", "two"):
        Path(f"{name}.jsonl").write_text(json.dumps(CODE) + "\n")
    for tasks in ("one.jsonl", "one.jsonl,two.jsonl"):
        good, bad = ["--model", str(model_dir), "--out", f"run{len(tasks)}"], ["--model", "./nothing", "--out", "run"]
        assert eval.main(["--task", tasks, *bad]) == 2
        err = capsys.readouterr().err
        assert err.startswith("eval.py: error: ")
        assert err.count("\n") == 1
        eval.prepare(["--task", tasks, *good])
        assert capsys.readouterr().err.count("programs are locked in with") == 1


def test_a_folder_that_cannot_be_written_in_is_one_line(data, model_dir, monkeypatch, capsys):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refuse)
    assert eval.main([*data, "--model", str(model_dir), "--out", "run"]) == 2
    assert capsys.readouterr().err == "eval.py: error: --out 'RUN' can't be written: Permission denied\n".replace(
        "RUN", str(Path("run").resolve())
    )


def test_a_file_of_ones_own_is_a_task_among_others_and_gives_folder_and_experiment_its_short_name(data, model_dir):
    Path("my").mkdir()
    Path("my/quiz.jsonl").write_text('{"question": "2+2?", "answer": "4", "kind": "number"}\n')
    series = eval.prepare(["--task", "gsm8k,my/quiz.jsonl", *data[2:], "--model", str(model_dir), "--out", "run"])
    assert list(series.requests) == ["gsm8k", "quiz"]
    experiments = [request.config.tracking.experiment for request in series.requests.values()]
    assert experiments == [None, "latentmas/quiz"]
    assert series.requests["quiz"].config.data.task == str(Path("my/quiz.jsonl").resolve())


@pytest.mark.parametrize(
    ("folder", "flags", "words"),
    [
        ("run", ["--task", "gsm8k"], "--task was 'gsm8k,arc_easy' and is now 'gsm8k'"),
        ("run/gsm8k", ["--task", "gsm8k,arc_easy"], "--task was 'gsm8k' and is now 'gsm8k,arc_easy'"),
        ("run", ["--seed", "1"], "gsm8k: --seed was 0 and is now 1"),
    ],
)
def test_a_resumed_series_keeps_its_tasks_and_settings(data, folder, flags, words, model_dir, capsys):
    eval.prepare([*data, "--model", str(model_dir), "--out", "run"])
    assert eval.main(["--resume", folder, *flags]) == 2
    assert words in capsys.readouterr().err


def test_a_series_in_which_nothing_could_begin_leaves_no_folder_behind(data, model_dir, tmp_path, capsys):
    before = set(tmp_path.iterdir())
    assert eval.main([*data, "--model", str(model_dir), "--out", "run", "--tracking-uri", "nonsense://x"]) == 2
    assert "eval.py: error: gsm8k: --tracking-uri 'nonsense://x'" in capsys.readouterr().err
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("unscored", "mean", "left_out"),
    [((0, 0), 0.6, []), ((0, 9), 0.6, []), ((0, 10), 0.8, ["b"]), ((10, 10), None, ["a", "b"])],
)
def test_a_task_in_which_nothing_is_scored_is_not_in_the_mean_and_is_named(unscored, mean, left_out):
    shared = {"method": "single", "model": "m", "num_questions": 10}
    runs = {
        name: {**shared, "accuracy": accuracy, "num_unscored": count}
        for name, accuracy, count in zip("ab", (0.8, 0.4), unscored, strict=True)
    }
    line = eval.line_of_tasks(runs)
    assert line["accuracy"] == (None if mean is None else pytest.approx(mean))
    assert line["left_out"] == left_out
    assert line["tasks"] == runs


@pytest.mark.parametrize(("broken", "code"), [(False, 2), (True, 1)])
def test_what_one_task_fails_of_is_told_beside_the_metrics_of_the_others(
    broken, code, data, model_dir, monkeypatch, capsys
):
    def only_the_first(requests, begins):
        first, second = requests
        answer = Answer(question_id="gsm8k/0000", started=1, finished=2, error="lost")
        rows = [Prediction.of(first.assignments[0], answer, None, seconds=0, attempt=1)]
        first.folder.append(rows)
        metrics = summarize(rows, first.config, graph="sequential", run_id="r", run_dir="run/gsm8k")
        return [RunEnd(request=first, metrics=metrics), RunEnd(request=second, fault="no such model", broken=broken)]

    monkeypatch.setattr("pipeline.runtime.evaluate.evaluate_all", only_the_first)
    assert eval.main([*data, "--model", str(model_dir), "--out", "run"]) == code
    out, err = capsys.readouterr()
    line = json.loads(out)
    assert list(line["tasks"]) == ["gsm8k"]
    assert line["failed"] == {"arc_easy": "no such model"}
    assert "eval.py: error: arc_easy: no such model" in err


@pytest.mark.ray
def test_several_tasks_are_runs_of_their_own_and_resume_begins_those_that_are_missing(data, ray_head, model_dir):
    settings = ["--address", ray_head.address, "--model", str(model_dir), "--method", "single"]
    code, line, err = evaluate(*settings, *data, "--max-new-tokens", "10", "--limit", "2", "--out", "run")
    assert code == 0, err
    assert (list(line["tasks"]), line["num_questions"], line["num_unscored"]) == (["gsm8k", "arc_easy"], 4, 0)
    assert line["accuracy"] == sum(task["accuracy"] for task in line["tasks"].values()) / 2
    first, second = line["tasks"].values()
    assert second["load_seconds"] < first["load_seconds"]  # the second task finds the model loaded
    assert "Comparison" in err
    client = mlflow.MlflowClient(tracking_uri="sqlite:///mlflow.db")
    for name, metrics in line["tasks"].items():
        assert json.loads(Path(f"run/{name}/metrics.json").read_text()) == metrics
        run = client.get_run(metrics["run_id"])
        assert client.get_experiment(run.info.experiment_id).name == f"latentmas/{name}"
    # What is there is not asked again; what is not is begun.
    answers = texts("run/arc_easy")
    shutil.rmtree("run/arc_easy")
    code, again, err = evaluate("--resume", "run", "--address", ray_head.address)
    assert code == 0, err
    assert again["tasks"]["gsm8k"]["seconds"] == first["seconds"]
    assert texts("run/arc_easy") == answers
    assert {row["attempt"] for name in again["tasks"] for row in rows(f"run/{name}")} == {1}
