"""Processes that die in mid-run: every question is answered once, as in an undisturbed run, and the run tells of it."""

from contextlib import chdir

import psutil
import pyarrow.parquet as pq
import pytest

from clusters import RayCluster, running_cluster
from evaluations import StartedRun, evaluate, notice, own_questions, rows, started, texts
from poison import WORD, save_poisoned_model

pytestmark = [pytest.mark.ray, pytest.mark.slow]
SETTINGS = ["--max-new-tokens", "100", "--latent-steps", "3", "--batch-size", "2"]
SPREAD = ["--placement", "spread", "--replicas", "2"]


@pytest.fixture(scope="module", autouse=True)
def _in_a_folder_of_its_own(tmp_path_factory):
    """A store keeps files of runs in the folder in which the first of them was begun."""
    with chdir(tmp_path_factory.mktemp("here")):
        yield


@pytest.fixture(scope="module")
def cluster():
    with running_cluster([2, 2]) as two:
        yield two


@pytest.fixture(scope="module")
def settings(model_dir, shared_store):
    return ["--model", str(model_dir), *SETTINGS, *shared_store]


@pytest.fixture(scope="module")
def calm(cluster, settings, tmp_path_factory) -> dict[str, str]:
    """The answers of an undisturbed run."""
    out = tmp_path_factory.mktemp("calm") / "run"
    code, metrics, err = evaluate("--address", cluster.head.address, *settings, "--replicas", "2", "--out", str(out))
    assert (code, metrics["retries"]) == (0, 0), err
    return texts(out)


def check(run: StartedRun, calm: dict[str, str], store: list[str], *words: str) -> None:
    """A disturbed run has ended well: every answer is there, and its MLflow run tells what happened."""
    code, metrics, err = run.end()
    assert (code, metrics.get("num_unscored")) == (0, 0), err
    assert texts(run.folder) == calm
    assert metrics["retries"] > 0
    told = notice(store[-1], metrics["run_id"])
    assert [word for word in words if word not in told] == []


def test_a_replica_that_dies_in_a_later_run_answers_on_in_that_runs_way(cluster, settings, shared_store, tmp_path):
    two = ["--grid", "{seed: [0, 7]}", "--replicas", "2"]
    address = ["--address", cluster.head.address]
    assert evaluate(*address, *settings, "--seed", "7", "--replicas", "2", "--out", str(tmp_path / "calm"))[0] == 0
    with started(tmp_path / "sweep", *address, *settings, *two, job="sweep.py") as sweep:
        run = sweep.part("seed7")
        run.wait_for_rows()
        assert run.replicas() == sweep.part("seed0").replicas()
        run.replica("r0").kill()
        code, metrics, err = sweep.end()
    assert code == 0, err
    assert texts(run.folder) == texts(tmp_path / "calm") != texts(tmp_path / "sweep" / "seed0")
    assert metrics["cells"]["seed7"]["retries"] > 0
    told = notice(shared_store[-1], metrics["cells"]["seed7"]["run_id"])
    assert "replica r0 died" in told
    assert "replica r0 is back" in told


def busy(process: psutil.Process) -> bool:
    """Whether a process computes just now."""
    return process.cpu_percent(interval=0.2) > 10


def test_a_colocated_replica_dies(cluster, settings, calm, shared_store, tmp_path):
    with started(tmp_path / "run", "--address", cluster.head.address, *settings, "--replicas", "2") as run:
        run.wait_for_rows()
        run.replica("r0").kill()
        check(run, calm, shared_store, "replica r0 died")


@pytest.mark.parametrize(("name", "working"), [("r0", False), ("r1", True)], ids=["planner idle", "solver decoding"])
def test_a_spread_replica_dies(name, working, cluster, settings, calm, shared_store, tmp_path):
    with started(tmp_path / "run", "--address", cluster.head.address, *settings, *SPREAD) as run:
        run.wait_for_rows()
        roles = run.replicas()[name]["roles"]
        assert ("planner" if name == "r0" else "solver") in roles
        process = run.replica(name)
        run.wait_until(lambda: busy(process) == working)
        process.kill()
        check(run, calm, shared_store, f"replica {name} died")


