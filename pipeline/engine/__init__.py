"""The engine: one loaded model, its alignment, latent rollout and decoding; without Ray."""

from pipeline.engine.alignment import Alignment, build_alignment
from pipeline.engine.decoding import Written, decode
from pipeline.engine.loading import load_model, wrap_model
from pipeline.engine.model import LanguageModel
from pipeline.engine.rollout import prefill, think

__all__ = [
    "Alignment",
    "LanguageModel",
    "Written",
    "build_alignment",
    "decode",
    "load_model",
    "prefill",
    "think",
    "wrap_model",
]
