"""A model over several devices does what it does on one; without GPUs, over stages of one and over pretend devices."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import pretend
from pipeline.config import ModelConfig
from pipeline.engine import load_model
from pipeline.engine.devices import placement, refuse_offload
from pipeline.memory import Stage
from spread import evaluation, hooked
from tiny import save_tiny_model, tiny_model

ROOT = Path(__file__).parents[2]
FAMILIES = ["llama", "qwen3", "gemma2"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def expected(family):
    """What the model does on one device."""
    return evaluation(tiny_model(family))


@pytest.mark.parametrize("ends", [(1, 3), (2, 3), (1, 2, 3)], ids=str)
def test_an_evaluation_over_several_stages_is_the_same(family, expected, ends):
    lm = tiny_model(family)
    spread = tuple(Stage(first=first, end=end, device=CPU) for first, end in zip((0, *ends), ends, strict=False))
    lm.shape = replace(lm.shape, spread=spread)
    evaluation(lm).check(expected)


def test_an_evaluation_through_the_hooks_of_accelerate_is_the_same(family, expected):
    lm = hooked(tiny_model(family), ["cpu", "cpu"])
    assert all(hasattr(layer, "_hf_hook") for layer in lm.decoder.layers)
    assert lm.shape.stages == (Stage(first=0, end=3, device=CPU),)
    evaluation(lm).check(expected)


@pytest.mark.skipif(not pretend.KNOWN, reason="needs a PyTorch that takes a device type written in Python")
def test_an_evaluation_over_devices_that_refuse_each_others_tensors_is_the_same(family):
    done = subprocess.run(
        [sys.executable, "tests/spread.py", family],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("the same") == 2


def test_a_model_on_one_device_has_one_stage_and_hands_out_views(llama):
    assert llama.shape.spread == ()
    assert llama.devices == [CPU]


def test_one_device_is_asked_for_as_before():
    assert placement("cpu", 1) == {"device_map": "cpu"}


def test_several_gpus_get_a_balanced_share_of_the_model_and_no_other_device_does(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (100 + index, 200))
    assert placement(None, 2) == {"device_map": "balanced", "max_memory": {0: 100, 1: 101}}


@pytest.mark.parametrize(("device", "gpus"), [(None, 3), (None, 0), ("cuda", 2)])
def test_gpus_that_are_not_there_are_refused_with_what_is_allowed(monkeypatch, device, gpus):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=f"over {gpus} GPUs.*2 can be seen; allowed: 1 to 2"):
        load_model(ModelConfig(model="embedded"), device=device, gpus=gpus)


def test_a_model_that_does_not_fit_on_its_gpus_is_refused_naming_what_is_left_over():
    placed = {"model.embed_tokens": 0, "model.layers.0": 1, "model.layers.1": "disk", "lm_head": "cpu"}
    with pytest.raises(ValueError, match=r"2 of its 4 modules, such as 'model.layers.1'"):
        refuse_offload(SimpleNamespace(hf_device_map=placed))


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_a_model_over_two_gpus_writes_the_tokens_that_it_writes_on_one(tmp_path, family):
    folder = save_tiny_model(tmp_path, family, num_hidden_layers=6)
    config = ModelConfig(model=str(folder), dtype="float32")
    one, two = load_model(config, device="cuda"), load_model(config, gpus=2)
    assert [device.index for device in two.devices] == [0, 1]
    ours, theirs = evaluation(two), evaluation(one)
    assert (ours.texts, ours.answer) == (theirs.texts, theirs.answer)
