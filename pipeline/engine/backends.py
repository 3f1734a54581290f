"""What writes texts in a replica: our own running batch, or another engine beside it."""

from __future__ import annotations

from pipeline.config import BACKENDS, ModelConfig
from pipeline.engine.model import LanguageModel
from pipeline.engine.running import RunningBatch


def running_batch(config: ModelConfig, lm: LanguageModel, *, gpus: float) -> RunningBatch:
    """The running batch of a replica, with the engine that writes its texts.

    Args:
        config: Which backend, and its settings.
        lm: The model, loaded.
        gpus: What the replica has of the GPUs.

    Raises:
        ValueError: The backend is not installed, or can't serve the model; one line.
    """
    BACKENDS[config.backend].check_installed()
    if config.backend == "hf":
        return RunningBatch(lm)
    from pipeline.engine.served import ServedBatch
    from pipeline.engine.vllm import start_vllm

    return ServedBatch(lm, start_vllm(config, lm, gpus=gpus))
