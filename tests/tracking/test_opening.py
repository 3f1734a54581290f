"""Runs that are begun in a store which answers late or never: each is there once."""

import pytest
from mlflow import MlflowClient

from pipeline.tracking import NoLedger, RunRecord, Store, open_parent, open_record
from pipeline.tracking.opening import KEY
from trackers import runs_of

BEGIN = MlflowClient.create_run


class Notes(NoLedger):
    """Remembers a run's key and its id."""

    def __init__(self):
        self.key = self.known = ""

    def run_ids(self, uri):
        return [self.known] if self.known else []

    def run_key(self):
        return self.key

    def new_key(self):
        self.key = super().new_key()
        return self.key

    def opened(self, uri, run_id):
        self.known = run_id


@pytest.fixture
def store(tmp_path):
    return Store(uri=f"sqlite:///{tmp_path / 'mlflow.db'}", artifacts=tmp_path / "kept")


def record(**more):
    return RunRecord(name="mine", experiment="e", tags={"method": "single"}, params={"seed": "0"}, **more)


def answers_too_late(monkeypatch, times):
    """Has the store do what it is asked for, and the client hear of it never the first few times."""
    left = iter(range(times))

    def begin(*args, **more):
        made = BEGIN(*args, **more)
        if next(left, None) is not None:
            raise TimeoutError("Read timed out")
        return made

    monkeypatch.setattr(MlflowClient, "create_run", begin)


def asks_twice(monkeypatch):
    """Has the client repeat its request, as it does where no answer comes in time."""

    def begin(*args, **more):
        BEGIN(*args, **more)
        return BEGIN(*args, **more)

    monkeypatch.setattr(MlflowClient, "create_run", begin)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "0")


def test_a_run_that_was_begun_without_an_answer_is_found_again(store, monkeypatch):
    answers_too_late(monkeypatch, times=1)
    notes = Notes()
    with pytest.raises(TimeoutError):
        open_record(store, record(), notes, running=True)
    opened = open_record(store, record(), notes, running=False)
    (run,) = runs_of(store.uri, "e")
    assert (run.info.run_id, run.data.tags[KEY]) == (opened.run_id, notes.key)
    assert run.data.params == {"seed": "0"}


def test_doubles_of_a_run_that_never_got_anything_are_deleted_and_others_are_left_alone(store, monkeypatch):
    other = open_record(store, record(), Notes(), running=True)
    asks_twice(monkeypatch)
    opened = open_record(store, record(), Notes(), running=True)
    assert {run.info.run_id for run in runs_of(store.uri, "e")} == {other.run_id, opened.run_id}


def test_a_double_that_a_slow_store_begins_later_is_deleted_when_the_run_is_opened_again(store):
    notes = Notes()
    opened = open_record(store, record(), notes, running=True)
    BEGIN(opened.client, opened.experiment_id, tags={KEY: notes.key})
    open_record(store, record(), notes, running=False)
    assert [run.info.run_id for run in runs_of(store.uri, "e")] == [opened.run_id]


def test_of_several_doubles_the_one_that_got_something_is_gone_on_with(store):
    notes = Notes()
    opened = open_record(store, record(), notes, running=True)
    BEGIN(opened.client, opened.experiment_id, tags={KEY: notes.key})
    notes.known = ""
    assert open_record(store, record(), notes, running=False).run_id == opened.run_id


def test_a_sweep_that_was_begun_twice_is_there_once(store, monkeypatch):
    asks_twice(monkeypatch)
    opened = open_parent(store, record())
    assert [run.info.run_id for run in runs_of(store.uri, "e")] == [opened.run_id]


def test_a_new_run_is_begun_without_a_search(store, monkeypatch):
    monkeypatch.setattr(MlflowClient, "search_runs", None)
    notes = Notes()
    assert open_record(store, record(), notes, running=True).run_id == notes.known
