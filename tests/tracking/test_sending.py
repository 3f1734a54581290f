"""Records in an SQLite store: what is there, and that sending them again changes nothing."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from finished import rows_of
from pipeline.tracking import (
    NoLedger,
    Point,
    QuestionSet,
    RunRecord,
    Store,
    Table,
    open_parent,
    open_record,
    send_record,
    sending,
)
from pipeline.tracking.opening import metric_name
from pipeline.tracking.record import flattened, numbers
from trackers import client_of, runs_of


class Memory(NoLedger):
    """Remembers a run's id."""

    def __init__(self, run_id=""):
        self.known = run_id

    def run_ids(self, uri):
        return [self.known] if self.known else []

    def opened(self, uri, run_id):
        self.known = run_id


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    return Store(uri=f"sqlite:///{folder / 'mlflow.db'}", artifacts=folder / "kept")


QUESTIONS = QuestionSet(name="gsm8k", digest="d" * 32, count=2, place={"uri": "x"}, source="local")


def record(tmp_path, **changes):
    (tmp_path / "metrics.json").write_text("{}")
    whole = RunRecord(
        name="mine",
        experiment="e",
        tags={"method": "single"},
        params={"chat_options.enable_thinking": "False", "batch_size": "8"},
        text="**mine**",
        started=100.0,
        ended=160.5,
        status="FINISHED",
        metrics={"accuracy": 0.25, "method": "single", "done": True, "seconds_per_agent": {"solver (math)": 2.0}},
        history=[Point(step=step, time=1000 * step, values={"accuracy_so_far": 0.5}) for step in (1, 2)],
        questions=QUESTIONS,
        tables={"tables/t.json": Table(columns=("a", "b"), rows=[[1, "x"], [None, True]])},
        files=[tmp_path / "metrics.json"],
        made={"figures/f.svg": b"<svg/>"},
    )
    return replace(whole, **changes)


def send(store, told, ledger):
    opened = open_record(store, told, ledger, running=False)
    send_record(store, opened, told, ledger)
    return client_of(store.uri).get_run(opened.run_id)


def told_of(store, run):
    """All that a store holds of a run."""
    client, run_id = client_of(store.uri), run.info.run_id
    history = {name: client.get_metric_history(run_id, name) for name in run.data.metrics}
    return {
        "data": (run.data.params, run.data.tags, run.data.metrics),
        "info": (run.info.status, run.info.start_time, run.info.end_time),
        "history": {name: [(m.step, m.timestamp, m.value) for m in points] for name, points in history.items()},
        "inputs": [one.dataset.to_dictionary() for one in run.inputs.dataset_inputs],
        "table": Path(client.download_artifacts(run_id, "tables/t.json")).read_text(),
    }


def test_all_of_a_record_is_in_the_store(store, tmp_path):
    run = send(store, record(tmp_path), Memory())
    client = client_of(store.uri)
    assert (run.info.run_name, run.info.status) == ("mine", "FINISHED")
    assert (run.info.start_time, run.info.end_time) == (100_000, 160_500)
    assert run.data.params == {"chat_options.enable_thinking": "False", "batch_size": "8"}
    assert run.data.tags["mlflow.note.content"] == "**mine**"
    assert run.data.metrics == {"accuracy": 0.25, "seconds_per_agent/solver _math_": 2.0, "accuracy_so_far": 0.5}
    steps = client.get_metric_history(run.info.run_id, "accuracy_so_far")
    assert [(point.step, point.timestamp) for point in steps] == [(1, 1000), (2, 2000)]
    (given,) = run.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest, json.loads(given.dataset.profile)) == (
        *("gsm8k", "d" * 32),
        {"num_rows": 2},
    )
    assert [(tag.key, tag.value) for tag in given.tags] == [("mlflow.data.context", "eval")]
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"metrics.json", "tables", "figures"}
    assert json.loads(run.data.tags["mlflow.loggedArtifacts"]) == [{"path": "tables/t.json", "type": "table"}]
    table = Path(client.download_artifacts(run.info.run_id, "tables/t.json")).read_text()
    assert json.loads(table) == {"columns": ["a", "b"], "data": [[1, "x"], [None, True]]}


def test_sending_again_changes_nothing(store, tmp_path):
    ledger, told = Memory(), record(tmp_path)
    first = told_of(store, send(store, told, ledger))
    again = told_of(store, send(store, told, ledger))
    assert again == first


