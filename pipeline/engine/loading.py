"""Loading a model and getting it ready for the engine."""

from __future__ import annotations

import logging
from typing import Any

import torch

from pipeline.checkpoints import model_source
from pipeline.config import ModelConfig
from pipeline.engine.attention import NAME as ATTENTION
from pipeline.engine.captured import graphs_of
from pipeline.engine.devices import placement, refuse_offload
from pipeline.engine.fusing import fuse
from pipeline.engine.inspection import (
    UNLIMITED,
    attention_windows,
    check_against_own_forward,
    model_fingerprint,
    probe,
)
from pipeline.engine.model import LanguageModel
from pipeline.engine.rotary import mover, switch_of_frequencies

log = logging.getLogger(__name__)


def load_model(config: ModelConfig, *, device: str | None = None, gpus: int = 1) -> LanguageModel:
    """Loads a model and checks that the engine computes what it computes.

    Args:
        config: Which model, in which number format.
        device: `cuda`, `cpu`, ...; by default a GPU where there is one.
        gpus: Over how many GPUs to spread its layers, the first ones that can be seen.

    Raises:
        ValueError: There are not so many GPUs, the model can't be loaded, or its memory can't be handed over; one line
            that says why.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = placement(device, gpus)
    source = model_source(config.model)
    dtype = number_format(config.dtype, "cuda" if gpus > 1 else place["device_map"])
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=config.trust_remote_code)
        causal_lm, found = AutoModelForCausalLM.from_pretrained(
            source,
            dtype=dtype,
            **place,
            trust_remote_code=config.trust_remote_code,
            output_loading_info=True,
        )
        if gpus > 1:
            refuse_offload(causal_lm)
    except Exception as error:  # transformers and the formats under it raise all kinds; for the user it is one thing
        raise ValueError(f"--model {config.model!r} can't be loaded: {first_line(error)}") from error
    missing = sorted(found["missing_keys"])
    if missing:  # transformers would fill them with random numbers
        raise ValueError(f"--model {config.model!r} lacks {len(missing)} of its weights, such as {missing[0]}")
    return wrap_model(causal_lm, tokenizer, name=config.model)


def wrap_model(causal_lm: Any, tokenizer: Any, *, name: str = "model") -> LanguageModel:
    """Makes the engine's view of a Hugging Face model that is already in memory.

    Args:
        causal_lm: A decoder with a language-model head.
        tokenizer: Its tokenizer.
        name: What messages call it.

    Raises:
        ValueError: Its working memory can't be handed over, or the engine does not compute what it computes.
    """
    causal_lm.eval()
    if getattr(causal_lm.config.get_text_config(), "attn_logit_softcapping", None):
        causal_lm.set_attn_implementation("eager")  # the fused kernels can't cap attention scores
    try:
        fuse(causal_lm)
        shape, input_scale = probe(causal_lm)
        context, note = usable_context(causal_lm.config.get_text_config())
        lm = LanguageModel(
            causal_lm=causal_lm,
            tokenizer=tokenizer,
            shape=shape,
            fingerprint=model_fingerprint(causal_lm),
            input_scale=1.0 if abs(input_scale - 1) < 1e-3 else input_scale,
            windows=attention_windows(causal_lm.config.get_text_config()),
            stop_ids=_stop_ids(causal_lm, tokenizer),
            context=context,
            context_note=note,
            move=mover(causal_lm),
        )
        _take_over_attention(lm)
        lm.graphs = graphs_of(lm)
    except Exception as error:  # a family that is built differently may break anywhere in its own code
        raise ValueError(f"--model {name!r} can't hand over working memory: {first_line(error)}") from error
    return lm


def _take_over_attention(lm: LanguageModel) -> None:
    """Has the engine's attention used where it computes what the model's own does; else questions go one by one.

    Raises:
        ValueError: The engine does not compute what the model computes, either way.
    """
    causal_lm = lm.causal_lm
    original = causal_lm.config.get_text_config()._attn_implementation

    def own(ids_1T: torch.Tensor) -> torch.Tensor:
        causal_lm.set_attn_implementation(original)
        logits_1TV: torch.Tensor = causal_lm(input_ids=ids_1T).logits
        return logits_1TV

    if causal_lm._can_set_attn_implementation():
        try:
            causal_lm.set_attn_implementation(ATTENTION)
            check_against_own_forward(lm, own)
        except Exception as error:  # whatever a family's own code makes of attention that it was not written for
            log.info("its attention can't be on many questions at once: %s", first_line(error))
        else:
            causal_lm.set_attn_implementation(ATTENTION)
            return
    causal_lm.set_attn_implementation(original)
    lm.packs = False
    check_against_own_forward(lm, own)


def usable_context(config: Any) -> tuple[int, str]:
    """How many positions the engine uses, and why they are fewer than the model was made for."""
    full = getattr(config, "max_position_embeddings", None) or UNLIMITED
    switch = switch_of_frequencies(config)
    if switch is None or switch[0] > full:
        return full, ""
    return switch[0], f" (from there on its {switch[1]} rotary frequencies change with the length)"


def number_format(name: str, device: str) -> torch.dtype:
    """The number format that `--dtype` means on a device."""
    if name == "auto":
        return torch.bfloat16 if device.startswith("cuda") else torch.float32
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def _stop_ids(causal_lm: Any, tokenizer: Any) -> frozenset[int]:
    configured = causal_lm.generation_config.eos_token_id if causal_lm.generation_config else None
    ids = configured if isinstance(configured, list) else [configured]
    return frozenset(i for i in (*ids, getattr(tokenizer, "eos_token_id", None)) if i is not None)


def first_line(error: Exception) -> str:
    """The part of an error that is worth telling in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