def scorers(cluster: RayCluster) -> list[psutil.Process]:
    """The cluster's processes that grade answers just now."""
    everybody = [child for node in cluster.nodes for child in psutil.Process(node.process.pid).children(recursive=True)]
    return [process for process in everybody if title(process).startswith("ray::score_batch")]


def title(process: psutil.Process) -> str:
    """What a process is called: Ray's workers carry the name of their task."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def test_a_scoring_worker_dies(cluster, settings, calm, shared_store, tmp_path):
    killed = []

    def grading() -> list[psutil.Process]:
        killed[:] = scorers(cluster)
        return killed

    with started(tmp_path / "run", "--address", cluster.head.address, *settings, "--replicas", "2") as run:
        run.wait_until(grading)
        killed[0].kill()
        check(run, calm, shared_store, "a scoring worker died")


@pytest.mark.parametrize(
    ("cpus", "placement"), [([2, 2], ["--replicas", "2"]), ([1, 1, 1], [*SPREAD, "--replicas", "3"])]
)
def test_a_whole_node_dies_and_no_question_is_blamed_for_it(cpus, placement, settings, calm, shared_store, tmp_path):
    unforgiving = ["--batch-size", "1", "--max-crashes", "1"]
    with (
        running_cluster(cpus) as several,
        started(tmp_path / "run", "--address", several.head.address, *settings, *placement, *unforgiving) as run,
    ):
        run.wait_for_rows()
        homes = {process.pid for name in run.replicas() for process in run.replica(name).parents()}
        used = [node for node in several.nodes if node.process.pid in homes]
        assert used[-1] is not several.nodes[0]  # which the cluster would not survive
        used[-1].kill()
        check(run, calm, shared_store, "died")


def test_the_driver_dies_and_resume_goes_on(cluster, settings, calm, shared_store, tmp_path):
    folder, address = tmp_path / "run", ["--address", cluster.head.address]
    with started(folder, *address, *settings, "--replicas", "2") as run:
        run.wait_for_rows()
        actors = [run.replica(name) for name in run.replicas()]
        run.process.kill()
        run.process.wait()
    assert psutil.wait_procs(actors, timeout=60)[1] == []
    before = {row["question_id"] for row in pq.read_table(folder / "parts").to_pylist()}
    assert 0 < len(before) < len(calm)
    code, metrics, err = evaluate("--resume", str(folder), *address)
    assert (code, metrics.get("num_unscored")) == (0, 0), err
    assert texts(folder) == calm
    assert {row["question_id"] for row in rows(folder) if row["attempt"] == 1} == before


def test_a_question_that_kills_its_replica_is_given_up_and_the_others_are_answered(
    cluster, model_dir, shared_store, tmp_path
):
    asked = ["1+0?", "What is 2+2?", f"3+{WORD}?", "Four less three?", "1*1?", "Half of two?"]
    settings = ["--address", cluster.head.address, *own_questions(tmp_path, asked), *SETTINGS]
    settings += [*shared_store, "--replicas", "2"]
    poisoned = save_poisoned_model(tmp_path / "poisoned", model_dir)
    assert evaluate(*settings, "--model", str(model_dir), "--out", str(tmp_path / "calm"))[0] == 0
    own_code = ["--model", str(poisoned), "--trust-remote-code", "true", "--max-crashes", "2"]
    with started(tmp_path / "run", *settings, *own_code) as run:
        code, metrics, err = run.end()
        places = run.replicas()
    assert (code, metrics["num_questions"], metrics["num_unscored"]) == (3, len(asked), 1), err
    lost = next(row for row in rows(run.folder) if row["error"])
    assert (lost["question"], lost["retries"]) == (asked[2], 2)
    assert "given up after 2 crashes" in lost["error"]
    expected = {**texts(tmp_path / "calm"), lost["question_id"]: ""}
    assert texts(run.folder) == expected
    assert "is back after" in notice(shared_store[-1], metrics["run_id"])
    assert len(places) == 2
