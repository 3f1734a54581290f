"""The engine: one loaded model, its alignment, and the running batch of questions; without Ray."""

from pipeline.engine.alignment import Alignment, build_alignment
from pipeline.engine.backends import running_batch, start_server
from pipeline.engine.chat import chat_ids, chat_text
from pipeline.engine.lens import Lens
from pipeline.engine.library import LatentModel
from pipeline.engine.loading import load_model, wrap_model
from pipeline.engine.model import LanguageModel
from pipeline.engine.rollout import decode, feed, prefill, think
from pipeline.engine.rows import Reading, Row, Thinking, Writing
from pipeline.engine.running import RunningBatch

__all__ = [
    "Alignment",
    "LanguageModel",
    "LatentModel",
    "Lens",
    "Reading",
    "Row",
    "RunningBatch",
    "Thinking",
    "Writing",
    "build_alignment",
    "chat_ids",
    "chat_text",
    "decode",
    "feed",
    "load_model",
    "prefill",
    "running_batch",
    "start_server",
    "think",
    "wrap_model",
]
