"""jobs/bench.py gpu: its whole logic on a CPU with a tiny model, and what it imports."""

import io
import json
import subprocess
import sys

import pytest
import torch

from evaluations import ROOT
from jobs import bench
from jobs.benches import gpu, gpu_parts
from jobs.benches.gpu_model import pair_tokenizer, questions, random_model
from jobs.benches.gpu_settings import Gpu
from jobs.benches.shapes import SHAPES
from pipeline.engine import captured

SMALL = [
    *("--model", "tiny", "--device", "cpu", "--rows", "1,3", "--context", "20", "--steps", "3", "--repeats", "1"),
    *("--prefill-rows", "2", "--prefill-tokens", "16", "--questions", "2", "--plain-batch-size", "2"),
    *("--latent-steps", "2", "--max-new-tokens", "4"),
]
FOREIGN = ("ray", "mlflow", "datasets", "pyarrow", "math_verify", "sklearn", "statsmodels", "matplotlib", "gguf")
RATES = {"bytes_per_second": 1e9, "flop_per_second": 1e9}


def told(argv):
    out = io.StringIO()
    assert gpu.main(argv, out) == 0
    (line,) = out.getvalue().splitlines()
    return json.loads(line)


def test_everything_is_measured_beside_its_goal():
    found = told(SMALL)
    assert [(one["what"], one["rows"]) for one in found["measured"]] == [
        ("decode", 1),
        ("decode", 3),
        ("latent", 1),
        ("latent", 3),
        ("prefill", 2),
        ("latent_mas", 2),
    ]
    assert all(one["ms"] > 0 for one in found["measured"][:-1])
    assert [one.get("goal") for one in found["measured"]] == [70, None, 70, None, 50, 4]
    assert not found["met"], "shares on a CPU say nothing"
    assert found["settings"]["context"] == 20


def test_captured_and_usual_steps_are_measured_in_turn(monkeypatch):
    monkeypatch.setattr(captured, "why_not", lambda lm: "")
    monkeypatch.setattr(captured, "record", lambda prepare, step: step)
    monkeypatch.setattr(captured.StepGraphs.__init__, "__defaults__", (captured.record,))
    settings = Gpu(model="tiny", context=20, steps=3, repeats=2)
    lm = random_model("tiny", device=torch.device("cpu"), dtype=torch.float32)
    one = gpu_parts.measure_steps(lm, SHAPES["tiny"], 3, settings, RATES, None)
    assert one["captured"]
    assert one["usual_ms"] > 0
    assert lm.graphs is not None
    assert lm.graphs.replayed >= 2 * (3 + gpu_parts.WARM) - captured.PATIENCE - 1  # the first one reads


def test_a_steps_bytes_are_its_weights_and_its_cache():
    settings = Gpu(model="tiny", context=20, steps=2, repeats=1)
    lm = random_model("tiny", device=torch.device("cpu"), dtype=torch.float32)
    weights = 3 * (2 * 32 * 8 * (4 + 2) + 3 * 32 * 64) + 10240 * 32
    cache = 2 * (20 + gpu_parts.WARM + 1) * lm.shape.bytes_per_position
    one = gpu_parts.measure_steps(lm, SHAPES["tiny"], 2, settings, RATES, None)
    assert one["gigabytes"] * 1e9 == pytest.approx(4 * weights + cache)
    assert one["share_pct"] == pytest.approx(100 * one["gigabytes"] / (one["ms"] / 1000), rel=1e-6)


@pytest.mark.parametrize(("name", "billions"), [("Qwen3-4B", 4.02), ("Qwen3-8B", 8.19), ("Qwen3-14B", 14.77)])
def test_sizes_are_the_published_ones(name, billions):
    assert SHAPES[name].parameters / 1e9 == pytest.approx(billions, abs=0.005)


def test_the_tokenizer_tells_any_two_questions_apart():
    tokenizer = pair_tokenizer()
    texts = [question.text for question in questions(20)]
    ids = [tokenizer(text)["input_ids"] for text in texts]
    assert [tokenizer.decode(one) for one in ids] == texts
    assert len({tuple(one) for one in ids}) == 20
    assert max(map(max, ids)) < SHAPES["tiny"].vocabulary


def test_it_imports_nothing_of_ray_or_mlflow():
    code = (
        "import sys\n"
        f"for name in {FOREIGN!r}: sys.modules[name] = None\n"
        "import conftest\n"
        "from jobs import bench\n"
        f"sys.exit(bench.main(['gpu', *{SMALL!r}]))\n"
    )
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1])["command"] == "gpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA device")
def test_a_machine_without_a_gpu_is_told_in_one_line(capsys):
    assert bench.main(["gpu"]) == 2
    assert "--device 'cuda'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--model", "Qwen9"], ["--model", "Qwen3-4B"]),
        (["--parts", "speed"], ["--parts", "prefill"]),
        (["--rows", "0"], ["--rows", "1 or more"]),
        (["--steps", "0"], ["--steps", "1 or more"]),
    ],
)
def test_bad_input_ends_in_one_line(argv, words, capsys):
    assert bench.main(["gpu", *argv]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    for word in words:
        assert word in err
