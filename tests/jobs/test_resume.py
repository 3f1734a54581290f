"""Going on with a run: what has to be as it was. No cluster is started."""

import json
from pathlib import Path

import pytest

from evaluations import own_questions
from jobs import eval, sweep
from pipeline.records import Answer, Prediction, Score

ROWS = [{"question": f"{number}+1?", "answer": str(number + 1), "kind": "number"} for number in range(3)]
NEW = {"question": "9+9?", "answer": "18", "kind": "number"}


@pytest.fixture(autouse=True)
def quiz(tmp_path, monkeypatch):
    """The working folder holds a quiz of one's own."""
    monkeypatch.chdir(tmp_path)
    write(ROWS)
    return ["--task", "quiz.jsonl"]


def write(rows, path="quiz.jsonl"):
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))


def finish(request):
    """Puts an answer to every question of a run on disk."""
    score = Score(correct=True, correct_lenient=True, prediction="1", prediction_lenient="1", reason="correct")
    for one in request.assignments:
        answer = Answer(question_id=one.question.id, started=1, finished=2)
        request.folder.append([Prediction.of(one, answer, score, seconds=0, attempt=1)])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([NEW, *ROWS[:2]], "question 'quiz/0000'"),
        (ROWS[:2], "question 'quiz/0002' of the run"),
        ([*ROWS[:2], {**ROWS[2], "answer": "7"}], "question 'quiz/0002'"),
    ],
)
def test_a_run_is_not_gone_on_with_when_its_questions_have_changed(rows, words, quiz, model_dir, capsys):
    request = eval.prepare([*quiz, "--model", str(model_dir), "--out", "run"])
    finish(request)
    before = request.folder.read()
    write(rows)
    assert eval.main(["--resume", "run"]) == 2
    line = capsys.readouterr().err
    assert words in line
    assert "--task" in line
    assert "--data-dir" in line
    assert request.folder.read() == before


def test_a_run_is_not_gone_on_with_when_another_data_folder_holds_other_questions(tmp_path, model_dir, capsys):
    for name, asked in (("old", ["1+1?", "2+2?"]), ("new", ["1+1?", "3+3?"])):
        (tmp_path / name).mkdir()
        own_questions(tmp_path / name, asked)
    asked = ["--task", "gsm8k", "--data-dir", "old"]
    finish(eval.prepare([*asked, "--model", str(model_dir), "--out", "run"]))
    assert eval.main(["--resume", "run", "--data-dir", "new"]) == 2
    assert "--task 'gsm8k': question 'gsm8k/0001'" in capsys.readouterr().err
    assert eval.prepare(["--resume", "run"]).folder.path == tmp_path / "run"


def test_a_run_whose_file_has_grown_at_its_end_asks_what_is_new(quiz, model_dir):
    finish(eval.prepare([*quiz, "--model", str(model_dir), "--out", "run"]))
    write([*ROWS, NEW])
    resumed = eval.prepare(["--resume", "run"])
    assert len(resumed.assignments) == 4
    assert len(resumed.folder.read()) == 3


def test_a_sweep_is_not_gone_on_with_when_its_questions_have_changed(quiz, model_dir, capsys):
    series = sweep.prepare([*quiz, "--model", str(model_dir), "--grid", "{seed: [3, 4]}", "--out", "out"])
    finish(series.requests["seed4"])
    write([NEW, *ROWS])
    assert sweep.main(["--resume", "out"]) == 2
    assert "seed4: --task" in capsys.readouterr().err


@pytest.mark.parametrize("tasks", ["quiz.jsonl", "quiz.jsonl,gsm8k"])
def test_a_run_on_a_file_of_ones_own_can_be_gone_on_with_from_any_folder(tasks, tmp_path, model_dir, monkeypatch):
    own_questions(tmp_path, ["1+1?"])
    begun = eval.prepare(["--task", tasks, "--data-dir", ".", "--model", str(model_dir), "--out", "run"])
    sweep.prepare(
        ["--model", str(model_dir), "--cells", "[{name: a, task: quiz.jsonl}]", "--data-dir", ".", "--out", "out"]
    )
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for again in ([], ["--task", ",".join(f"../{name}" if "." in name else name for name in tasks.split(","))]):
        resumed = eval.prepare(["--resume", str(tmp_path / "run"), *again])
        assert configs(resumed) == configs(begun)
    (tmp_path / "out/a").rename("gone")  # so that its settings are those of the sweep's file
    series = sweep.prepare(["--resume", str(tmp_path / "out")])
    assert series.requests["a"].config.data.task == str(tmp_path / "quiz.jsonl")


def configs(work):
    """The settings of a run, or of those of a series."""
    return [request.config for request in getattr(work, "requests", {"": work}).values()]


def test_the_same_file_has_one_name_however_its_path_is_written(quiz, tmp_path, model_dir, capsys):
    (tmp_path / "my").mkdir()
    spellings = ["quiz.jsonl", "./my/../quiz.jsonl", str(tmp_path / "quiz.jsonl")]
    model = ["--model", str(model_dir)]
    runs = [eval.prepare(["--task", task, *model, "--out", f"run{n}"]) for n, task in enumerate(spellings)]
    assert {run.folder.config.data.task for run in runs} == {str(tmp_path / "quiz.jsonl")}
    assert eval.main(["--task", "quiz.jsonl,my/../quiz.jsonl", *model, "--out", "run"]) == 2
    assert "twice" in capsys.readouterr().err


def test_a_link_keeps_its_own_name_and_a_comma_in_a_folders_name_harms_no_list(tmp_path, model_dir, monkeypatch):
    (tmp_path / "blob").write_text((tmp_path / "quiz.jsonl").read_text())
    (tmp_path / "link.jsonl").symlink_to("blob")
    one = eval.prepare(["--task", "link.jsonl", "--model", str(model_dir), "--out", "run"])
    assert one.config.data.task == str(tmp_path / "link.jsonl")
    (tmp_path / "a,b").mkdir()
    monkeypatch.chdir(tmp_path / "a,b")
    write(ROWS)
    series = eval.prepare(["--task", "quiz.jsonl,demo", "--model", str(model_dir), "--out", "run"])
    assert [config.data.task for config in configs(series)] == [str(tmp_path / "a,b/quiz.jsonl"), "demo"]
