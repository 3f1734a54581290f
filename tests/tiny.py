"""Tiny random models with a tokenizer of one token a character."""

from __future__ import annotations

import string
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    Phi3Config,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)

from pipeline.engine import LanguageModel, wrap_model

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is defined and not enable_thinking %}"
    "<think></think>{% endif %}{% endif %}"
)
SPECIAL = ("<unk>", "<|im_start|>", "<|im_end|>")
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
    # larger than usual, so that random models have opinions and greedy decoding does not tie
    "initializer_range": 0.12,
}


@dataclass(frozen=True)
class Family:
    """One architecture in miniature."""

    config: type[PreTrainedConfig]
    sizes: dict[str, object] = field(default_factory=dict)


WINDOW = {"sliding_window": 24}
FAMILIES = {
    "llama": Family(LlamaConfig),
    "qwen2": Family(Qwen2Config),
    "qwen3": Family(Qwen3Config),
    "mistral": Family(MistralConfig, WINDOW),
    "gemma2": Family(Gemma2Config, WINDOW),
    "gemma3": Family(Gemma3TextConfig, {**WINDOW, "num_hidden_layers": 6}),  # the sixth layer is the first full one
    "phi3": Family(Phi3Config),
    "olmo2": Family(Olmo2Config),
    "qwen3_moe": Family(Qwen3MoeConfig, {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}),
}
"""The families of the test matrix."""


def character_tokenizer() -> PreTrainedTokenizerFast:
    """One token a character: any prompt can be written, and text lengths are token counts."""
    alphabet = [*SPECIAL, *sorted(set(string.printable))]
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(alphabet)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<|im_end|>")
    fast.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    fast.chat_template = CHAT_TEMPLATE
    return fast


def tiny_model(family: str, *, seed: int = 0, packs: bool = True, **overrides: object) -> LanguageModel:
    """One family; if `packs` is false as a model whose attention can't be replaced, so that questions go one by one."""
    tokenizer = character_tokenizer()
    torch.manual_seed(seed)
    kind = FAMILIES[family]
    sizes = {**SIZES, **kind.sizes, **overrides}
    config = kind.config(vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, pad_token_id=0, **sizes)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    if not packs:
        model._can_set_attn_implementation = lambda: False
    lm = wrap_model(model, tokenizer, name=f"tiny {family}")
    assert lm.packs == packs
    return lm


def save_tiny_model(folder: Path, family: str = "llama", **overrides: object) -> Path:
    """A model folder as users have them."""
    lm = tiny_model(family, **overrides)
    lm.causal_lm.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    return folder
