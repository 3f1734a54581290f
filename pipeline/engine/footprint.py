"""How large a model and its working memory are, found out without loading a weight.

The model is built on the meta device, where tensors have shapes and no content, and reads one token there: what it
then keeps are the shapes of its working memory, whatever its config calls them.

Shapes: S new positions of all questions, C columns in use, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers.cache_utils import DynamicCache

from pipeline.checkpoints import ModelFiles
from pipeline.config import AlignmentName, ModelConfig
from pipeline.engine.cache import kv_shape
from pipeline.engine.inspection import attention_windows
from pipeline.engine.loading import first_line, number_format, usable_context
from pipeline.engine.model import LanguageModel
from pipeline.memory import KVShape

META = torch.device("meta")


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """The sizes of a model."""

    architecture: str
    """What transformers calls it."""
    parameters: int
    """Weights; those that serve twice count once."""
    shape: KVShape
    """Its keys and values for one position."""
    hidden_size: int
    """D."""
    inner_size: int
    """Width inside its feed-forward layers."""
    query_heads: int
    """Attention heads; several share one key/value head."""
    vocabulary: int
    """V."""
    context: int
    """Positions it can use."""
    context_note: str
    """Why they are fewer than it was made for, if so."""

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights in memory."""
        return self.parameters * self.shape.dtype.itemsize

    def input_bytes(self, prompts: Sequence[int], latent_steps: int) -> list[int]:
        """Bytes of what turns are fed: int64 token ids of prompts with these lengths, then latent inputs."""
        latents = latent_steps * self.hidden_size * self.shape.dtype.itemsize
        return [8 * prompt + latents for prompt in prompts]

    def working_bytes(self, new: int, drawn: int, columns: int) -> int:
        """Bytes that one forward needs besides weights and cache, at its widest: a layer, or the logits.

        A layer has inputs, queries, outputs and three vectors of its feed-forward part for each new position, and what
        each of a prompt's positions may read, as truth and as number, for the query heads that share a key. Sampling
        holds some copies of the logits in float32.

        Args:
            new: S, positions of prompts and of questions that think or write.
            drawn: Positions that tokens are drawn after: a question's that writes, and those of guesses.
            columns: C of the longest slot.
        """
        shape, itemsize = self.shape, self.shape.dtype.itemsize
        mask = new * (self.query_heads // shape.heads) * columns * (1 + itemsize)
        heads = self.query_heads * (shape.key_size + shape.value_size)
        activations = new * (4 * self.hidden_size + 3 * self.inner_size + heads) * itemsize
        logits = drawn * self.vocabulary * (itemsize + 4 * 4)
        return max(mask + activations, logits)

    def alignment_bytes(self, name: AlignmentName) -> tuple[int, int]:
        """Bytes that the alignment of hidden states keeps, and what making it takes for a moment at load.

        Args:
            name: ridge, identity or random.
        """
        square = 4 * self.hidden_size**2
        vectors = self.vocabulary * self.hidden_size
        as_floats = 0 if self.shape.dtype == torch.float32 else 4 * vectors
        making = vectors * self.shape.dtype.itemsize + as_floats
        if name == "identity":
            return 0, making
        return square, making + (as_floats + 2 * square if name == "ridge" else 2 * square)


def measure(config: ModelConfig, files: ModelFiles, *, device: str) -> Footprint:
    """Measures a model from its config.

    Args:
        config: Number format, and whether the model may bring code.
        files: Where the model is.
        device: What it would be loaded to: `cuda` or `cpu`; decides what number format `auto` means.

    Raises:
        ValueError: The config can't be read, or the model has no working memory that can be handed over; one line.
    """
    from transformers import AutoConfig

    try:
        hf_config = AutoConfig.from_pretrained(**files.source, trust_remote_code=config.trust_remote_code)
    except Exception as error:  # transformers and the formats under it raise all kinds; for the user it is one thing
        raise ValueError(f"--model {files.name!r} can't be loaded: {first_line(error)}") from error
    dtype = number_format(config.dtype, device)
    try:
        return footprint_of(hf_config, dtype, trust_remote_code=config.trust_remote_code)
    except Exception as error:  # a family that is built differently may break anywhere in its own code
        raise ValueError(f"--model {files.name!r} can't hand over working memory: {first_line(error)}") from error


def footprint_of_loaded(lm: LanguageModel) -> Footprint:
    """The sizes of a model that is in memory."""
    vocabulary, hidden_size = lm.causal_lm.get_input_embeddings().weight.shape
    return Footprint(
        architecture=lm.config.model_type,
        parameters=sum(weight.numel() for weight in lm.causal_lm.parameters()),
        shape=lm.shape,
        hidden_size=hidden_size,
        inner_size=_inner_size(lm.config, hidden_size),
        query_heads=lm.config.num_attention_heads,
        vocabulary=vocabulary,
        context=lm.context,
        context_note=lm.context_note,
    )


@torch.inference_mode()
def footprint_of(hf_config: Any, dtype: torch.dtype, *, trust_remote_code: bool = False) -> Footprint:
    """The sizes of a model with this transformers config, in a number format.

    Raises:
        ValueError: It has layers that keep no keys and values per position.
    """
    from transformers import AutoModelForCausalLM

    config = hf_config.get_text_config()
    attention_windows(config)
    with META:  # in bfloat16 whatever is asked for: shapes are the same, and some kernels are for it alone
        causal_lm = AutoModelForCausalLM.from_config(
            hf_config, dtype=torch.bfloat16, trust_remote_code=trust_remote_code
        )
    vocabulary, hidden_size = causal_lm.get_input_embeddings().weight.shape
    token = torch.ones(1, 1, hidden_size, dtype=torch.bfloat16, device=META)
    cache = causal_lm.eval().get_decoder()(inputs_embeds=token, past_key_values=DynamicCache(), use_cache=True)
    context, note = usable_context(config)
    return Footprint(
        architecture=config.model_type,
        parameters=sum(weight.numel() for weight in causal_lm.parameters()),
        shape=replace(kv_shape(cache.past_key_values, META), dtype=dtype),
        hidden_size=hidden_size,
        inner_size=_inner_size(config, hidden_size),
        query_heads=config.num_attention_heads,
        vocabulary=vocabulary,
        context=context,
        context_note=note,
    )


def _inner_size(config: Any, hidden_size: int) -> int:
    return getattr(config, "intermediate_size", None) or 4 * hidden_size
