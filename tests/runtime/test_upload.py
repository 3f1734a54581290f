"""Runs and sweeps that are sent after they have ended. Answers are made up; no cluster is started."""

import json
import os
import socket
from pathlib import Path

import psutil
import pytest

from finished import rows_of, run_folder
from jobs import compare
from pipeline.runtime.crews import Crews
from pipeline.runtime.evaluate import evaluate, evaluate_all
from pipeline.runtime.facts import note, read_facts
from pipeline.runtime.results import RunFolder
from pipeline.runtime.sweeps import mark_sweep
from pipeline.runtime.upload import upload_all
from trackers import DEAD, answer_by, asked, client_of, request_of, row, runs_of


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"


def parents(uri, experiment):
    return [run for run in runs_of(uri, experiment) if run.data.tags.get("kind") == "sweep"]


def children(uri, parent):
    experiment = client_of(uri).get_experiment(parent.info.experiment_id).name
    return [run for run in runs_of(uri, experiment) if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]


def cells(uri, parent):
    table = json.loads(Path(client_of(uri).download_artifacts(parent.info.run_id, "tables/cells.json")).read_text())
    return {line[0]: dict(zip(table["columns"], line, strict=True)) for line in table["data"]}


def sweep_of(folder, **settings):
    """Two cells of one task and one of another, and their requests."""
    requests = [
        request_of(folder / name, task=task, seed=seed, **settings)
        for name, task, seed in (("a", "demo", 0), ("b", "demo", 1), ("c", "gsm8k", 0))
    ]
    mark_sweep(requests)
    return requests


def test_a_run_that_no_tracker_has_is_sent_and_stays_one_run(uri, tmp_path):
    run_folder(tmp_path / "runs/new", rows_of([True, False]), experiment="sent")
    run_folder(tmp_path / "runs/broken", rows_of([True]), experiment="sent", finished=False)
    for _ in range(2):
        sent = list(upload_all([tmp_path / "runs"], tracking_uri=uri, store=tmp_path))
        assert {one.run_id for one in sent} == {run.info.run_id for run in runs_of(uri, "sent")}
    states = {run.info.status: run.data.metrics.get("accuracy") for run in runs_of(uri, "sent")}
    assert states == {"FINISHED": 0.5, "KILLED": None}
    facts = read_facts(RunFolder(tmp_path / "runs/new"))
    assert (facts["tracked"], facts["tracking_uri"]) == (True, uri)


def test_a_sweep_is_a_tree_in_each_experiment_while_it_runs_and_after(uri, tmp_path, monkeypatch):
    seen = []
    answer_by(monkeypatch, lambda _: seen.append({run.info.status for run in parents(uri, "latentmas/demo")}))
    requests = sweep_of(tmp_path / "grid", tracking_uri=uri)
    evaluate_all(requests, lambda _: None)
    assert {frozenset(states) for states in seen} == {frozenset({"RUNNING"})}
    for experiment, names in (("latentmas/demo", ["a", "b"]), ("latentmas/gsm8k", ["c"])):
        (parent,) = parents(uri, experiment)
        assert (parent.info.run_name, parent.info.status) == ("grid", "FINISHED")
        assert parent.data.metrics == {"cells": len(names), "cells_finished": len(names), "cells_failed": 0}
        assert len(children(uri, parent)) == len(names)
        told = cells(uri, parent)
        assert {name: (cell["status"], cell["accuracy"]) for name, cell in told.items()} == dict.fromkeys(
            names, ("FINISHED", 1.0)
        )
        assert ("seed" in parent.data.params) is (len(names) == 1)
        assert parent.data.params["method"] == "single"


def test_a_sweep_that_is_stopped_and_gone_on_with_keeps_its_parent(uri, tmp_path, monkeypatch):
    def stop(_):
        raise KeyboardInterrupt

    settings = {"tracking_uri": uri, "experiment": "stopped"}
    answer_by(monkeypatch, stop)
    with pytest.raises(KeyboardInterrupt):
        evaluate_all(sweep_of(tmp_path / "grid", **settings), lambda _: None)
    (before,) = parents(uri, "stopped")
    assert (before.info.status, before.data.metrics["cells_finished"]) == ("KILLED", 0)
    assert {name: cell["status"] for name, cell in cells(uri, before).items()} == {
        **{"a": "KILLED", "b": "NOT RUN"},
        "c": "NOT RUN",
    }
    answer_by(monkeypatch)
    evaluate_all(sweep_of(tmp_path / "grid", **settings), lambda _: None)
    (after,) = parents(uri, "stopped")
    assert (after.info.run_id, after.info.status) == (before.info.run_id, "FINISHED")
    assert len(children(uri, after)) == 3


def test_a_cell_that_fails_makes_its_sweep_one_that_failed(uri, tmp_path, monkeypatch):
    def fail(_):
        raise ValueError("no")

    answer_by(monkeypatch, fail)
    ends = evaluate_all(sweep_of(tmp_path / "grid", tracking_uri=uri, experiment="failed"), lambda _: None)
    assert [end.fault for end in ends] == ["no"] * 3
    (parent,) = parents(uri, "failed")
    assert (parent.info.status, parent.data.metrics["cells_failed"]) == ("FAILED", 3)


