"""Runs that are stopped after their last answer, when only their end is left to be noted and told. No Ray."""

import pytest

from pipeline.runtime.crews import Crews
from pipeline.runtime.evaluate import evaluate
from pipeline.runtime.facts import read_facts
from pipeline.runtime.upload import upload_all
from trackers import answer_by, request_of, runs_of


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"


def interrupted(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("pipeline.runtime.evaluate._unanswered", id="before its metrics are written"),
        pytest.param("pipeline.tracking.TrackedRun.send", id="while it is sent"),
    ],
)
@pytest.mark.parametrize("uploaded", [False, True])
def test_a_run_that_is_stopped_after_its_last_answer_is_finished_by_going_on(
    moment, uploaded, uri, tmp_path, monkeypatch
):
    answer_by(monkeypatch)
    settings = {"tracking_uri": uri, "experiment": f"late {moment} {uploaded}"}
    request = request_of(tmp_path / "run", **settings)
    with monkeypatch.context() as stopping:
        stopping.setattr(moment, interrupted)
        with pytest.raises(KeyboardInterrupt):
            evaluate(request, Crews())
    if uploaded:
        list(upload_all([tmp_path / "run"], tracking_uri=None, store=tmp_path))
    metrics = evaluate(request_of(tmp_path / "run", **settings), Crews())
    assert request.folder.read_json("metrics.json") == metrics.to_dict()
    facts = read_facts(request.folder)
    assert (facts["status"], facts["tracked"]) == ("FINISHED", True)
    (told,) = runs_of(uri, settings["experiment"])
    assert (told.info.status, told.data.metrics["accuracy"]) == ("FINISHED", 1.0)
    assert told.info.end_time >= told.info.start_time


def test_a_run_that_is_stopped_while_it_is_sent_is_sent_whole_later(uri, tmp_path, monkeypatch):
    answer_by(monkeypatch)
    request = request_of(tmp_path / "run", tracking_uri=uri, experiment="sent later")
    with monkeypatch.context() as stopping:
        stopping.setattr("pipeline.tracking.TrackedRun.send", interrupted)
        with pytest.raises(KeyboardInterrupt):
            evaluate(request, Crews())
    list(upload_all([tmp_path / "run"], tracking_uri=None, store=tmp_path))
    (told,) = runs_of(uri, "sent later")
    assert (told.info.status, told.data.metrics["accuracy"]) == ("FINISHED", 1.0)
