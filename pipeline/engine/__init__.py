"""The engine: one loaded model, its alignment, latent rollout and decoding; without Ray."""

from pipeline.engine.alignment import Alignment, build_alignment
from pipeline.engine.decoding import Written, decode
from pipeline.engine.loading import check_model, load_model, wrap_model
from pipeline.engine.model import LanguageModel
from pipeline.engine.rollout import prefill, think

__all__ = [
    "Alignment",
    "LanguageModel",
    "Written",
    "build_alignment",
    "check_model",
    "decode",
    "load_model",
    "prefill",
    "think",
    "wrap_model",
]
