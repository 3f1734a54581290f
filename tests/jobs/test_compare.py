"""jobs/compare.py on run folders and on MLflow."""

import json
import os
from contextlib import chdir

import pytest

from finished import rows_of, run_folder
from jobs import compare
from jobs.gallery import Gallery
from pipeline.reports.figures import Drawing


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
        ([], "nothing to compare; give run folders (RUN_DIR ...), --experiment NAME or --run-id ID"),
        (["alone", "--csv", "-", "--json", "-"], "--csv and --json both write to '-'; give each a file of its own"),
        (["alone", "--html", "no/where.html"], "--html 'no/where.html' can't be written: No such file or directory"),
        (["--experiment", "latentmas/demo"], "mlflow.db': there is no such file; name the store that has the runs"),
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


def methods(tmp_path, **settings):
    for name, right in (("single", 5), ("text_mas", 2), ("latent_mas", 9)):
        outcomes = [True] * right + [False] * (10 - right)
        run_folder(tmp_path / name, rows_of(outcomes), **{"method": name, **settings})


def test_every_format_is_written_and_the_terminal_shows_the_papers_table(tmp_path, capsys):
    methods(tmp_path, model="Qwen/Qwen3-4B", task="arc_easy")
    files = {name: str(tmp_path / f"told.{name}") for name in compare.FORMATS}
    argv = [part for name, file in files.items() for part in (f"--{name}", file)]
    assert compare.main([".", *argv]) == 0
    told = {name: (tmp_path / f"told.{name}").read_text() for name in files}
    shown = capsys.readouterr().out
    for text in (shown, told["markdown"], told["html"]):
        assert all(word in text for word in ("LatentMAS", "Improve", "+70.0", "paper 98.6", "p = 0.016"))
    assert "Sequential, Qwen3-4B" in told["latex"]
    assert told["html"].count("<svg") == 1  # seconds and tokens; for the other figures there are no runs
    assert f"python jobs/compare.py . --markdown {files['markdown']}" in told["html"]
    values = {number["value"] for number in json.loads(told["json"])["numbers"]}
    assert {round(float(row.split(",")[8]), 6) for row in told["csv"].splitlines()[1:]} == {round(v, 6) for v in values}


def test_a_page_does_not_tell_the_password_of_the_tracker(tmp_path):
    methods(tmp_path)
    assert compare.main([".", "--tracking-uri", "postgresql://bob:geheim@host/db", "--html", "told.html"]) == 0
    page = (tmp_path / "told.html").read_text()
    assert "geheim" not in page
    assert "***@host/db" in page


