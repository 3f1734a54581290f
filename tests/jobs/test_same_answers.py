"""Same answers everywhere: one replica or three, roles on one replica or on several, every transport, two nodes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from clusters import RayCluster, running_cluster
from tiny import save_tiny_model

ROOT = Path(__file__).parents[2]
SETTINGS = ["--max-new-tokens", "12", "--latent-steps", "3", "--limit", "10", "--batch-size", "3"]


@pytest.fixture(scope="module")
def two_nodes():
    with running_cluster([3, 3]) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def answers(two_nodes: RayCluster, model_dir, tmp_path_factory):
    """Runs jobs/eval.py on two nodes; gives the texts of every agent, and the metrics."""
    folder = tmp_path_factory.mktemp("runs")
    known: dict[tuple[str, ...], tuple[dict[str, list[str]], dict]] = {}

    def run(*argv: str) -> tuple[dict[str, list[str]], dict]:
        if argv not in known:
            known[argv] = _evaluate(two_nodes, folder, model_dir, argv, f"run{len(known)}")
        return known[argv]

    return run


def _run(cluster, folder, model_dir, argv, name) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "jobs/eval.py"), "--address", cluster.head.address, *SETTINGS, *argv]
    return subprocess.run(
        [*command, "--model", str(model_dir), "--out", name],
        cwd=folder,
        env={**os.environ, **cluster.environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def _evaluate(cluster, folder, model_dir, argv, name):
    done = _run(cluster, folder, model_dir, argv, name)
    assert done.returncode == 0, done.stderr
    rows = pq.read_table(folder / name / "predictions.parquet").to_pylist()
    texts = {row["question_id"]: [turn["text"] for turn in row["turns"]] for row in rows}
    return texts, {**json.loads(done.stdout.splitlines()[-1]), "rows": rows}


SPREAD = ["--placement", "spread", "--replicas"]
ONE = ("--graph", "sequential")


@pytest.mark.ray
@pytest.mark.parametrize(
    ("graph", "where"),
    [
        pytest.param(ONE, ["--replicas", "3"], marks=pytest.mark.slow),
        (ONE, [*SPREAD, "planner=1,critic=1,refiner=1,solver=1"]),
        (ONE, [*SPREAD, "2", "--transport", "reencode"]),
        (ONE, [*SPREAD, "2", "--transport", "gloo"]),
        pytest.param(ONE, [*SPREAD, "auto"], marks=pytest.mark.slow),
        pytest.param(ONE, [*SPREAD, "planner=1,critic=1,refiner=1,solver=2"], marks=pytest.mark.slow),
        (("--graph", "hierarchical"), [*SPREAD, "2"]),
        pytest.param(("--graph", "hierarchical"), [*SPREAD, "4", "--transport", "reencode"], marks=pytest.mark.slow),
        pytest.param(("--method", "text_mas"), [*SPREAD, "2"], marks=pytest.mark.slow),
    ],
    ids=lambda value: " ".join(value).replace("--", ""),
)
def test_answers_are_the_same_token_for_token(answers, graph, where):
    expected, alone = answers(*graph)
    texts, metrics = answers(*graph, *where)
    assert texts == expected
    assert metrics["output_tokens"] == alone["output_tokens"]
    assert metrics["retries"] == 0
    replicas = {turn["replica"] for row in metrics["rows"] for turn in row["turns"]}
    assert len(replicas) > 1


@pytest.mark.ray
def test_memory_that_travels_is_counted_by_its_transport(answers):
    _, alone = answers(*ONE)
    assert alone["transports"].keys() == {"in_place"}
    _, stored = answers(*ONE, *SPREAD, "planner=1,critic=1,refiner=1,solver=1")
    assert stored["transports"].keys() == {"object_store"}  # every role has a replica of its own
    assert stored["transports"]["object_store"]["bytes"] == alone["transports"]["in_place"]["bytes"]
    assert stored["transports"]["object_store"]["seconds"] > 0
    assert stored["handover_hops"] == alone["handover_hops"] == 3 * stored["num_questions"]
    _, again = answers(*ONE, *SPREAD, "2", "--transport", "reencode")
    assert 0 < again["transports"]["reencode"]["bytes"] < stored["transports"]["object_store"]["bytes"] / 10


@pytest.mark.ray
def test_a_role_may_have_another_checkpoint_of_the_same_architecture(answers, two_nodes, model_dir, tmp_path):
    other = save_tiny_model(tmp_path / "other", seed=1)
    ours, _ = answers(*ONE)
    theirs, metrics = answers(*ONE, *SPREAD, "2", "--roles.solver.model", str(other))
    assert metrics["num_unscored"] == 0
    assert theirs.keys() == ours.keys()
    assert theirs != ours
    assert {turn["role"]: turn["replica"] for turn in metrics["rows"][0]["turns"]}["solver"] == "r1"


@pytest.mark.ray
def test_a_checkpoint_with_another_kind_of_memory_is_refused_in_one_line(two_nodes, model_dir, tmp_path):
    other = save_tiny_model(tmp_path / "other", num_hidden_layers=2)
    argv = [*SPREAD, "2", "--roles.solver.model", str(other)]
    done = _run(two_nodes, tmp_path, model_dir, argv, "run")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("layers is 2, there 3")
    assert not (tmp_path / "run").exists()


@pytest.mark.ray
def test_a_transport_that_is_not_there_is_refused_in_one_line(two_nodes, model_dir, tmp_path):
    done = _run(two_nodes, tmp_path, model_dir, [*SPREAD, "2", "--transport", "nccl"], "run")
    assert done.returncode == 2
    assert "--transport 'nccl' needs a GPU for every replica" in done.stderr.splitlines()[-1]


@pytest.mark.ray
@pytest.mark.slow
def test_replicas_share_a_gpu_by_fractions(answers, model_dir, tmp_path):
    # Ray is told of two GPUs; torch finds none and computes on the CPU, but placement is exercised for real.
    expected, _ = answers(*ONE)
    argv = [*ONE, *SPREAD, "4", "--gpus-per-replica", "0.5"]
    with running_cluster([3], num_gpus=[2]) as cluster:
        texts, metrics = _evaluate(cluster, tmp_path, model_dir, argv, "run")
    assert texts == expected
    assert metrics["transports"].keys() == {"object_store"}