def test_a_resumed_run_adds_what_is_new_and_tells_which_settings_have_changed(store, tmp_path):
    ledger = Memory()
    first = send(store, record(tmp_path, metrics={"accuracy": 0.5}), ledger)
    later = record(
        tmp_path,
        params={"batch_size": "20", "seed": "1"},
        history=[Point(step=step, time=1000 * step, values={"accuracy_so_far": 0.5}) for step in (1, 2, 3)],
        ended=200.0,
    )
    run = send(store, later, ledger)
    assert run.info.run_id == first.info.run_id
    assert run.data.params == {"batch_size": "8", "seed": "1", "chat_options.enable_thinking": "False"}
    assert run.data.tags["resumed_with"] == "batch_size=20"
    history = client_of(store.uri).get_metric_history(run.info.run_id, "accuracy_so_far")
    assert [point.step for point in history] == [1, 2, 3]
    assert run.data.metrics["accuracy"] == 0.25


@pytest.mark.parametrize("running", [True, False])
def test_a_run_that_goes_on_is_running_and_one_that_is_sent_stays_as_it_was(store, running, tmp_path):
    ledger = Memory()
    parent = RunRecord(name="s", experiment="e", tags={"kind": "sweep", "sweep": f"abc{running}"}, params={})
    told = record(tmp_path, parent=parent)
    run = send(store, told, ledger)
    opened = open_parent(store, parent)
    send_record(store, opened, replace(parent, status="FINISHED"), NoLedger())
    open_record(store, told, ledger, running=running)
    states = [client_of(store.uri).get_run(one).info.status for one in (run.info.run_id, opened.run_id)]
    assert states == [("RUNNING" if running else "FINISHED")] * 2


def test_a_run_that_was_deleted_or_is_not_known_is_begun_anew(store, tmp_path):
    first = send(store, record(tmp_path), Memory())
    client_of(store.uri).delete_run(first.info.run_id)
    for known in (first.info.run_id, "0" * 32, "no id at all"):
        run = send(store, record(tmp_path), Memory(known))
        assert run.info.run_id != known
        assert run.info.lifecycle_stage == "active"


def test_children_share_one_parent_in_their_own_experiment(store, tmp_path):
    sweep = {"kind": "sweep", "sweep": "f00"}
    for experiment in ("tree", "tree", "other"):
        parent = RunRecord(name="grid", experiment=experiment, tags=sweep, params={"seed": "0"}, text="so far")
        send(store, record(tmp_path, experiment=experiment, parent=parent), Memory())
        parent = replace(parent, text="another text")
    for experiment, count in (("tree", 2), ("other", 1)):
        runs = runs_of(store.uri, experiment)
        (parent,) = (run for run in runs if run.data.tags.get("kind") == "sweep")
        children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
        assert (len(children), len(runs)) == (count, count + 1)
        assert parent.data.params == {"seed": "0"}


def test_numbers_and_settings_in_mappings_get_names_of_their_own():
    assert dict(numbers({"a": 1, "b": {"c": 2.5, "d": {"e": 3}}, "f": "no", "g": True, "h": None})) == {
        **{"a": 1.0, "b/c": 2.5},
        "b/d/e": 3.0,
    }
    settings = {"a": 1, "chat_options": {"enable_thinking": False}, "roles": {"solver": {"model": "m"}}, "none": {}}
    assert dict(flattened(settings)) == {
        **{"a": "1", "chat_options.enable_thinking": "False"},
        **{"roles.solver.model": "m", "none": "{}"},
    }
    assert metric_name("x" * 300) == "x" * 250


class Traces(Memory):
    """Remembers which traces were sent, and how they were told of."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def traced(self, run_id):
        return frozenset(name for batch in self.batches for name in batch)

    def add_traced(self, run_id, question_ids):
        self.batches.append(list(question_ids))


def test_traces_are_remembered_in_batches_and_those_before_a_failure_are_not_sent_again(store, tmp_path, monkeypatch):
    sent = []

    def log(*, rows, **_):
        if rows[0].question_id == "q4" and "q4" not in sent:
            sent.append("q4")
            raise OSError("gone")
        sent.append(rows[0].question_id)

    monkeypatch.setattr(sending, "log_traces", log)
    monkeypatch.setattr(sending, "TRACES_AT_ONCE", 3)
    ledger, told = Traces(), record(tmp_path, traced=rows_of([True] * 7))
    with pytest.raises(OSError, match="gone"):
        send(store, told, ledger)
    assert ledger.batches == [["q0", "q1", "q2"], ["q3"]]
    send(store, told, ledger)
    assert ledger.batches[2:] == [["q4", "q5", "q6"]]
    assert sent == ["q0", "q1", "q2", "q3", "q4", "q4", "q5", "q6"]
