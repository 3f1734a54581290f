"""Shared fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from clusters import RayHead, running_head
from pipeline.engine import LanguageModel
from tiny import FAMILIES, save_tiny_model, tiny_model

torch.set_num_threads(1)  # tiny models gain nothing from threads, and lose much where cores are shared


@pytest.fixture(scope="session", params=["llama", "qwen3"])
def lm(request: pytest.FixtureRequest) -> LanguageModel:
    return tiny_model(request.param)


@pytest.fixture(scope="session", params=FAMILIES)
def family_lm(request: pytest.FixtureRequest) -> LanguageModel:
    """Every family of the test matrix."""
    return tiny_model(request.param)


@pytest.fixture(scope="session")
def llama() -> LanguageModel:
    return tiny_model("llama")


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama as a folder on disk."""
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny-llama")


@pytest.fixture(scope="session")
def ray_head() -> Iterator[RayHead]:
    """One Ray head for all tests that need a cluster."""
    with running_head(num_cpus=4) as head:
        yield head


@pytest.fixture(scope="session")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """One MLflow store for the runs whose tracking is not looked at: making a new one takes seconds."""
    return ["--tracking-uri", f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"]
