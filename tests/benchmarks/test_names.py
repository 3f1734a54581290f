"""What `--task` may be, and what a task is called elsewhere."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.benchmarks import BENCHMARKS, short_name, task_names, token_cap

NINE = (
    "arc_easy",
    "arc_challenge",
    "gsm8k",
    "medqa",
    "mbppplus",
    "humanevalplus",
    "aime24",
    "aime25",
    "gpqa_diamond",
)


def own(folder: Path, name: str) -> str:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("{}\n")
    return str(path)


def complaint(text: str) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        task_names(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_one_several_and_all() -> None:
    assert task_names("gsm8k") == ("gsm8k",)
    assert task_names("medqa, demo,aime25") == ("medqa", "demo", "aime25")
    assert task_names("all") == NINE
    assert task_names("demo,all") == ("demo", *NINE)


def test_all_is_every_benchmark_but_the_demo() -> None:
    assert set(BENCHMARKS) == {*NINE, "demo"}


def test_a_file_of_ones_own_stands_alone_or_among_others(tmp_path: Path) -> None:
    path = own(tmp_path, "mine.jsonl")
    assert task_names(path) == (path,)
    assert task_names(f"gsm8k,{path}") == ("gsm8k", path)


def test_a_files_name_may_hold_commas(tmp_path: Path) -> None:
    path = own(tmp_path, "gsm8k,mine.parquet")
    assert task_names(path) == (path,)


def test_an_unknown_name_is_refused_with_a_near_match_and_what_is_allowed() -> None:
    message = complaint("gsm8k,medaq")
    assert message.startswith("--task 'medaq' is unknown (did you mean medqa?); allowed: arc_easy, arc_challenge,")
    for allowed in (*NINE, "demo", "all", ".jsonl", ".parquet"):
        assert allowed in message


@pytest.mark.parametrize("text", ["", " ", "gsm8k,", ",", "gsm8k,,medqa"])
def test_an_empty_name_is_refused(text: str) -> None:
    assert "--task '' is unknown" in complaint(text)


def test_a_missing_file_is_refused_and_so_is_one_of_another_format(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.jsonl")
    assert f"--task {missing!r} is no file" in complaint(missing)
    assert "that ends in .jsonl or .parquet" in complaint(own(tmp_path, "mine.csv"))
    (tmp_path / "folder.jsonl").mkdir()
    assert "is no file" in complaint(str(tmp_path / "folder.jsonl"))


@pytest.mark.parametrize("text", ["gsm8k,gsm8k", "all,gsm8k", "gsm8k,medqa,gsm8k"])
def test_a_task_that_is_asked_for_twice_is_refused(text: str) -> None:
    assert complaint(text) == f"--task {text!r} asks for gsm8k twice; give each task once"


def test_two_files_that_would_share_a_name_are_refused(tmp_path: Path) -> None:
    text = f"{own(tmp_path, 'mine.jsonl')},{own(tmp_path / 'b', 'mine.jsonl')}"
    assert "would share a run's name; rename one of the files" in complaint(text)


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("gsm8k", "gsm8k"),
        ("/data/My questions (2).jsonl", "My_questions_2"),
        ("../../.jsonl.parquet", "jsonl"),
        ("a/gsm8k.jsonl", "own_gsm8k"),
        ("all.jsonl", "own_all"),
        ("v1.2.parquet", "v1.2"),
        ("\u95ee\u9898.jsonl", "own"),
        ("a" * 200 + ".jsonl", "a" * 60),
    ],
)
def test_a_short_name_is_safe_as_a_folder_and_no_other_benchmarks(task: str, name: str) -> None:
    assert short_name(task) == name


def test_the_caps_are_the_papers() -> None:
    caps = [2048, 2048, 2048, 4096, 4096, 4096, 20000, 20000, 8192]
    assert [token_cap(task) for task in NINE] == caps
    assert token_cap("demo") == token_cap("mine.jsonl") == 2048


def test_names_need_no_heavy_package() -> None:
    program = (
        "import sys\n"
        "from pipeline.benchmarks import load_questions, short_name, task_names, token_cap\n"
        "load_questions(task_names('demo')[0], data_dir=None, limit=1)\n"
        "print(*{'torch', 'ray', 'datasets', 'huggingface_hub', 'pyarrow', 'numpy'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
