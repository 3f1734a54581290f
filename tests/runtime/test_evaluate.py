"""What a run notes of its replicas, what it refuses to go on with, and what several runs cost each other."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import RunConfig
from pipeline.graphs import plan_for
from pipeline.records import Whereabouts
from pipeline.runtime import evaluate
from pipeline.runtime.evaluate import BrokenRunError, RunRequest, _note_replicas, _summary, evaluate_all
from pipeline.runtime.facts import note
from pipeline.runtime.results import RunFolder


@pytest.fixture
def folder(tmp_path):
    config = RunConfig()
    return RunFolder.create(tmp_path / "run", config, plan_for(config.collaboration))


def replica(fingerprint, model="m"):
    return Whereabouts(name="r0", roles=("solver",), node="n", pid=1, model=model, fingerprint=fingerprint)


def test_where_replicas_are_is_in_the_run_folder_beside_the_run_id(folder):
    folder.write_json("run.json", {"run_id": "abc"})
    _note_replicas(folder, [replica("f1")])
    noted = json.loads((folder.path / "run.json").read_text())
    assert noted["run_id"] == "abc"
    assert [(one["name"], one["pid"]) for one in noted["replicas"]] == [("r0", 1)]
    assert noted["fingerprints"] == {"m": "f1"}


def test_how_many_questions_were_worked_on_at_once_and_what_was_foretold_stay_with_the_run(folder):
    replicas = [replace(replica("f1"), at_once=12, foretold_bytes=size) for size in (5, 7)]
    _note_replicas(folder, replicas)
    assert json.loads((folder.path / "run.json").read_text())["batch_size"] == 12
    config = RunConfig()
    plan = plan_for(config.collaboration)
    request = RunRequest(config=config, plan=plan, assignments=[], folder=folder, store=folder.path)
    metrics = _summary(request, [], "id")
    assert (metrics.batch_size, metrics.foretold_bytes) == (12, 7)


def test_a_run_says_how_long_its_first_question_was_waited_for(folder, monkeypatch):
    seen = {}
    summarize = evaluate.summarize
    monkeypatch.setattr(evaluate, "summarize", lambda *of, **more: seen.update(more) or summarize(*of, **more))
    note(folder, awaited_since=123.5)
    config = RunConfig()
    plan = plan_for(config.collaboration)
    _summary(RunRequest(config=config, plan=plan, assignments=[], folder=folder, store=folder.path), [], "id")
    assert seen["awaited_since"] == 123.5


def test_a_model_that_is_not_the_one_that_the_run_began_with_is_refused(folder):
    _note_replicas(folder, [replica("f1"), replica("g1", model="other")])
    _note_replicas(folder, [replica("f1")])  # the same again, as after a restart
    with pytest.raises(ValueError, match=r"--model 'm' .*f1, now f2"):
        _note_replicas(folder, [replica("f2")])
    assert json.loads((folder.path / "run.json").read_text())["fingerprints"] == {"m": "f1", "other": "g1"}


def test_what_one_of_several_runs_fails_of_costs_no_other(monkeypatch, capsys):
    config = RunConfig()
    names = ("one", "refused", "broken", "last")
    requests = [
        RunRequest(
            config=config,
            plan=plan_for(config.collaboration),
            assignments=(),
            folder=RunFolder(Path(name)),
            store=Path(),
        )
        for name in names
    ]
    faults = {"refused": ValueError("no such model"), "broken": BrokenRunError("no node")}
    shared = set()

    def pretend(request, crews, report):
        shared.add(crews)
        if fault := faults.get(request.folder.path.name):
            raise fault
        return request.folder.path.name

    monkeypatch.setattr(evaluate, "evaluate", pretend)
    ends = evaluate_all(requests, "cell")
    said = capsys.readouterr().err
    assert [said.index(f"cell {place}/4 {name}: ") for place, name in enumerate(names, 1)] == sorted(
        said.index(f"cell {place}/4 {name}: ") for place, name in enumerate(names, 1)
    )
    assert len(shared) == 1
    assert [end.metrics for end in ends] == ["one", None, None, "last"]
    assert [(end.fault, end.broken) for end in ends[1:3]] == [("no such model", False), ("no node", True)]
