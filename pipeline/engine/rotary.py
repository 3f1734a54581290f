"""Finds a model's rotary embedding and proves that keys moved with it are the keys the model would have made.

Shapes: T positions.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from pipeline.engine.devices import main_device
from pipeline.memory import Move, Rotary, immovable, layer_kinds

DISTANCE = 9
"""How far the check moves keys."""
CHANGING = {"dynamic": "max_position_embeddings", "longrope": "original_max_position_embeddings"}
"""Rope types whose frequencies change with the length, and the setting that says from where on."""


def rotaries(causal_lm: Any, key_size: int) -> Iterator[Rotary]:
    """The ways in which a model's rotary module and function may be meant: on whole keys, or on their first part."""
    decoder, config = causal_lm.get_decoder(), causal_lm.config.get_text_config()
    module = getattr(decoder, "rotary_emb", None)
    apply = getattr(sys.modules[type(decoder).__module__], "apply_rotary_pos_emb", None)
    if module is None or apply is None:
        return
    kinds = layer_kinds(module, getattr(config, "layer_types", None), config.num_hidden_layers)
    whole = Rotary(module=module, apply=apply, kinds=kinds, width=key_size)
    yield whole
    yield replace(whole, width=min(whole.angle_width(main_device(causal_lm)), key_size))


@torch.inference_mode()
def mover(causal_lm: Any) -> Move:
    """How this model's keys are moved; a function that refuses, with the reason, if they can't be.

    A short prompt is computed at two places. All that a model with relative positions may change in between is the
    rotation of its keys, in every layer; a model that does anything else is found out here.
    """
    ids_1T = torch.arange(5, 9, device=main_device(causal_lm))[None]
    here_LNTH, there_LNTH = (torch.stack(_keys(causal_lm, ids_1T, start)) for start in (0, DISTANCE))
    by_T = torch.full((ids_1T.shape[1],), DISTANCE)
    reason = "it has no rotary position embedding of a known form"
    for rotary in rotaries(causal_lm, here_LNTH.shape[-1]):
        try:
            moved_LNTH = rotary.move(here_LNTH, by_T)
        except (RuntimeError, TypeError):  # the model's own function, given shapes that it was not written for
            continue
        distance = _distance(moved_LNTH, there_LNTH)
        if distance <= (1e-3 if causal_lm.dtype == torch.float32 else 5e-2):
            return rotary.move
        reason = f"moved keys differ from computed ones (relative distance {distance:.2g})"
    return immovable(reason)


def _distance(moved_LNTH: Tensor, there_LNTH: Tensor) -> float:
    """The largest relative distance over the layers."""
    moved_L, there_L = moved_LNTH.float().flatten(1), there_LNTH.float().flatten(1)
    return float(((moved_L - there_L).norm(dim=1) / there_L.norm(dim=1)).max())


def switch_of_frequencies(config: Any) -> tuple[int, str] | None:
    """From which length on a model's rotary frequencies change, and the rope's name; none if they never do.

    Past that length one row's keys would depend on how long the other rows of its batch are, and keys made before the
    switch would carry other frequencies than those after it.
    """
    parameters = getattr(config, "rope_parameters", None) or {}
    sets = [parameters, *(value for value in parameters.values() if isinstance(value, dict))]
    for values in sets:
        name = CHANGING.get(values.get("rope_type", ""))
        if name is not None:
            length = values.get(name) or getattr(config, name, None) or config.max_position_embeddings
            return int(length), values["rope_type"]
    return None


def _keys(causal_lm: Any, ids_1T: Tensor, start: int) -> list[Tensor]:
    """Keys [N, T, H] of every layer for a prompt that starts at a position, on the prompt's device."""
    positions_1T = torch.arange(start, start + ids_1T.shape[1], device=ids_1T.device)[None]
    cache = DynamicCache()
    mask = torch.ones(1, 1, *ids_1T.shape[1:], ids_1T.shape[1], dtype=torch.bool, device=ids_1T.device).tril()
    lowest = torch.finfo(causal_lm.dtype).min
    additive = torch.zeros_like(mask, dtype=causal_lm.dtype).masked_fill(~mask, lowest)
    kinds = getattr(causal_lm.config.get_text_config(), "layer_types", None)
    causal_lm.get_decoder()(
        input_ids=ids_1T,
        position_ids=positions_1T,
        attention_mask=dict.fromkeys(kinds, additive) if kinds else additive,
        past_key_values=cache,
        use_cache=True,
    )
    return [layer.keys[0].to(ids_1T.device) for layer in cache.layers]