def test_a_sweep_that_no_server_heard_of_is_sent_later_as_the_same_tree(uri, tmp_path, monkeypatch, capsys):
    answer_by(monkeypatch)
    requests = sweep_of(tmp_path / "grid", tracking_uri=DEAD, experiment="later")
    evaluate_all(requests, lambda _: None)
    assert capsys.readouterr().err.count("tracking has stopped") == len(requests)
    for path in (tmp_path / "grid/a", tmp_path / "grid"):  # a cell alone, and then all of them
        sent = list(upload_all([path], tracking_uri=uri, store=tmp_path))
        (parent,) = parents(uri, "later")
        assert [one.run_id for one in sent if one.name == "sweep grid"] == [parent.info.run_id]
        assert set(cells(uri, parent)) == {"a", "b", "c"}
    assert len(children(uri, parent)) == 3
    assert parent.info.status == "FINISHED"


def test_several_tasks_of_one_command_are_no_sweep(uri, tmp_path, monkeypatch):
    answer_by(monkeypatch)
    request = request_of(tmp_path / "run", tracking_uri=uri, experiment="plain")
    evaluate_all([request], lambda _: None)
    (run,) = runs_of(uri, "plain")
    assert "mlflow.parentRunId" not in run.data.tags


def test_the_command_prints_a_line_a_run(uri, tmp_path, capsys):
    run_folder(tmp_path / "new", rows_of([True, False]), experiment="printed")
    assert compare.main(["--upload", str(tmp_path / "new"), "--tracking-uri", uri]) == 0
    (run,) = runs_of(uri, "printed")
    assert capsys.readouterr().out == f"single-embedded {uri} {run.info.run_id}\n"


def test_a_folder_of_an_earlier_version_is_sent_with_its_own_times_and_can_be_gone_on_with(uri, tmp_path, monkeypatch):
    answer_by(monkeypatch)
    for name in ("sent", "gone on with"):  # their run.json tells of nothing, least of all of when they began
        settings = {"tracking_uri": uri, "experiment": f"earlier, {name}"}
        run_folder(tmp_path / name, [row(one) for one in asked(3)], **settings)
        if name == "sent":
            list(upload_all([tmp_path / name], tracking_uri=None, store=tmp_path))
        evaluate(request_of(tmp_path / name, **settings), Crews())
        (told,) = runs_of(uri, settings["experiment"])
        assert (told.info.status, told.data.metrics["accuracy"]) == ("FINISHED", 1.0)
        assert (told.info.start_time, told.info.end_time) == (100_000, 102_000)


def test_a_run_that_is_in_several_stores_is_found_in_one_that_was_moved(tmp_path):
    run_folder(tmp_path / "run", rows_of([True]), experiment="moved")
    uris = [f"sqlite:///{tmp_path / name}.db" for name in ("first", "second", "moved")]
    for uri in uris[:2]:
        list(upload_all([tmp_path / "run"], tracking_uri=uri, store=tmp_path))
    (before,) = runs_of(uris[0], "moved")
    (tmp_path / "first.db").rename(tmp_path / "moved.db")
    (sent,) = upload_all([tmp_path / "run"], tracking_uri=uris[2], store=tmp_path)
    assert [run.info.run_id for run in runs_of(uris[2], "moved")] == [before.info.run_id] == [sent.run_id]


def test_cells_that_a_store_does_not_have_are_without_id_in_it(uri, tmp_path, monkeypatch):
    answer_by(monkeypatch)
    elsewhere = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    evaluate_all(sweep_of(tmp_path / "grid", tracking_uri=elsewhere, experiment="partly"), lambda _: None)
    sent, _ = upload_all([tmp_path / "grid/a"], tracking_uri=uri, store=tmp_path)
    (parent,) = parents(uri, "partly")
    assert {name: cell["run_id"] for name, cell in cells(uri, parent).items()} == {"a": sent.run_id, "b": "", "c": ""}


def test_an_experiment_that_was_deleted_is_named(uri, tmp_path):
    run_folder(tmp_path / "run", rows_of([True]), experiment="deleted")
    list(upload_all([tmp_path / "run"], tracking_uri=uri, store=tmp_path))
    client_of(uri).delete_experiment(client_of(uri).get_experiment_by_name("deleted").experiment_id)
    run_folder(tmp_path / "next", rows_of([True]), experiment="deleted")
    with pytest.raises(
        ValueError, match="experiment 'deleted' was deleted in it; restore it there, or .* --experiment"
    ):
        list(upload_all([tmp_path / "next"], tracking_uri=uri, store=tmp_path))


def test_passwords_stay_out_of_what_is_sent(uri, tmp_path):
    secret = {"tracking_uri": "http://bob:s3cret@lab:1/?password=s3cret"}
    run_folder(tmp_path / "run", rows_of([True]), experiment="secret", **secret)
    (sent,) = upload_all([tmp_path / "run"], tracking_uri=uri, store=tmp_path)
    told = client_of(uri).get_run(sent.run_id)
    assert "s3cret" not in str(told)
    kept = list(Path(told.info.artifact_uri.removeprefix("file://")).rglob("*"))
    assert "config.yaml" in [file.name for file in kept]
    assert [file.name for file in kept if file.is_file() and b"s3cret" in file.read_bytes()] == []


