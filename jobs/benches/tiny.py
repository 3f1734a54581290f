"""A tiny random Llama: a model so small that a step's time is all overhead."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from pipeline.engine import LanguageModel, wrap_model


def tiny_model(like: LanguageModel) -> LanguageModel:
    """A random Llama of 3 layers of 32 numbers.

    Args:
        like: A model whose tokenizer, device and number format it gets.
    """
    config = LlamaConfig(
        vocab_size=128,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
        initializer_range=0.12,  # so that it has opinions, and the engine's check of itself means something
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    return wrap_model(model.to(like.device, like.shape.dtype), like.tokenizer, name="tiny")
