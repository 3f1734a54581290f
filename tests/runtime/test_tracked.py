"""Runs and their tracker: what a store that is down, silent or killed costs. Answers are made up, without Ray."""

import json
import sqlite3
import time

import pytest

from pipeline.runtime.crews import Crews
from pipeline.runtime.evaluate import evaluate
from pipeline.runtime.facts import read_facts
from pipeline.runtime.history import read_points
from pipeline.runtime.upload import upload_all
from pipeline.tracking import tracker
from trackers import DEAD, answer_by, client_of, end, free_port, mlflow_server, request_of, runs_of, silent_server

HINT = "send it later with: python jobs/compare.py --upload"


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"


def run(request):
    """Its metrics, and what is in its folder."""
    metrics = evaluate(request, Crews())
    assert json.loads((request.folder.path / "metrics.json").read_text()) == metrics.to_dict()
    return metrics, read_facts(request.folder)


def untroubled(metrics):
    """Whether a run reports what it would have reported with any tracker."""
    return (metrics.accuracy, metrics.num_questions, metrics.num_unscored, metrics.output_tokens) == (1.0, 3, 0, 12)


def test_a_run_is_told_as_it_goes_and_whole_at_its_end(uri, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    seen = []
    request = request_of(tmp_path / "run", tracking_uri=uri, experiment="whole")

    def look(number):
        facts = read_facts(request.folder)
        state = client_of(uri).get_run(facts["run_id"]).info.status
        seen.append((state, facts["status"], facts["tracked"], len(read_points(request.folder))))

    answer_by(monkeypatch, look)
    metrics, facts = run(request)
    assert seen == [("RUNNING", "RUNNING", False, number) for number in (1, 2, 3)]
    assert untroubled(metrics)
    assert (facts["status"], facts["tracked"], facts["run_id"]) == ("FINISHED", True, metrics.run_id)
    told = client_of(uri).get_run(metrics.run_id)
    assert (told.info.status, told.data.metrics["accuracy"], told.data.params["method"]) == ("FINISHED", 1.0, "single")
    assert told.data.tags["notice"] == "note 1\nnote 2\nnote 3"
    history = client_of(uri).get_metric_history(metrics.run_id, "accuracy_so_far")
    assert [(point.step, point.timestamp) for point in history] == [
        (p.step, p.time) for p in read_points(request.folder)
    ]
    assert client_of(uri).get_metric_history(metrics.run_id, "system/cpu_utilization_percentage")
    assert "tracking" not in capsys.readouterr().err


def test_a_resumed_run_goes_on_in_the_same_mlflow_run(uri, tmp_path, monkeypatch):
    request = request_of(tmp_path / "run", count=3, tracking_uri=uri, experiment="resumed")

    def stop(number):
        if number == 2:
            raise KeyboardInterrupt

    answer_by(monkeypatch, stop)
    with pytest.raises(KeyboardInterrupt):
        evaluate(request, Crews())
    facts = read_facts(request.folder)
    assert (facts["status"], client_of(uri).get_run(facts["run_id"]).info.status) == ("KILLED", "KILLED")
    answer_by(monkeypatch)
    again = request_of(tmp_path / "run", tracking_uri=uri, experiment="resumed", batch_size=2)
    metrics, after = run(again)
    assert untroubled(metrics)
    assert (metrics.run_id, after["started"], after["status"]) == (facts["run_id"], facts["started"], "FINISHED")
    (told,) = runs_of(uri, "resumed")
    assert (told.info.status, told.data.tags["resumed_with"]) == ("FINISHED", "batch_size=2")
    history = client_of(uri).get_metric_history(metrics.run_id, "output_tokens_so_far")
    assert [(point.step, point.value) for point in history] == [(1, 4), (2, 8), (3, 12)]


def test_what_is_finished_and_told_is_not_told_again(uri, tmp_path, monkeypatch):
    answer_by(monkeypatch)
    request = request_of(tmp_path / "run", tracking_uri=uri)
    metrics, facts = run(request)
    monkeypatch.setattr("pipeline.runtime.evaluate.told", None)
    assert evaluate(request, Crews()) == metrics
    assert read_facts(request.folder) == facts


def test_a_run_that_fails_says_so(uri, tmp_path, monkeypatch):
    def fail(number):
        raise ValueError("another model")

    answer_by(monkeypatch, fail)
    request = request_of(tmp_path / "run", tracking_uri=uri)
    with pytest.raises(ValueError, match="another model"):
        evaluate(request, Crews())
    facts = read_facts(request.folder)
    assert (facts["status"], facts["fault"]) == ("FAILED", "another model")
    assert client_of(uri).get_run(facts["run_id"]).info.status == "FAILED"


@pytest.mark.parametrize("server", ["dead", "silent"])
def test_a_server_that_does_not_answer_costs_a_line_and_no_results(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tracker, "GRACE", 0.3)
    monkeypatch.setattr(tracker, "LONGEST", None)  # nobody may wait that long here
    answer_by(monkeypatch)
    with silent_server() as silent:
        address = DEAD if server == "dead" else silent
        request = request_of(tmp_path / "run", tracking_uri=address)
        metrics, facts = run(request)
    assert untroubled(metrics)
    assert (metrics.run_id, facts["tracked"], facts["status"]) == ("", False, "FINISHED")
    assert "run_id" not in facts
    err = capsys.readouterr().err
    assert err.count("tracking has stopped") == 1
    assert address in err
    assert f"{HINT} {request.folder.path}" in err
    assert [point.step for point in read_points(request.folder)] == [1, 2, 3]


@pytest.mark.parametrize("server", ["dead", "silent"])
def test_ctrl_c_waits_for_no_server(server, tmp_path, monkeypatch):
    monkeypatch.setattr(tracker, "GRACE", None)
    monkeypatch.setattr(tracker, "LONGEST", None)

    def stop(number):
        raise KeyboardInterrupt

    answer_by(monkeypatch, stop)
    with silent_server() as silent:
        request = request_of(tmp_path / "run", tracking_uri=DEAD if server == "dead" else silent)
        with pytest.raises(KeyboardInterrupt):
            evaluate(request, Crews())
    assert read_facts(request.folder)["status"] == "KILLED"
    assert len(request.folder.read()) == 1


@pytest.mark.parametrize("at_the_end", [False, True])
def test_a_store_that_fails_in_mid_run_is_told_everything_at_the_end_if_it_can_be(
    at_the_end, uri, tmp_path, monkeypatch, capsys
):
    broken = []

    def locked(*_):
        broken.append(True)
        raise OSError("database is locked")

    monkeypatch.setattr(tracker, "send_points", locked)
    if not at_the_end:
        monkeypatch.setattr(tracker, "send_record", locked)
    answer_by(monkeypatch)
    request = request_of(tmp_path / "run", tracking_uri=uri)
    metrics, facts = run(request)
    assert untroubled(metrics)
    assert (metrics.run_id, facts["tracked"]) == (facts["run_id"], at_the_end)
    assert len(broken) == (1 if at_the_end else 2)  # after the first failure nothing more is tried in mid-run
    err = capsys.readouterr().err
    assert err.count("tracking has stopped") == 1
    assert "database is locked" in err
    assert ("has the whole run" in err) is at_the_end
    history = client_of(uri).get_metric_history(metrics.run_id, "accuracy_so_far")
    assert len(history) == (3 if at_the_end else 0)


def test_a_file_that_somebody_else_writes_is_no_reason_to_refuse_a_run(tmp_path, monkeypatch, capsys):
    def busy(_):
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("pipeline.tracking.Store.client", busy)
    answer_by(monkeypatch)
    metrics, facts = run(request_of(tmp_path / "run"))
    assert untroubled(metrics)
    assert (facts["status"], facts["tracked"]) == ("FINISHED", False)
    err = capsys.readouterr().err
    assert err.count("tracking has stopped") == 1
    assert f"{HINT} {tmp_path / 'run'}\n" in err


def test_a_run_that_goes_on_with_another_store_is_to_be_sent_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tracker, "GRACE", 0.3)
    answer_by(monkeypatch)
    request_of(tmp_path / "run")
    evaluate(request_of(tmp_path / "run", tracking_uri=DEAD), Crews())
    assert f"{HINT} {tmp_path / 'run'} --tracking-uri {DEAD}\n" in capsys.readouterr().err


