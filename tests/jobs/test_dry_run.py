"""`--dry-run`: everything is said and nothing is done."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import transformers

from jobs import eval, sweep
from pipeline.config import DataConfig
from pipeline.presets.paper import Cell
from pipeline.runtime.outline import source_of


@pytest.fixture(autouse=True)
def _nothing_is_done(tmp_path, monkeypatch):
    """In an empty folder, where neither Ray starts nor weights are loaded."""

    def refused(*_, **__):
        raise AssertionError("a dry run must not do this")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ray, "init", refused)
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", refused)
    monkeypatch.setattr("pipeline.checkpoints.embedded._convert", refused)


@pytest.fixture
def dry(capsys, model_dir):
    """Runs jobs/eval.py with --dry-run; returns exit code, what stdout's line holds, and stderr."""

    def run(*argv, model=model_dir):
        code = eval.main(["--dry-run", "--model", str(model), *argv])
        captured = capsys.readouterr()
        lines = captured.out.splitlines()
        assert len(lines) == (code == 0)
        return code, json.loads(lines[0]) if lines else {}, captured.err

    return run


def test_a_dry_run_tells_the_plan_and_leaves_nothing_behind(dry, tmp_path, model_dir):
    code, numbers, err = dry("--limit", "6", "--latent-steps", "4", "--max-new-tokens", "50")
    assert code == 0
    assert list(tmp_path.iterdir()) == []
    assert not ray.is_initialized()
    assert (numbers["dry_run"], numbers["method"], numbers["roles"][-1]) == (True, "latent_mas", "solver")
    assert numbers["replicas"] == [{"name": "r0", "roles": numbers["roles"], "model": str(model_dir.resolve())}]
    (model,) = numbers["models"]
    assert model["disk_bytes"] == (model_dir / "model.safetensors").stat().st_size
    assert model["bytes_per_position"] == 3 * 2 * (8 + 8) * 4
    (task,) = numbers["tasks"]
    assert sum(task["kinds"].values()) == task["num_questions"] == task["sampled"]
    roles = {role["role"]: role for role in task["roles"]}
    assert roles["planner"]["latent_steps"] == 4
    assert roles["solver"]["new_tokens"] == 50
    assert roles["solver"]["memory_of"] == ["planner", "critic", "refiner"]
    assert task["handover_bytes"]["max"] > task["memory_bytes"]["max"] > 0
    for words in ("critic: thinks 4 steps; gets the memory of planner", "r0: all roles", "task demo", "handed over"):
        assert words in err


def test_spread_roles_are_told_with_their_replicas_and_the_store(dry):
    code, numbers, err = dry("--graph", "hierarchical", "--placement", "spread", "--replicas", "2", "--limit", "6")
    assert code == 0
    assert [seat["roles"] for seat in numbers["replicas"]] == [["math", "science"], ["code", "summarizer"]]
    assert numbers["tasks"][0]["store"]["full_bytes"] > 0
    assert "object store of a node" in err


@pytest.mark.parametrize("method", ["single", "text_mas"])
def test_methods_that_hand_over_no_memory_are_told_without(dry, method):
    code, numbers, err = dry("--method", method, "--limit", "6", "--max-new-tokens", "20")
    assert code == 0
    assert numbers["tasks"][0]["handover_bytes"] == {"mean": 0, "max": 0}
    assert "handed over" not in err
    assert ("gets the text of planner" in err) == (method == "text_mas")


def test_a_preset_of_the_paper_can_be_tried_on_a_folder_of_data(dry, tmp_path, model_dir):
    table = pa.Table.from_pylist([{"question": f"{i} + 1?", "answer": f"#### {i + 1}"} for i in range(40)])
    pq.write_table(table, tmp_path / "gsm8k.parquet")
    preset = Cell(task="gsm8k", model="Qwen/Qwen3-8B", graph="hierarchical").path
    code, numbers, _ = dry("--config", str(preset), "--model", str(model_dir), "--data-dir", str(tmp_path))
    assert code == 0
    (task,) = numbers["tasks"]
    assert (task["num_questions"], task["sampled"], task["kinds"]) == (40, 32, {"number": 40})
    assert task["source"] == f"{tmp_path}/gsm8k.parquet"
    assert task["roles"][-1]["new_tokens"] == 2048


