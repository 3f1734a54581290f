"""Parts of our engine against what bounds them: the bare model's step, the machine's matrix rate, a full batch.

Shapes: B rows, T positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import DynamicCache

from jobs.benches import engine_probe
from jobs.benches.command import numbers, say
from jobs.benches.engine_settings import Engine
from jobs.benches.plain import library_model
from jobs.benches.rounds import in_turn
from pipeline.engine import LanguageModel

WARM_STEPS = 5
"""Decode steps before those that are measured."""
OURS, BARE = "ours", "bare"
GIGA = 1e9


def measure_steps(name: str, lm: LanguageModel, settings: Engine) -> list[dict[str, Any]]:
    """Decode steps of our engine over the bare model's forward, with the same rows and positions, in turn.

    Args:
        name: What the model is called.
        lm: The model.
        settings: Which batch sizes, and how many steps.
    """
    measured, library = [], library_model(lm)
    for rows in numbers(settings.step_rows):
        prompts = random_prompts(lm, rows, settings.step_columns)
        count = WARM_STEPS + settings.steps
        ways = {OURS: engine_probe.decode_step(lm, prompts, count), BARE: bare_step(library, prompts)}
        in_turn(ways, rounds=WARM_STEPS, wait=lm.synchronize)
        timed = in_turn(ways, rounds=settings.steps, wait=lm.synchronize)
        measured.append(
            {
                "model": name,
                "rows": rows,
                "ours_ms": 1e3 * timed[OURS].median,
                "bare_ms": 1e3 * timed[BARE].median,
                "times_bare": timed[OURS].over(timed[BARE]),
            }
        )
        say(f"{name}, {rows} rows: a step takes {measured[-1]['times_bare']:.2f} times the bare model's")
    return measured


@torch.inference_mode()
def bare_step(model: Any, prompts: Sequence[list[int]]) -> Callable[[], Any]:
    """Reads prompts; returns one step of the model as transformers has it: ids in, logits of the last position out.

    Args:
        model: The library's model.
        prompts: Token ids, one prompt a row, all of one length.
    """
    ids_BT = torch.tensor(prompts, device=model.device)
    cache, mask_BC = DynamicCache(config=model.config), torch.ones_like(ids_BT)
    model(input_ids=ids_BT, attention_mask=mask_BC, past_key_values=cache, logits_to_keep=1)

    @torch.inference_mode()
    def step() -> Tensor:
        nonlocal mask_BC
        mask_BC = torch.cat([mask_BC, mask_BC[:, -1:]], dim=1)
        logits: Tensor = model(
            input_ids=ids_BT[:, -1:], attention_mask=mask_BC, past_key_values=cache, logits_to_keep=1
        ).logits
        return logits

    return step


def measure_prefill(lm: LanguageModel, settings: Engine) -> dict[str, Any]:
    """Our prefill's share of the rate at which this machine multiplies matrices of the model's own shapes, in turn.

    Counted are 2 FLOP a token and weight of the decoder's linear layers, and beside that share another one with what
    attention needs as well; the head is left out.
    """
    rows, tokens = settings.prefill_rows, settings.prefill_tokens
    prompts = random_prompts(lm, rows, tokens)
    shapes = matrices(lm.decoder)
    ways = {"prefill": engine_probe.prefill(lm, prompts)}
    ways |= {name: multiply(weights, rows * tokens) for name, weights in shapes.items()}
    in_turn(ways, rounds=1, wait=lm.synchronize)
    timed = in_turn(ways, rounds=settings.repeats, wait=lm.synchronize)
    flop = {name: 2 * rows * tokens * sum(w.numel() for w in weights) for name, weights in shapes.items()}
    rate = sum(flop.values()) / sum(timed[name].median for name in shapes)
    reached = sum(flop.values()) / timed["prefill"].median
    attention = attention_flop(lm, rows, tokens)
    say(f"prefill: {100 * reached / rate:.0f} % of the matrix rate")
    return {
        "rows": rows,
        "tokens": tokens,
        "seconds": timed["prefill"].median,
        "gflop": sum(flop.values()) / GIGA,
        "attention_gflop": attention / GIGA,
        "gflop_per_second": reached / GIGA,
        "matrix_gflop_per_second": rate / GIGA,
        "matrix_rates": {name: round(flop[name] / timed[name].median / GIGA, 1) for name in shapes},
        "share_pct": 100 * reached / rate,
        "share_with_attention_pct": 100 * reached / rate * (1 + attention / sum(flop.values())),
    }


def matrices(decoder: nn.Module) -> dict[str, list[Tensor]]:
    """The weights of a decoder's linear layers, one list a shape."""
    found = dict[str, list[Tensor]]()
    for module in decoder.modules():
        if isinstance(module, nn.Linear):
            found.setdefault(f"{module.in_features}x{module.out_features}", []).append(module.weight)
    return found


def multiply(weights: Sequence[Tensor], tokens: int) -> Callable[[], Any]:
    """Returns the product of inputs for `tokens` tokens with all matrices of one shape, one after another.

    All layers' own matrices take their turn, so that caches help no more than they do in the model.
    """
    inputs = torch.randn(tokens, weights[0].shape[1], dtype=weights[0].dtype, device=weights[0].device)

    @torch.inference_mode()
    def products() -> None:
        for weight in weights:
            functional.linear(inputs, weight)

    return products


def attention_flop(lm: LanguageModel, rows: int, tokens: int) -> int:
    """What attention itself needs: for each query, key that it may see and head, 2 FLOP a number of key and value."""
    pairs = tokens * (tokens + 1) // 2
    heads = int(lm.config.num_attention_heads)
    return 2 * rows * pairs * heads * (lm.shape.key_size + lm.shape.value_size) * lm.shape.layers


def measure_occupancy(lm: LanguageModel, prompts: Sequence[list[int]], settings: Engine) -> dict[str, Any]:
    """How full a running batch is while texts of very different lengths go through it.

    Args:
        lm: The model.
        prompts: Token ids of real prompts; they are asked over and over if there are fewer than texts.
        settings: How many texts, of which lengths, through how many rows.
    """
    lengths = settings.lengths()
    asked = [prompts[i % len(prompts)] for i in range(len(lengths))]
    seen = engine_probe.occupancy(lm, asked, lengths, settings.slots)
    say(f"occupancy: {seen.slots_pct:.0f} % of slots; padding {seen.padding_pct:.1f} %")
    return {
        "texts": len(lengths),
        "shortest": min(lengths),
        "longest": max(lengths),
        "rows": settings.slots,
        "steps": seen.steps,
        "live_row_steps": seen.live,
        "occupancy_pct": seen.slots_pct,
        "positions": seen.computed,
        "prompt_positions": seen.prompts,
        "padding_pct": seen.padding_pct,
    }


def random_prompts(lm: LanguageModel, rows: int, tokens: int) -> list[list[int]]:
    """Prompts of random tokens, the same on every machine."""
    noise = torch.Generator().manual_seed(0)
    size = lm.causal_lm.get_input_embeddings().weight.shape[0]
    ids: list[list[int]] = torch.randint(size, (rows, tokens), generator=noise).tolist()
    return ids
