"""The engine: one loaded model, its alignment, latent rollout and decoding; without Ray."""

from pipeline.engine.alignment import Alignment, build_alignment
from pipeline.engine.chat import chat_ids, chat_text
from pipeline.engine.decoding import Written, decode
from pipeline.engine.lens import Lens
from pipeline.engine.library import LatentModel
from pipeline.engine.loading import load_model, wrap_model
from pipeline.engine.model import LanguageModel
from pipeline.engine.rollout import Recorder, feed, prefill, think

__all__ = [
    "Alignment",
    "LanguageModel",
    "LatentModel",
    "Lens",
    "Recorder",
    "Written",
    "build_alignment",
    "chat_ids",
    "chat_text",
    "decode",
    "feed",
    "load_model",
    "prefill",
    "think",
    "wrap_model",
]
