"""jobs/compare.py on run folders."""

import json

import pytest

from finished import rows_of, run_folder
from jobs import compare


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def folders(tmp_path):
    right = [True, False] * 10
    run_folder(tmp_path / "single", rows_of(right))
    run_folder(tmp_path / "latent", rows_of([True] * 15 + [None] * 5), method="latent_mas", max_new_tokens=512)
    run_folder(tmp_path / "latent-1", rows_of([True] * 12 + [False] * 8), method="latent_mas", seed=1)
    run_folder(tmp_path / "latent-2", rows_of([True] * 16 + [False] * 4), method="latent_mas", seed=2)


def test_the_tables_and_notes_of_several_runs(tmp_path, capsys):
    folders(tmp_path)
    assert compare.main(["single", "latent", "latent-1", "latent-2", "--differing", "--details"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") > 15
    assert all(len(line) < 200 for line in out.splitlines())
    assert "…" not in out
    # latent: right in 15 of 15 scored, of which `single` has 8; 7 discordant, all for it: p = 2 / 2^7
    pair = next(line for line in out.splitlines() if "0.0156" in line)
    assert pair.split()[:7] == ["latent", "single", "demo", "15", "53.3", "100.0", "+46.7"]
    assert "note: latent and single: 5 questions left out because one of the two has them unscored" in out
    assert out.count("note: latent and single: the settings differ: max_new_tokens 512 and 2048") == 1
    seeds = next(line for line in out.splitlines() if line.split()[-4:-1] == ["70.0", "14.1", "60.0"])
    assert seeds.split() == [*("latent-1", "LatentMAS", "sequential", "demo", "2", "70.0", "14.1", "60.0", "80.0")]


def test_one_run_has_a_table_with_dashes_for_the_rest(tmp_path, capsys):
    run_folder(tmp_path / "alone", rows_of([True, False]))
    assert compare.main(["alone"]) == 0
    out = capsys.readouterr().out
    assert next(line for line in out.splitlines() if "Acc. %" in line).split()[-4:] == ["50.0", "–", "–", "–"]
    assert not any(word in out for word in ("baseline", "Over seeds", "note:", "Comparison"))


@pytest.mark.parametrize("given", [["single", "text_mas", "text_mas/gsm8k"], ["."]])
def test_a_folder_of_runs_stands_for_those_that_are_finished(given, tmp_path, capsys):
    for method in ("single", "text_mas"):
        for task in ("gsm8k", "arc_easy"):
            run_folder(tmp_path / method / task, rows_of([True, False]), method=method, task=task)
    run_folder(tmp_path / "text_mas" / "broken_off", rows_of([True]), finished=False)
    (tmp_path / "single" / "config.yaml").write_text("task: gsm8k,arc_easy\n")  # a series has settings of its own
    assert compare.main(given + ["--json", "told.json"]) == 0
    told = json.loads((tmp_path / "told.json").read_text())
    assert [run["name"] for run in told["runs"]] == [
        *("single/arc_easy", "single/gsm8k", "text_mas/arc_easy", "text_mas/gsm8k")
    ]
    assert [(pair["run"], pair["baseline"]) for pair in told["pairs"]] == [
        ("text_mas/arc_easy", "single/arc_easy"),
        ("text_mas/gsm8k", "single/gsm8k"),
    ]
    assert told["notes"] == [f"{tmp_path / 'text_mas' / 'broken_off'}: not finished, so left out"]
    assert "broken_off: not finished, so left out" in capsys.readouterr().out


def test_the_baseline_may_be_any_run_or_a_folder_of_them(tmp_path):
    folders(tmp_path)
    assert compare.main(["single", "latent", "--baseline", "latent-1", "--differing", "--json", "one.json"]) == 0
    pairs = json.loads((tmp_path / "one.json").read_text())["pairs"]
    assert [(pair["run"], pair["baseline"]) for pair in pairs] == [("single", "latent-1"), ("latent", "latent-1")]
    run_folder(tmp_path / "base" / "demo", rows_of([True] * 20), method="text_mas")
    assert compare.main(["single", "latent", "--baseline", "base", "--differing", "--json", "all.json"]) == 0
    pairs = json.loads((tmp_path / "all.json").read_text())["pairs"]
    assert {pair["baseline"] for pair in pairs} == {"demo"}


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["nowhere"], "'nowhere' holds no finished run"),
        (["empty"], "'empty' holds no finished run"),
        (["alone", "--baseline", "empty"], "'empty' holds no finished run"),
        (["alone", "--baseline", "sums"], "--baseline 'sums' answers gsm8k; allowed: a run of demo"),
        (["alone", "--json", "empty"], "--json 'empty' can't be written"),
        (["old"], "was written by another version of this program"),
        (["x" * 300], "holds no finished run"),
        (
            ["wordy"],
            "wordy/metrics.json was written by another version of this program, or is damaged (accuracy is 'x'",
        ),
        (["rowless"], "rowless holds 0 rows and its metrics.json tells of 2 questions"),
        (["misset"], "misset/config.yaml: --seed is 'x'"),
        (["torn"], "metrics.json was written by another version of this program, or is damaged"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(argv, words, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for name in ("alone", "sums", "old", "torn", "wordy", "rowless", "misset"):
        run_folder(tmp_path / name, rows_of([True, False]), task="gsm8k" if name == "sums" else "demo")
    metrics = json.loads((tmp_path / "old/metrics.json").read_text())
    del metrics["truncated_turns_rate"]
    (tmp_path / "old/metrics.json").write_text(json.dumps(metrics))
    (tmp_path / "torn/metrics.json").write_text("{")
    wordy = json.loads((tmp_path / "wordy/metrics.json").read_text()) | {"accuracy": "x"}
    (tmp_path / "wordy/metrics.json").write_text(json.dumps(wordy))
    (tmp_path / "rowless/predictions.parquet").unlink()
    (tmp_path / "misset/config.yaml").write_text("seed: x\n")
    assert compare.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert words in err
