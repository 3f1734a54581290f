"""Runs brought back from MLflow: which ones, with which files, and what is said of the rest."""

import pytest

from pipeline.tracking import Store
from pipeline.tracking.fetching import NEEDED, WANTED, fetch_runs


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Two experiments: in `mine` two runs of one name, a sweep of one of them, and runs that can't be compared."""
    place = tmp_path_factory.mktemp("store")
    store = Store(uri=f"sqlite:///{place / 'mlflow.db'}")
    client, files = store.client(), place / "files"
    mine, other = (client.create_experiment(name, (place / "artifacts").as_uri()) for name in ("a/mine", "a/other"))
    sweep = record(client, mine, files, "sweep", 1, names=(), tags={"kind": "sweep"})
    record(client, mine, files, "twin", 2, tags={"mlflow.parentRunId": sweep})
    record(client, mine, files, "twin", 3)
    record(client, mine, files, "bare", 4, names=("config.yaml",))
    record(client, mine, files, "going", 5, status="RUNNING")
    record(client, other, files, "lone: 50%", 6, names=NEEDED)
    return store


def record(client, experiment, files, name, start, *, names=WANTED, tags=None, status="FINISHED"):
    run_id = client.create_run(experiment, start_time=start, run_name=name, tags=tags or {}).info.run_id
    files.mkdir(exist_ok=True)
    for file in names:
        (files / file).write_text(f"{name} {start}")
        client.log_artifact(run_id, str(files / file))
    if status == "FINISHED":
        client.set_terminated(run_id)
    return run_id


def told(fetched):
    """Of every run one of its files."""
    return [(run.folder / "metrics.json").read_text() for run in fetched.runs]


def fetch(store, into, experiments=(), run_ids=()):
    return fetch_runs(store, experiments=experiments, run_ids=run_ids, into=into)


def ids(store, experiment):
    client = store.client()
    runs = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return {f"{run.info.run_name} {run.info.start_time}": run.info.run_id for run in runs}


def test_an_experiment_stands_for_its_finished_runs_the_newest_first(store, tmp_path):
    found = fetch(store, tmp_path, ["a/mine"])
    assert told(found) == ["twin 3", "twin 2"]
    assert {file.name for file in found.runs[0].folder.iterdir()} == set(WANTED)
    assert found.notes == (
        "going: not finished, so left out",
        "bare: has no metrics.json, predictions.parquet in the tracker, so left out",
    )


def test_folders_are_named_after_runs_and_ids_tell_twins_apart(store, tmp_path):
    found = fetch(store, tmp_path, ["a/mine", "a/other"])
    names = [str(run.folder.relative_to(tmp_path)) for run in found.runs]
    assert names[0] == "other/lone_50"
    assert names[1:] == [f"mine/twin-{run.run_id[:8]}" for run in found.runs[1:]]


def test_a_run_is_fetched_once_however_often_it_is_asked_for(store, tmp_path):
    run_id = ids(store, "a/mine")["twin 2"]
    assert told(fetch(store, tmp_path, ["a/mine"], [run_id, run_id])) == ["twin 3", "twin 2"]


def test_a_sweep_stands_for_its_children(store, tmp_path):
    assert told(fetch(store, tmp_path, run_ids=[ids(store, "a/mine")["sweep 1"]])) == ["twin 2"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"experiments": ["a/none"]}, "--experiment 'a/none' is not in the store; allowed: a/other, a/mine, Default"),
        ({"run_ids": ["f" * 32]}, f"--run-id '{'f' * 32}' is not in 'sqlite:"),
        ({"run_ids": ["' or 1"]}, "is not in 'sqlite:"),
        ({"experiments": ["Default"]}, "'Default' in 'sqlite:"),
    ],
)
def test_what_is_not_there_is_one_clear_line(asked, words, store, tmp_path):
    with pytest.raises(ValueError, match=".") as caught:
        fetch(store, tmp_path, **asked)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_runs_without_files_are_named_where_nothing_else_is_left(store, tmp_path):
    with pytest.raises(ValueError, match=r"has no finished run with its files \(bare: has no metrics.json"):
        fetch(store, tmp_path, run_ids=[ids(store, "a/mine")["bare 4"]])


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("sqlite:///nowhere/mlflow.db", "there is no such file"),
        ("nonsense://x", "can't be used"),
        ("http://127.0.0.1:9", "can't be used"),
    ],
)
def test_a_store_that_cannot_be_asked_is_one_clear_line_and_none_is_made(uri, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ValueError, match=words) as caught:
        fetch(Store(uri=uri), tmp_path, ["a"])
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_store_is_one_clear_line(tmp_path):
    (tmp_path / "mlflow.db").write_text("no database, whatever its name says" * 100)
    with pytest.raises(ValueError, match="can't be used"):
        fetch(Store(uri=f"sqlite:///{tmp_path / 'mlflow.db'}"), tmp_path / "into", ["a"])