def test_several_tasks_are_told_one_after_another_each_with_its_own_budget(dry, tmp_path):
    choices = {"text": ["one", "two", "three"], "label": ["A", "B", "C"]}
    arc = [{"id": f"q{i}", "question": f"Which is {i}?", "choices": choices, "answerKey": "B"} for i in range(3)]
    pq.write_table(pa.Table.from_pylist(arc), tmp_path / "arc_easy.parquet")
    table = pa.Table.from_pylist([{"question": f"{i} + 1?", "answer": f"#### {i + 1}"} for i in range(4)])
    pq.write_table(table, tmp_path / "gsm8k.parquet")
    before = sorted(tmp_path.iterdir())
    code, numbers, err = dry("--task", "gsm8k,arc_easy", "--data-dir", str(tmp_path), "--out", "new")
    assert code == 0
    assert [(task["task"], task["num_questions"]) for task in numbers["tasks"]] == [("gsm8k", 4), ("arc_easy", 3)]
    assert [task["roles"][-1]["new_tokens"] for task in numbers["tasks"]] == [2048, 2048]
    assert sum(line.startswith("task ") for line in err.splitlines()) == 2
    code, _, err = dry("--task", "gsm8k,arc_easy", "--data-dir", str(tmp_path), "--out", str(tmp_path))
    assert code == 2
    assert "--out" in err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("data", "source"),
    [
        (DataConfig(task="demo"), "this package"),
        (DataConfig(task="gsm8k", data_dir="/data"), "/data/gsm8k.parquet"),
        (DataConfig(task="aime24", data_dir="/data"), "/data/aime_2024.parquet"),
        (DataConfig(task="gsm8k"), "the Hub: openai/gsm8k, main, test"),
        (DataConfig(task="own/questions.jsonl"), "own/questions.jsonl"),
    ],
)
def test_a_task_is_told_with_where_its_questions_come_from(data, source):
    assert source_of(data) == source


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--latent-steps", "-1"], ["--latent-steps", "0 or more"]),
        (["--task", "gsm"], ["--task", "gsm8k"]),
        (["--graph", "circle"], ["--graph", "circle"]),
        (["--out", "used"], ["--out", "exists"]),
        (["--resume", "nowhere"], ["--resume", "nowhere"]),
        (["--replicas", "100000"], ["--replicas", "at most"]),
        (["--memory", "shuffled", "--limit", "1"], ["--memory", "at least 2"]),
        (["--model", "./nothing"], ["--model", "nothing"]),
        (["--dry-run", "perhaps"], ["--dry-run", "perhaps"]),
    ],
)
def test_bad_input_ends_like_in_a_run(dry, argv, words, tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("")
    code, _, err = dry(*argv)
    assert code == 2
    line = err.strip().splitlines()[-1]
    assert line.startswith("eval.py: error: ")
    assert all(word in line for word in words), line
    assert [path.name for path in tmp_path.iterdir()] == ["used"]


def test_a_model_that_the_hub_cant_be_asked_for_is_one_line_after_everything_else_was_checked(dry, monkeypatch):
    def offline(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", offline)
    code, _, err = dry(model="Qwen/Qwen3-4B")
    assert code == 2
    assert "can't be reached" in err.strip().splitlines()[-1]
    code, _, err = dry("--task", "gsm", model="Qwen/Qwen3-4B")
    assert code == 2
    assert "--task" in err.strip().splitlines()[-1]


def test_the_embedded_model_is_measured_before_it_has_been_converted(dry, tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTMAS_CACHE", str(tmp_path / "cache"))
    code, numbers, err = dry("--limit", "3", model="embedded")
    assert code == 0
    assert list(tmp_path.iterdir()) == []
    (model,) = numbers["models"]
    assert (model["parameters"], model["bytes_per_position"]) == (134_515_008, 30 * 3 * 128 * 4)
    assert "converted on first use" in err


def test_a_run_folder_can_be_looked_at_before_it_is_gone_on_with(dry, tmp_path, model_dir):
    (tmp_path / "run").mkdir()
    settings = f"model: {model_dir.resolve()}\nlimit: 6\nlatent_steps: 2\nmax_new_tokens: 30\n"
    (tmp_path / "run/config.yaml").write_text(settings)
    code, numbers, _ = dry("--resume", "run")
    assert code == 0
    assert numbers["tasks"][0]["roles"][0]["latent_steps"] == 2
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.yaml"]


def test_a_sweep_is_told_cell_by_cell_and_each_method_once_in_full(capsys, model_dir, tmp_path):
    argv = ["--method", "single,latent_mas", "--latent-steps", "2,4", "--seed", "0,1", "--limit", "3"]
    assert sweep.main(["--dry-run", "--model", str(model_dir), *argv]) == 0
    captured = capsys.readouterr()
    numbers = json.loads(captured.out)
    assert list(tmp_path.iterdir()) == []
    assert set(numbers["cells"].values()) == {3}
    assert len(numbers["cells"]) == 6
    shown = [(one["cells"], one["method"]) for one in numbers["outlines"]]
    assert shown == [(["single-seed0"], "single"), (["latent_mas-m2-seed0"], "latent_mas")]
    for words in ("6 cells, 18 questions", "  latent_mas-m4-seed1: 3 questions of demo", "planner: thinks 2 steps"):
        assert words in captured.err


def test_cells_of_a_sweep_that_differ_in_their_task_are_told_together(capsys, model_dir, tmp_path):
    table = pa.Table.from_pylist([{"question": f"{i} + 1?", "answer": f"#### {i + 1}"} for i in range(4)])
    pq.write_table(table, tmp_path / "gsm8k.parquet")
    argv = ["--seed", "0,1", "--task", "demo,gsm8k", "--limit", "2", "--data-dir", str(tmp_path)]
    assert sweep.main(["--dry-run", "--model", str(model_dir), *argv]) == 0
    (told,) = json.loads(capsys.readouterr().out)["outlines"]
    assert told["cells"] == ["seed0-demo", "seed0-gsm8k"]
    assert [task["task"] for task in told["tasks"]] == ["demo", "gsm8k"]


@pytest.mark.parametrize(("job", "more"), [(eval, []), (sweep, ["--seed", "0,1"])], ids=["eval", "sweep"])
def test_a_job_without_any_stdout_says_what_it_has_to_say_and_ends_well(job, more, monkeypatch, capsys, model_dir):
    monkeypatch.setattr("sys.stdout", None)  # as Python has it after `>&-`
    assert job.main(["--dry-run", "--model", str(model_dir), "--limit", "1", *more]) == 0
    assert "dry run: nothing is started" in capsys.readouterr().err
