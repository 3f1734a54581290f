"""Run folders read back for a comparison: which ones, and what they are called."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from finished import rows_of, run_folder
from pipeline.runtime.finished import finished_folders, read_runs, short_names


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/a/x"], ["x"]),
        (["/a/x", "/a/y"], ["x", "y"]),
        (["/a/x", "/b/x", "/b/y"], ["a/x", "b/x", "b/y"]),
        (["/a/c/x", "/b/c/x"], ["a/c/x", "b/c/x"]),
        (["/x", "/a/x"], ["/x", "a/x"]),
        ([], []),
    ],
)
def test_names_are_as_short_as_tells_them_apart(paths, names):
    folders = [Path(path) for path in paths]
    assert short_names(folders) == dict(zip(folders, names, strict=True))


def test_a_run_is_read_as_it_was_made(tmp_path):
    folder = run_folder(tmp_path / "mine", rows_of([True, None]), method="text_mas", seed=4, batch_size=2)
    assert finished_folders(folder) == ([folder], [])
    run = read_runs([folder])[folder]
    assert (run.name, run.metrics.accuracy, run.metrics.num_unscored) == ("mine", 1.0, 1)
    assert (run.settings["seed"], run.settings["method"]) == (4, "text_mas")
    assert not {"batch_size", "replicas", "data_dir", "tracking_uri"} & run.settings.keys()
    assert run.rows == rows_of([True, None])
    assert "planner" in run.graph


def test_a_run_that_is_not_finished_is_no_run_to_compare(tmp_path):
    folder = run_folder(tmp_path / "half", rows_of([True]), finished=False)
    with pytest.raises(ValueError, match="half' holds no finished run"):
        finished_folders(folder)


def test_rows_can_be_read_without_texts_which_leaves_all_else_as_it_is(tmp_path):
    rows = rows_of([True, False, None])
    folder = run_folder(tmp_path / "run", rows).resolve()
    whole, brief = (read_runs([folder], texts=texts)[folder] for texts in (True, False))
    assert [row.output_text for row in whole.rows] == ["one", "one", ""]
    assert brief.rows == [replace(row, output_text="", turns=()) for row in rows]
    assert (brief.metrics, brief.correct, brief.period) == (whole.metrics, whole.correct, whole.period)


def test_a_run_tells_its_code_and_where_it_was_computed(tmp_path):
    folder = run_folder(tmp_path / "run", rows_of([True]), batch_size=3).resolve()
    assert read_runs([folder])[folder].git_commit == ""
    (folder / "run.json").write_text('{"git_commit": "abc"}')
    run = read_runs([folder])[folder]
    assert run.git_commit == "abc"
    assert run.execution["batch_size"] == 3
    assert "batch_size" not in run.settings


def test_a_run_whose_settings_leave_the_batch_size_open_tells_the_one_that_was_chosen(tmp_path):
    folder = run_folder(tmp_path / "run", rows_of([True])).resolve()
    assert read_runs([folder])[folder].execution["batch_size"] is None
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps({**metrics, "batch_size": 24}))
    assert read_runs([folder])[folder].execution["batch_size"] == 24