def test_without_a_flag_the_runs_own_store_wins_over_the_environment(uri, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://x")
    run_folder(tmp_path / "own", rows_of([True]), experiment="own", tracking_uri=uri)
    run_folder(tmp_path / "none", rows_of([True]), experiment="own")
    assert compare.main(["--upload", str(tmp_path / "own")]) == 0
    assert uri in capsys.readouterr().out
    assert compare.main(["--upload", str(tmp_path / "none")]) == 2
    assert "nonsense://x" in capsys.readouterr().err


def test_damaged_runs_are_told_of_when_all_others_have_been_sent(uri, tmp_path, capsys):
    for name in ("a", "b", "c", "d"):
        run_folder(tmp_path / "runs" / name, rows_of([True]), experiment="damaged")
    (tmp_path / "runs/a/run.json").write_text("{")
    (tmp_path / "runs/c/metrics.json").write_text("{")
    assert compare.main(["--upload", str(tmp_path / "runs"), "--tracking-uri", uri]) == 2
    out, err = capsys.readouterr()
    assert {line.split()[-1] for line in out.splitlines()} == {run.info.run_id for run in runs_of(uri, "damaged")}
    assert (out.count("\n"), err.count("\n")) == (2, 1)
    assert "a/run.json is damaged" in err
    assert err.endswith("; 1 more can't be sent either\n")


def test_a_damaged_cell_does_not_keep_its_sweep_from_being_sent(uri, tmp_path, monkeypatch):
    answer_by(monkeypatch)
    elsewhere = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    evaluate_all(sweep_of(tmp_path / "grid", tracking_uri=elsewhere, experiment="holed"), lambda _: None)
    (tmp_path / "grid/b/run.json").write_text("{")
    sent = upload_all([tmp_path / "grid"], tracking_uri=uri, store=tmp_path)
    names = [next(sent).name for _ in range(3)]
    with pytest.raises(ValueError, match="b/run.json is damaged"):
        next(sent)
    (parent,) = parents(uri, "holed")
    assert names[-1] == "sweep grid"
    assert set(cells(uri, parent)) == {"a", "c"}


def goes_on(folder, **changes):
    """Notes that a run goes on in the process that has started this one."""
    pid = os.getppid()
    own = {"pid": pid, "pid_since": psutil.Process(pid).create_time(), "host": socket.gethostname()}
    note(RunFolder(folder), status="RUNNING", **{**own, **changes})


def test_a_run_that_another_process_works_on_is_refused(uri, tmp_path):
    run_folder(tmp_path / "run", rows_of([True]), finished=False, experiment="goes on")
    goes_on(tmp_path / "run")
    with pytest.raises(ValueError, match=f"run' is still going on, in process {os.getppid()}"):
        list(upload_all([tmp_path / "run"], tracking_uri=uri, store=tmp_path))
    assert runs_of(uri, "goes on") == []


@pytest.mark.parametrize("changes", [{"host": "another"}, {"pid_since": 1.0}, {"pid": os.getpid()}, {"pid": 2**30}])
def test_a_run_whose_process_is_gone_or_cannot_be_seen_is_sent(changes, uri, tmp_path):
    run_folder(tmp_path / "run", rows_of([True]), finished=False)
    goes_on(tmp_path / "run", **changes)
    assert list(upload_all([tmp_path / "run"], tracking_uri=uri, store=tmp_path))


def test_a_sweep_is_not_said_to_be_over_while_one_of_its_cells_goes_on(uri, tmp_path, monkeypatch):
    answer_by(monkeypatch)
    elsewhere = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    evaluate_all(sweep_of(tmp_path / "grid", tracking_uri=elsewhere, experiment="half way"), lambda _: None)
    goes_on(tmp_path / "grid/b")
    (sent,) = upload_all([tmp_path / "grid/a"], tracking_uri=uri, store=tmp_path)
    (parent,) = parents(uri, "half way")
    assert (sent.name, parent.info.status) == ("single-embedded", "RUNNING")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["new", "--tracking-uri", DEAD], [f"'{DEAD}' can't be used", "Connection refused"]),
        (["new", "--tracking-uri", "nonsense://x"], ["'nonsense://x' can't be used"]),
        (["nowhere"], ["'nowhere' holds no run"]),
        (["torn"], ["torn", "metrics.json"]),
        (["older"], ["older", "metrics.json", "another version"]),
        (["half"], ["half", "run.json", "damaged"]),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(argv, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("new", "torn", "older", "half"):
        run_folder(tmp_path / name, rows_of([True]))
    (tmp_path / "torn/metrics.json").write_text("{}")
    (tmp_path / "older/metrics.json").write_text('{"accuracy": 1.0}')
    (tmp_path / "half/run.json").write_text('{"status": ')
    note(RunFolder(tmp_path / "torn"), status="FINISHED")
    assert compare.main(["--upload", *argv]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert [word for word in words if word not in err] == []