def test_a_file_named_dash_is_stdout_which_has_nothing_else(tmp_path, capsys):
    methods(tmp_path)
    assert compare.main([".", "--csv", "-"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("metric,unit,method")
    assert all(line.count(",") == 15 for line in out.splitlines())


def test_a_table_that_nobody_reads_ends_the_command_without_a_traceback(tmp_path, monkeypatch, capsys):
    methods(tmp_path)
    reader, stdout = os.pipe()
    os.close(reader)
    with open(stdout, "w") as gone:
        monkeypatch.setattr("sys.stdout", gone)
        assert compare.main([".", "--csv", "-"]) == 1
    assert capsys.readouterr().err == ""


def test_runs_that_differ_are_refused_with_a_line_for_each_difference(tmp_path, capsys):
    methods(tmp_path)
    run_folder(tmp_path / "wide", rows_of([True] * 10), method="latent_mas", max_new_tokens=64)
    run_folder(tmp_path / "wider", rows_of([True] * 10), method="latent_mas", max_new_tokens=64, seed=1)
    run_folder(tmp_path / "few", rows_of([True] * 4), method="latent_mas", limit=4)
    assert compare.main([".", "--json", "told.json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert not (tmp_path / "told.json").exists()
    first, *others = err.splitlines()
    assert first.startswith("compare.py: error: runs of the same task and model differ")
    assert "--differing" in first
    assert others == [
        "  latent_mas, single, text_mas, wide, wider and few: 10 and 4 questions, 4 of them in common",
        "  wide, wider and few: the settings differ: max_new_tokens 64 and 2048",
    ]
    assert compare.main([".", "--differing", "--json", "told.json"]) == 0
    assert {line.strip() for line in others} <= set(json.loads((tmp_path / "told.json").read_text())["notes"])


def test_details_show_every_run_and_lenient_accuracy_has_a_row(tmp_path, capsys):
    methods(tmp_path)
    assert compare.main([".", "--details", "--lenient"]) == 0
    out = capsys.readouterr().out
    assert "Comparison" in out
    assert "Lenient %" in out


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Three methods in a store, TextMAS twice: the older one has all right."""
    place = tmp_path_factory.mktemp("tracked")
    uri = f"sqlite:///{place / 'mlflow.db'}"
    old = run_folder(place / "old", rows_of([True] * 10), method="text_mas")
    (old / "run.json").write_text('{"started": 0.5}')  # rows that are made up begin at 1
    methods(place / "runs")
    with chdir(place):  # where the store keeps the runs' files
        assert compare.main(["--upload", str(old), "--tracking-uri", uri]) == 0
        assert compare.main(["--upload", str(place / "runs"), "--tracking-uri", uri]) == 0
    return place


def numbers(tmp_path, *argv):
    assert compare.main([*argv, "--json", str(tmp_path / "told.json")]) == 0
    told = json.loads((tmp_path / "told.json").read_text())
    return told["numbers"], told["notes"], [run["name"] for run in told["runs"]]


def test_an_experiment_says_the_same_as_the_folders_and_the_newest_run_wins(store, tmp_path):
    uri = f"sqlite:///{store / 'mlflow.db'}"
    tracked, notes, _ = numbers(tmp_path, "--experiment", "latentmas/demo", "--tracking-uri", uri)
    assert tracked == numbers(tmp_path, str(store / "runs"))[0]
    assert len(notes) == 1
    assert "left out, because a folder or a newer run has the same settings, questions and seed" in notes[0]


def test_the_environment_or_this_folder_names_the_store(store, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store / 'mlflow.db'}")
    there = numbers(tmp_path, "--experiment", "latentmas/demo")[0]
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.chdir(store)
    assert numbers(tmp_path, "--experiment", "latentmas/demo")[0] == there


def test_runs_by_their_ids_stand_beside_folders_and_what_a_folder_has_is_not_taken_twice(
    store, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(store)
    assert compare.main(["--upload", "runs", "--tracking-uri", f"sqlite:///{store / 'mlflow.db'}"]) == 0
    ids = ",".join(line.split()[2] for line in capsys.readouterr().out.splitlines())
    _, notes, names = numbers(tmp_path, "runs/single", "--run-id", ids)
    assert (len(names), names[0]) == (3, "single")
    assert len(notes) == 1
    assert notes[0].startswith("single-embedded: left out")


def drawing(name, **parts):
    words = {"title": "Two <clouds>", "caption": "n = 3", "svg": "<svg>points</svg>", "csv": "x\n1\n", "png": b"pixels"}
    return Drawing(name=name, **{**words, **parts})


def test_a_page_shows_the_figures_of_analyze_where_it_is_told_their_folder(tmp_path):
    methods(tmp_path / "runs")
    gallery = Gallery(folder=tmp_path / "figures")
    gallery.open()
    for name in ("figure-6-drift", "figure-5-clouds"):
        gallery.add(drawing(name, svg=f"<svg>{name}</svg>"))
    gallery.close()
    assert compare.main(["runs", "--html", "told.html", "--figures", "figures"]) == 0
    page = (tmp_path / "told.html").read_text()
    assert page.index("<svg>figure-5-clouds</svg>") < page.index("<svg>figure-6-drift</svg>")
    assert "Two &lt;clouds&gt;" in page
    assert page.count("<svg") == 2


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--html", "told.html", "--figures", "runs"], "--figures 'runs' has no captions.json; give a folder that"),
        (["--html", "told.html", "--figures", "torn"], "--figures 'torn' is damaged"),
        (["--html", "told.html", "--figures", "empty"], "--figures 'empty' is damaged"),
        (["--figures", "torn"], "--figures is 'torn'; allowed: none, without --html FILE"),
    ],
)
def test_figures_that_cannot_be_shown_are_one_line(argv, words, tmp_path, capsys):
    methods(tmp_path / "runs")
    for name, text in (("torn", "["), ("empty", '[{"name": "figure", "title": "t", "caption": "c"}]')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "captions.json").write_text(text)
    assert compare.main(["runs", *argv]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1
