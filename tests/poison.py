"""A model with code of its own that ends its process when it reads a certain word, as a fault in a kernel would."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tiny import character_tokenizer

WORD = "~~~"
"""One token three times: no test of a model on loading, and hardly a random text, has it."""
MODELING = """
import os

import torch
from transformers import LlamaForCausalLM


class PoisonedEmbedding(torch.nn.Embedding):
    def forward(self, ids):
        found = (ids == {token}).flatten()
        if (found[2:] & found[1:-1] & found[:-2]).any():
            os._exit(1)
        return super().forward(ids)


class PoisonedLlama(LlamaForCausalLM):
    def __init__(self, config):
        super().__init__(config)
        self.model.embed_tokens = PoisonedEmbedding(config.vocab_size, config.hidden_size, config.pad_token_id)
"""


def save_poisoned_model(folder: Path, model_dir: Path) -> Path:
    """A copy of a tiny Llama with the same weights."""
    shutil.copytree(model_dir, folder)
    token = character_tokenizer().convert_tokens_to_ids(WORD[0])
    (folder / "modeling_poisoned.py").write_text(MODELING.format(token=token))
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_poisoned.PoisonedLlama"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder
