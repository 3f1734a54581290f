"""A run folder as the tracker's record."""

from dataclasses import replace

import pytest

from finished import rows_of, run_folder
from pipeline.config import RunConfig
from pipeline.runtime.facts import note
from pipeline.runtime.results import RunFolder
from pipeline.runtime.telling import run_name, run_record
from pipeline.runtime.told_tables import LONGEST, MOST, agents_table, predictions_table
from trackers import asked, row


def test_names_tell_runs_apart():
    names = [run_name(RunConfig.from_flat({"method": m, "model": "Qwen/Qwen3-4B"})) for m in ("single", "latent_mas")]
    assert names == ["single-Qwen3-4B", "latent_mas-sequential-Qwen3-4B-m10"]
    control = RunConfig.from_flat({"model": "/m/tiny", "graph": "my/team.yaml", "memory": "shuffled", "seed": 3})
    assert run_name(control) == "latent_mas-team-tiny-m10-shuffled-seed3"


def test_a_finished_run_has_all_that_its_folder_holds(tmp_path):
    folder = RunFolder(run_folder(tmp_path / "run", rows_of([True, None]), task="gsm8k", chat_options={"think": False}))
    note(folder, status="FINISHED", ended=7.0, git_commit="c" * 40, git_dirty=True, command="python jobs/eval.py")
    told = run_record(folder, folder.config)
    assert (told.name, told.experiment, told.status, told.ended) == (
        *("single-embedded", "latentmas/gsm8k", "FINISHED", 7.0),
    )
    assert told.params["chat_options.think"] == "False"
    assert (told.tags["git_commit"], told.tags["mlflow.source.git.commit"]) == ("c" * 40, "c" * 40)
    assert (told.tags["backend"], told.tags["mlflow.source.name"]) == ("hf", "jobs/eval.py")
    assert "Accuracy **100.0 %**" in told.text
    assert "commit `cccccccccccc` (with changes)" in told.text
    assert [file.name for file in told.files] == [
        *("predictions.parquet", "graph.yaml", "metrics.json", "run.json"),
    ]
    assert sorted(path.rsplit(".", 1)[1] for path in told.made) == ["csv", "png", "svg", "yaml"]
    assert told.metrics["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("finished", "facts", "status"),
    [
        (True, {}, "FINISHED"),  # a folder of before such facts were noted
        (False, {}, "KILLED"),
        (False, {"status": "RUNNING"}, "KILLED"),
        (True, {"status": "FAILED"}, "FAILED"),
    ],
)
def test_a_run_that_did_not_end_well_says_so_and_has_no_metrics(finished, facts, status, tmp_path):
    folder = RunFolder(run_folder(tmp_path / "run", rows_of([True]), finished=finished))
    note(folder, **facts)
    told = run_record(folder, folder.config)
    assert told.status == status
    assert bool(told.metrics) is (status == "FINISHED")
    assert len(told.tables["tables/predictions.json"].rows) == 1


def test_what_is_told_at_the_beginning_has_no_results(tmp_path):
    folder = RunFolder(run_folder(tmp_path / "run", rows_of([True])))
    told = run_record(folder, folder.config, whole=False)
    assert (told.status, told.metrics, told.tables, told.files) == ("RUNNING", {}, {}, ())


def test_only_rows_with_prompts_are_traced(tmp_path):
    folder = RunFolder(run_folder(tmp_path / "run", rows_of([True], first=5), finished=False))
    folder.append([row(asked(1)[0], prompt="You solve.")])
    assert [one.question_id for one in run_record(folder, folder.config).traced] == ["q0"]


def test_long_texts_keep_beginning_and_end_and_say_what_is_left_out():
    (one,) = rows_of([True])
    text = "a" * 3000 + "b" * 3000
    table = predictions_table([replace(one, output_text=text, question="short")])
    told = dict(zip(table.columns, table.rows[0], strict=True))
    assert told["question"] == "short"
    assert told["output_text"].startswith("a" * 1000 + "\n")
    assert told["output_text"].endswith("\n" + "b" * 1000)
    assert f"{6000 - LONGEST} characters left out" in told["output_text"]


def test_the_agents_table_adds_up_what_each_role_took():
    rows = [row(one) for one in asked(2)]
    planned = [replace(one, turns=(replace(one.turns[0], role="planner", seconds=1.5), *one.turns)) for one in rows]
    table = agents_table(planned)
    told = [dict(zip(table.columns, line, strict=True)) for line in table.rows]
    assert [(one["role"], one["seconds"], one["share_of_seconds"], one["output_tokens"]) for one in told] == [
        ("planner", 3.0, 0.75, 8),
        ("solver", 1.0, 0.25, 8),
    ]
    assert agents_table([]).rows == []


def test_a_table_of_very_many_rows_is_cut_and_says_where_the_others_are():
    (one,) = rows_of([True])
    whole = predictions_table([one] * MOST).rows
    assert {line[0] for line in whole} == {"q0"}
    *shown, last = predictions_table([one] * (MOST + 2)).rows
    assert shown == whole
    assert last[:3] == ["...", f"2 rows left out; predictions.parquet has all {MOST + 2}", None]
    assert len(last) == len(shown[0])
