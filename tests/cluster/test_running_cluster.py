"""Two nodes on one machine: what the tests' own clusters promise, and jobs submitted with a token."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clusters import RAY, RayCluster, authentication, running_cluster

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-for-tests-" + "0123456789abcdef" * 2
NODES = "import json, ray; ray.init(logging_level='ERROR'); print(json.dumps(ray.nodes()))"
pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def cluster():
    with running_cluster([2, 1], num_gpus=[0, 3], object_store_memory=[300_000_000, 100_000_000], token=TOKEN) as two:
        yield two


def submit(cluster: RayCluster, *entry: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [str(RAY), "job", "submit", "--address", cluster.head.dashboard, "--working-dir", ".", "--", *entry]
    environment = {**os.environ, **environment}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False)


def alive_nodes(cluster: RayCluster) -> dict[int, dict]:
    """By the raylet's port."""
    environment = {**cluster.environment, "RAY_ADDRESS": cluster.head.address}
    done = subprocess.run(
        [sys.executable, "-c", NODES], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    return {node["NodeManagerPort"]: node for node in json.loads(done.stdout) if node["Alive"]}


def test_both_nodes_are_alive_with_what_they_were_given(cluster):
    nodes = alive_nodes(cluster)
    assert nodes.keys() == {node.port for node in cluster.nodes}
    resources = [nodes[node.port]["Resources"] for node in cluster.nodes]
    assert [(r["CPU"], r.get("GPU", 0)) for r in resources] == [(2, 0), (1, 3)]
    assert [r["object_store_memory"] for r in resources] == [300_000_000, 100_000_000]


@pytest.mark.parametrize(
    "environment",
    [authentication(None), authentication("another-token-" + "0" * 32)],
    ids=["without a token", "with another token"],
)
def test_a_submission_is_refused(cluster, environment):
    done = submit(cluster, "true", environment=environment)
    assert done.returncode != 0
    assert "auth" in (done.stdout + done.stderr).lower()


def test_a_submission_with_the_token_is_evaluated(cluster, model_dir, tmp_path):
    entry = ["env", f"HOME={tmp_path}", sys.executable, "jobs/eval.py", "--model", str(model_dir), "--limit", "2"]
    done = submit(cluster, *entry, "--max-new-tokens", "5", environment=authentication(TOKEN))
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads(next(text for text in reversed(done.stdout.splitlines()) if text.startswith("{")))
    assert metrics["num_questions"] == 2


def test_a_killed_node_is_missed_and_the_head_lives_on():
    with running_cluster([1, 1]) as cluster:
        cluster.nodes[1].kill()
        end = time.monotonic() + 60
        while len(alive_nodes(cluster)) == 2 and time.monotonic() < end:
            time.sleep(1)
        assert alive_nodes(cluster).keys() == {cluster.nodes[0].port}