@pytest.mark.parametrize("bad", ["nonsense://x", "http://", "damaged"])
def test_a_store_that_can_be_none_is_refused_before_anything_begins(bad, tmp_path, monkeypatch):
    answer_by(monkeypatch, lambda number: pytest.fail("the run has begun"))
    (tmp_path / "mlflow.db").write_text("no database, whatever its name says" * 100)
    settings = {} if bad == "damaged" else {"tracking_uri": bad}
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ValueError, match="--tracking-uri .* can't be used"):
        evaluate(request_of(tmp_path / "run", **settings), Crews())


@pytest.mark.slow
def test_a_server_that_is_killed_in_mid_run_gets_the_run_later(tmp_path, monkeypatch, capsys):
    port, kept = free_port(), f"sqlite:///{tmp_path / 'mlflow.db'}"
    request = request_of(tmp_path / "run", tracking_uri=f"http://127.0.0.1:{port}", experiment="killed")
    with mlflow_server(tmp_path, port) as server:

        def kill(number):
            while number == 2 and not any(run.data.metrics for run in runs_of(kept, "killed")):
                time.sleep(0.1)  # opening takes a moment, and is to be over
            if number == 2:
                end(server)

        answer_by(monkeypatch, kill, prompt="You solve.")
        metrics, facts = run(request)
    assert untroubled(metrics)
    assert (metrics.run_id, facts["tracked"]) == (facts["run_id"], False)
    assert capsys.readouterr().err.count("tracking has stopped") == 1
    with mlflow_server(tmp_path, port):
        for _ in range(2):
            (sent,) = upload_all([request.folder.path], tracking_uri=None, store=tmp_path)
            assert sent.run_id == metrics.run_id
    (told,) = runs_of(kept, "killed")
    assert (told.info.status, told.data.metrics["accuracy"]) == ("FINISHED", 1.0)
    client = client_of(kept)
    assert [point.step for point in client.get_metric_history(metrics.run_id, "accuracy_so_far")] == [1, 2, 3]
    assert len(client.search_traces(locations=[told.info.experiment_id])) == 3
    assert read_facts(request.folder)["tracked"]
