"""What differs between families, read off the loaded model and then checked.

Scaled embeddings, scaled or capped logits, sliding windows, the shape of keys and values: each is measured or taken
from the config, and in the end two prompts run through the engine and through the model's own forward. A model that
disagrees is refused.

Shapes: B rows, T positions, V vocabulary.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache

from pipeline.engine.cache import kv_shape
from pipeline.engine.devices import main_device
from pipeline.engine.lanes import Lanes
from pipeline.engine.model import LanguageModel
from pipeline.memory import KVShape, Memory

UNLIMITED = 1 << 30
"""Context length of a model that states none."""


def attention_windows(config: Any) -> dict[str, int | None]:
    """For each kind of attention layer in a model's config, how many positions back it sees.

    Raises:
        ValueError: The model has layers that keep no keys and values per position.
    """
    window: int | None = getattr(config, "sliding_window", None)
    kinds = dict.fromkeys(getattr(config, "layer_types", None) or ())
    if not kinds:
        return {"attention": window}
    allowed = {"full_attention": None, "sliding_attention": window}
    for kind in kinds:
        if kind not in allowed:
            raise ValueError(
                f"it has {kind!r} layers; only {' and '.join(allowed)} keep a memory that can be handed on"
            )
    return {kind: allowed[kind] for kind in kinds}


def model_fingerprint(causal_lm: Any) -> str:
    """A short digest of config, number format and a sample of every weight: what working memory is valid for."""
    digest = hashlib.blake2b(digest_size=8)
    ignored = {"_name_or_path", "transformers_version", "architectures", "torch_dtype", "dtype"}
    config = {k: v for k, v in causal_lm.config.to_dict().items() if k not in ignored}
    digest.update(json.dumps([config, str(causal_lm.dtype)], sort_keys=True, default=str).encode())
    for name, weight in causal_lm.named_parameters():
        stride = max(1, weight.numel() // 16)
        digest.update(name.encode() + weight.detach().flatten()[::stride][:16].float().cpu().numpy().tobytes())
    return digest.hexdigest()


@torch.inference_mode()
def probe(causal_lm: Any) -> tuple[KVShape, float]:
    """Runs one token through a model and reads off the shape of its memory and its scaling of inputs.

    Raises:
        ValueError: The model keeps no keys and values per position.
    """
    attention_windows(causal_lm.config.get_text_config())
    decoder = causal_lm.get_decoder()
    main = main_device(causal_lm)
    ones = torch.ones(1, 1, causal_lm.get_input_embeddings().weight.shape[1], dtype=causal_lm.dtype, device=main)
    entered: list[Tensor] = []
    hook = first_layer(decoder).register_forward_pre_hook(
        lambda _, args, kwargs: entered.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
    )
    try:
        for embeds in (ones, 2 * ones):
            cache = decoder(inputs_embeds=embeds, past_key_values=DynamicCache(), use_cache=True).past_key_values
    finally:
        hook.remove()
    # The difference of two inputs, so that what a model adds (learned positions) does not count as scaling.
    return kv_shape(cache, main), float((entered[1] - entered[0]).float().mean())


def first_layer(decoder: nn.Module) -> nn.Module:
    """A decoder's first layer, whatever the list of layers is called.

    Raises:
        ValueError: The decoder has no list of layers.
    """
    lists = [child for child in decoder.children() if isinstance(child, nn.ModuleList) and len(child)]
    if not lists:
        raise ValueError("its decoder has no list of layers")
    return max(lists, key=len)[0]


@torch.inference_mode()
def check_against_own_forward(lm: LanguageModel, own: Callable[[Tensor], Tensor]) -> None:
    """Refuses a model whose own forward gives other logits than the engine.

    Two prompts of unequal length go through the engine side by side and in chunks, the last of them of one position as
    in thinking and writing; the model itself reads each alone and at once. A model that counts columns instead of
    positions, or whose attention is something else, shows here.

    Args:
        lm: The model.
        own: Its own forward, with the attention that it came with: token ids [1, T] -> logits [1, T, V].

    Raises:
        ValueError: The two disagree beyond the precision of the number format.
    """
    vocabulary = lm.head.weight.shape[0]
    prompts = [[(7 * i + row) % (vocabulary - 4) + 3 for i in range(length)] for row, length in enumerate((40, 23))]
    slots = lm.open([Memory()] * 2, columns=64)
    for start, end in ((0, -4), (-4, -1), (-1, None)):
        chunks = [prompt[start:end] for prompt in prompts]
        ids_S = torch.tensor([token for chunk in chunks for token in chunk], device=lm.device)
        lanes = Lanes([(slot, len(chunk)) for slot, chunk in zip(slots, chunks, strict=True)])
        hidden_BD = lm.forward(lanes, lm.embed(ids_S))[lanes.last]
    ours_BV = lm.logits(hidden_BD).float()
    tolerance = 1e-3 if lm.shape.dtype == torch.float32 else 5e-2
    for prompt, ours_V in zip(prompts, ours_BV, strict=True):
        logits_1TV = own(torch.tensor([prompt], device=lm.device))
        reference_V = logits_1TV[0, -1].to(lm.device).float()
        difference = float((ours_V - reference_V).norm() / reference_V.norm().clamp_min(1e-6))
        if not difference <= tolerance:
            raise ValueError(f"its own forward gives other logits than the engine (relative distance {difference:.2g})")
