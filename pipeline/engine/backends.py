"""What writes texts in a replica: our own running batch, or another engine beside it."""

from __future__ import annotations

from pipeline.config import BACKENDS, ModelConfig
from pipeline.engine.model import LanguageModel
from pipeline.engine.running import RunningBatch
from pipeline.engine.served import ServedBatch, Server


def start_server(config: ModelConfig, lm: LanguageModel, *, gpus: float) -> Server | None:
    """Starts the engine that writes a replica's texts; none where our own does.

    Args:
        config: Which backend, and its settings.
        lm: The model, loaded.
        gpus: What the replica has of the GPUs.

    Raises:
        ValueError: The backend is not installed, or can't serve the model; one line.
    """
    BACKENDS[config.backend].check_installed()
    if config.backend == "hf":
        return None
    from pipeline.engine.vllm import start_vllm

    return start_vllm(config, lm, gpus=gpus)


def running_batch(lm: LanguageModel, server: Server | None, *, guesses: int | None = None) -> RunningBatch:
    """A new running batch.

    Args:
        lm: The model.
        server: What writes its texts, if that is another engine.
        guesses: As in `RunningBatch`; another engine does without.
    """
    return RunningBatch(lm, guesses=guesses) if server is None else ServedBatch(lm, server)
