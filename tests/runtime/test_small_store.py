"""An object store that is small for what is in flight: slower, never a failure, and nothing is spilled."""

import re
import subprocess
import sys
from contextlib import chdir

import pytest

from clusters import RAY, RayCluster, running_cluster
from evaluations import evaluate, own_questions, rows, texts
from tiny import save_tiny_model

pytestmark = [pytest.mark.ray, pytest.mark.slow]
SMALLEST = 78_643_200
"""Bytes: Ray makes no smaller object store."""
LARGE_MEMORY = {"num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 64}
"""32 KiB a position: some 14 MB for what one role leaves behind of one short question."""
SETTINGS = ["--placement", "spread", "--replicas", "2", "--batch-size", "2"]
SETTINGS += ["--max-new-tokens", "10", "--latent-steps", "2"]
FILL = """
import numpy, ray
ray.init(logging_level="ERROR")
held = [ray.put(numpy.zeros(20_000_000, numpy.uint8)) for _ in range(6)]
"""


@pytest.fixture(scope="module", autouse=True)
def _in_a_folder_of_its_own(tmp_path_factory):
    """A store keeps files of runs in the folder in which the first of them was begun."""
    with chdir(tmp_path_factory.mktemp("here")):
        yield


@pytest.fixture(scope="module")
def cluster():
    with running_cluster([2], object_store_memory=[SMALLEST]) as one:
        yield one


@pytest.fixture(scope="module")
def settings(shared_store, tmp_path_factory):
    model = save_tiny_model(tmp_path_factory.mktemp("model") / "large-memory", **LARGE_MEMORY)
    return ["--model", str(model), *SETTINGS, *shared_store]


def spilled(cluster: RayCluster) -> int:
    """MiB that the cluster's nodes have written to disk so far because their stores were full."""
    command = [str(RAY), "memory", "--stats-only", "--address", cluster.head.address]
    done = subprocess.run(command, env=cluster.environment, capture_output=True, text=True, timeout=60, check=True)
    assert "Plasma memory usage" in done.stdout
    found = re.search(r"Spilled (\d+) MiB", done.stdout)
    return int(found[1]) if found else 0


def test_more_than_the_store_holds_is_answered_bit_by_bit_and_nothing_is_spilled(cluster, settings, ray_head, tmp_path):
    asked = own_questions(tmp_path, [f"{i}+{i}?" for i in range(5)])
    before = spilled(cluster)
    code, metrics, err = evaluate("--address", cluster.head.address, *settings, *asked, "--out", str(tmp_path / "run"))
    assert (code, metrics.get("num_unscored")) == (0, 0), err
    assert spilled(cluster) == before
    handed = sum(turn["transfers"][0]["bytes"] for row in rows(tmp_path / "run") for turn in row["turns"][2:])
    assert handed > SMALLEST
    code, *_ = evaluate("--address", ray_head.address, *settings, *asked, "--out", str(tmp_path / "wide"))
    assert code == 0
    assert texts(tmp_path / "run") == texts(tmp_path / "wide")


def test_a_question_that_the_store_cannot_hold_ends_the_run_with_what_to_change(cluster, settings, tmp_path):
    asked = own_questions(tmp_path, ["1+1?", "2+2?", "How much is this? " * 40])
    out = tmp_path / "run"
    code, _, err = evaluate("--address", cluster.head.address, *settings, *asked, "--out", str(out))
    assert code == 2, err
    (line,) = [line for line in err.splitlines() if line.startswith("eval.py: error: ")]
    assert "question 'gsm8k/0002'" in line
    assert "--object-store-memory" in line
    assert "--transport reencode" in line
    assert "Traceback" not in err
    assert [row["question_id"] for row in rows(out)] == ["gsm8k/0000", "gsm8k/0001"]
    code, metrics, err = evaluate("--resume", str(out), "--address", cluster.head.address, "--placement", "colocated")
    assert (code, metrics.get("num_questions"), metrics.get("num_unscored")) == (0, 3, 0), err


def test_what_is_spilled_would_be_seen(cluster):
    before = spilled(cluster)
    environment = {**cluster.environment, "RAY_ADDRESS": cluster.head.address}
    subprocess.run([sys.executable, "-c", FILL], env=environment, timeout=60, check=True)
    assert spilled(cluster) > before
