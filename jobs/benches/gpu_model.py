"""Models of public sizes with random weights, and a tokenizer made here: nothing is downloaded."""

from __future__ import annotations

import string
from itertools import product

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen3Config

from jobs.benches.shapes import SHAPES
from pipeline.engine import LanguageModel, wrap_model
from pipeline.records import Question

CONTEXT = 32768
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ("<unk>", "<|im_start|>", "<|im_end|>")


def random_model(name: str, *, device: torch.device, dtype: torch.dtype) -> LanguageModel:
    """A Qwen3 of a public size, made on the device.

    Args:
        name: Which size.
        device: Where.
        dtype: Number format of the weights.

    Raises:
        ValueError: The engine does not compute what the model computes.
    """
    shape, tokenizer = SHAPES[name], pair_tokenizer()
    config = Qwen3Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_size,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=shape.tied,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=0,
        bos_token_id=None,
    )
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), device:
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return wrap_model(model, tokenizer, name=name)


def pair_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of two characters a token: any two texts that differ, differ in their tokens."""
    letters = sorted(set(string.printable))
    pairs = ["".join(pair) for pair in product(letters, repeat=2)]
    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *letters, *pairs])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]{1,2}"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<|im_end|>")
    fast.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    fast.chat_template = TEMPLATE
    return fast


def questions(count: int) -> list[Question]:
    """Questions of unequal lengths, from 80 to 240 characters."""
    names = ("Ada", "Ben", "Cleo", "Dov", "Eli", "Fay", "Gus")
    made = []
    for number in range(count):
        facts = [
            f"{names[(number + i) % len(names)]} has {3 + (7 * number + i) % 40} {('apples', 'coins', 'books')[i % 3]}."
            for i in range(3 + number % 7)
        ]
        text = " ".join([f"({number})", *facts, "How many things do they have in all?"])
        made.append(Question(id=f"q{number}", text=text, kind="number", gold="1"))
    return made
