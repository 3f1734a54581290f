"""What a run notes of its replicas, and what it refuses to go on with."""

import json

import pytest

from pipeline.config import RunConfig
from pipeline.graphs import plan_for
from pipeline.records import Whereabouts
from pipeline.runtime.evaluate import _note_replicas
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


def test_a_model_that_is_not_the_one_that_the_run_began_with_is_refused(folder):
    _note_replicas(folder, [replica("f1"), replica("g1", model="other")])
    _note_replicas(folder, [replica("f1")])  # the same again, as after a restart
    with pytest.raises(ValueError, match=r"--model 'm' .*f1, now f2"):
        _note_replicas(folder, [replica("f2")])
    assert json.loads((folder.path / "run.json").read_text())["fingerprints"] == {"m": "f1", "other": "g1"}
