"""jobs/ask.py: one question, all methods, and the same answers as an evaluation gives."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from jobs import ask, eval
from pipeline.agents.team import build_team
from pipeline.agents.walk import answer_batch
from pipeline.engine import load_model
from tiny import save_tiny_model

ROOT = Path(__file__).parents[2]
SHORT = ["--max-new-tokens", "12", "--latent-steps", "2"]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def asked(capsys, model_dir):
    """Asks; returns exit code, stdout and stderr."""

    def run(*argv):
        code = ask.main([*argv, "--model", str(model_dir)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_all_methods_answer_and_the_answers_alone_go_to_stdout(asked):
    code, out, err = asked("1+1?", *SHORT)
    assert code == 0
    assert [line.split("\t")[0] for line in out.splitlines()] == ["single", "text_mas", "latent_mas"]
    for words in (
        "▶ 1/4 planner",
        "step 2 ",
        "reads the memory of planner, critic, refiner",
        "reads the text of planner",
    ):
        assert words in err
    assert "\x1b" not in out + err


@pytest.mark.parametrize("method", ["single", "text_mas", "latent_mas"])
@pytest.mark.parametrize(
    ("kind", "settings"),
    [("number", []), ("choice", ["--graph", "hierarchical", "--temperature", "1.5", "--seed", "3", "--top-p", "1"])],
)
def test_the_same_question_gets_the_same_text_as_in_an_evaluation(method, kind, settings, asked, model_dir, tmp_path):
    choices = {"choices": ["yes", "no"]} if kind == "choice" else {}
    row = {"id": "q7", "question": "How many?", "kind": kind, "answer": "A" if choices else "4", **choices}
    (tmp_path / "own.jsonl").write_text(json.dumps(row))
    shared = [*SHORT, *settings]
    ask_for = ["--choices", "yes,no"] if choices else []
    code, out, _ = asked("How many?", *ask_for, *shared, "--methods", method, "--question-id", "q7", "--json")
    assert code == 0
    turns = json.loads(out)["methods"][method]["turns"]
    argv = ["--task", "own.jsonl", "--method", method, "--batch-size", "1", "--model", str(model_dir), *shared]
    request = eval.prepare([*argv, "--out", "run"])
    (answer,) = answer_batch(
        request.assignments, build_team(load_model(request.config.model), request.config, request.plan)
    )
    assert [turn["text"] for turn in turns] == [turn.text for turn in answer.turns]
    assert sum(turn["usage"]["prefill_tokens"] for turn in turns) == answer.usage.prefill_tokens
    assert answer.text


def test_a_narrow_terminal_does_not_take_the_answers_away(asked, monkeypatch):
    monkeypatch.setattr(ask, "console", lambda: Console(stderr=True, width=40))
    _, _, err = asked("1+1?", "--gold", "2", *SHORT)
    assert "…" not in err
    table = err.rpartition("method")[2]
    assert [line.split()[0] for line in table.splitlines() if "MAS " in line] == ["TextMAS", "LatentMAS"]


def test_answers_that_nobody_reads_end_the_command_without_a_traceback(model_dir):
    command = [sys.executable, str(ROOT / "jobs/ask.py"), "1+1?", *SHORT, "--methods", "single", "--model", model_dir]
    reader, stdout = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=200, check=False)
    os.close(stdout)
    assert done.returncode == 1
    assert "Single" in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_a_command_without_any_stdout_shows_how_it_answers(model_dir):
    command = [sys.executable, str(ROOT / "jobs/ask.py"), "1+1?", *SHORT, "--methods", "single", "--model", model_dir]
    closed = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
    done = subprocess.run(closed, stderr=subprocess.PIPE, text=True, timeout=200, check=False)
    assert (done.returncode, "Single" in done.stderr) == (0, True)
    assert "Error" not in done.stderr


def test_a_question_may_begin_with_a_dash_after_two_dashes(model_dir, capsys):
    argv = ["--model", str(model_dir), *SHORT, "--methods", "single", "--json", "--", "-1 + 3?"]
    assert ask.main(argv) == 0
    assert json.loads(capsys.readouterr().out)["question"] == "-1 + 3?"


def test_the_line_of_json_tells_what_was_used_and_who_is_right(asked):
    code, out, err = asked("1+1?", *SHORT, "--gold", "2", "--json")
    assert code == 0
    told = json.loads(out)
    assert (told["question"], told["kind"], told["gold"]) == ("1+1?", "number", "2")
    latent = told["methods"]["latent_mas"]
    assert (latent["latent_steps"], len(latent["turns"])) == (6, 4)
    assert latent["handover_bytes"] > 0 == told["methods"]["text_mas"]["handover_bytes"]
    assert latent["correct"] is False
    assert "verdict" in err


def test_a_program_is_read_and_not_run(asked):
    code, out, _ = asked("Write f.", *SHORT, "--kind", "code", "--methods", "single,latent_mas")
    assert code == 0
    assert [line for line in out.splitlines() if line.startswith("# ")] == ["# single", "# latent_mas"]


def test_a_question_can_come_from_stdin(asked, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(" From\nfar away? \n"))
    code, out, _ = asked("-", *SHORT, "--methods", "single", "--json")
    assert (code, json.loads(out)["question"]) == (0, "From\nfar away?")


def test_options_may_be_letters_in_another_order(asked):
    code, out, _ = asked("Which?", "--choice", "B", "--choice", "A, or so", *SHORT, "--methods", "single", "--json")
    assert code == 0
    assert json.loads(out)["question"] == "Which?\n\nA. B\nB. A, or so"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "question"),
        ([" "], "the question is empty"),
        (["x", "y"], "y"),
        (["x", "--methods", "single,duo"], "--methods is 'single,duo'; allowed: single, text_mas, latent_mas"),
        (["x", "--methods", "single,single"], "each once"),
        (["x", "--kind", "essay"], "--kind is 'essay'; allowed: number, choice, code"),
        (["x", "--kind", "choice"], "--choices"),
        (["x", "--kind", "number", "--choices", "a,b"], "--kind number has no options"),
        (["x", "--choices", "a"], "--choices: there must be 2 to 26 options"),
        (["x", "--choices", "a,a"], "--choices holds an option twice"),
        (["x", "--choices", "a,a", "--gold", "a"], "--choices holds 'a' twice"),
        (["x", "--choices", "a,b", "--choice", "c"], "--choices and --choice"),
        (["x", "--choices", "a,b", "--gold", "c"], "--gold 'c' is none of the choices"),
        (["x", "--gold", "seven"], "--gold must hold a number"),
        (["x", "--kind", "code", "--gold", "def f(): 1"], "--gold can't be checked"),
        (["x", "--question-id", " "], "--question-id"),
        (["x", "--graph", "circle"], "--graph 'circle' is unknown"),
        (["x", "--latent-steps", "-1"], "--latent-steps is -1"),
        (["x", "--task", "gsm8k"], "--task"),
    ],
)
def test_bad_input_ends_in_one_line(argv, words, asked):
    code, out, err = asked(*argv)
    assert (code, out) == (2, "")
    assert err.startswith("ask.py: error: ")
    assert len(err.splitlines()) == 1
    assert words in err


def test_a_question_without_room_is_refused_before_any_method_begins(tmp_path, capsys):
    small = save_tiny_model(tmp_path / "small", max_position_embeddings=1024)
    assert ask.main(["How many? " * 20, "--model", str(small), "--max-new-tokens", "2"]) == 2
    captured = capsys.readouterr()
    assert "too long: with latent_mas the " in captured.err.splitlines()[-1]
    assert "▶" not in captured.err


def test_a_model_that_is_not_there_is_one_line(capsys):
    assert ask.main(["x", "--model", "./nothing"]) == 2
    assert capsys.readouterr().err.startswith("ask.py: error: --model './nothing'")


def test_being_stopped_ends_with_130(asked, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.engine.rollout.LanguageModel.forward", stopped)
    code, out, err = asked("x", "--methods", "single")
    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == "stopped"
    assert "Traceback" not in err
