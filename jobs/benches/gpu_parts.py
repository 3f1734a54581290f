"""What is measured on a device: its own rates, and the engine's steps and prefill as shares of them.

A step can't be faster than its weights and its cache can be read, at the rate at which the device copies; a prefill not
faster than its multiplications, at the rate at which the device multiplies large matrices.

Shapes: L layers, N key/value heads, T positions, H head size.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from jobs.benches.gpu_settings import Gpu
from jobs.benches.shapes import ModelShape
from pipeline.config import DecodingConfig
from pipeline.engine import Alignment, LanguageModel, Reading, Row, RunningBatch, Thinking, Writing

SIZES = {"cuda": (1 << 30, 8192), "cpu": (1 << 24, 256)}
"""By device: bytes that are copied to learn its bandwidth, and the side of the square matrices that are multiplied."""
WARM = 8
"""Steps before the first that counts: time enough to be captured."""
GREEDY = DecodingConfig(temperature=0, max_new_tokens=1)
ENDLESS = 1 << 20


def ceilings(device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """The device's own rates: bytes a second that a copy reads and writes, and operations a second of a product."""
    size, side = SIZES.get(device.type, SIZES["cuda"])
    source = torch.randint(0, 255, (size,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    one, other = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    copying = timed(lambda: target.copy_(source), device)
    multiplying = timed(lambda: one @ other, device)
    return {"bytes_per_second": 2 * size / copying, "flop_per_second": 2 * side**3 / multiplying}


def timed(work: Callable[[], object], device: torch.device, *, rounds: int = 5, times: int = 10) -> float:
    """Seconds of one go: the median of rounds of several, after one that does not count."""
    seconds = []
    for _ in range(rounds + 1):
        wait(device)
        began = time.perf_counter()
        for _ in range(times):
            work()
        wait(device)
        seconds.append((time.perf_counter() - began) / times)
    return median(seconds[1:])


def wait(device: torch.device) -> None:
    """Returns when the device has done all that was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure_steps(
    lm: LanguageModel, shape: ModelShape, rows: int, settings: Gpu, rates: dict[str, float], alignment: Alignment | None
) -> dict[str, Any]:
    """Steps of so many rows through the running batch, captured and the usual way in turn.

    Args:
        lm: The model.
        shape: Its dimensions.
        rows: How many think or write.
        settings: How much.
        rates: The device's own.
        alignment: What rows that think use; none: they write, greedily.
    """
    graphs, found = lm.graphs, dict[str, list[float]]()
    ways = {"usual": None} if graphs is None else {"captured": graphs, "usual": None}
    batch = steady_batch(lm, rows, settings, alignment)
    for _ in range(settings.repeats):
        for name, own in ways.items():
            lm.graphs = own
            for row in batch.rows:
                row.slot.length = settings.context
            for _ in range(WARM):
                batch.step()
            wait(lm.device)
            began = time.perf_counter()
            for _ in range(settings.steps):
                batch.step()
            wait(lm.device)
            found.setdefault(name, []).append((time.perf_counter() - began) / settings.steps)
    lm.graphs = graphs
    best = median(found.get("captured", found["usual"]))
    width = lm.shape.dtype.itemsize
    positions = settings.context + WARM + settings.steps / 2
    read = shape.step_weights * width + rows * positions * lm.shape.bytes_per_position
    read += 4 * shape.hidden**2 if alignment is not None else shape.head_weights * width
    return {
        "what": "decode" if alignment is None else "latent",
        "rows": rows,
        "ms": 1000 * best,
        "usual_ms": 1000 * median(found["usual"]),
        "captured": bool(graphs and graphs.replayed),
        "gigabytes": read / 1e9,
        "share_pct": 100 * read / rates["bytes_per_second"] / best,
    }


@torch.inference_mode()
def steady_batch(lm: LanguageModel, rows: int, settings: Gpu, alignment: Alignment | None) -> RunningBatch:
    """A running batch whose rows have so much in memory, of random numbers, and go on for ever."""
    batch = RunningBatch(lm, guesses=0)
    batch.cache.reserve(rows=rows, columns=settings.context + WARM + settings.steps + 1)
    torch.manual_seed(0)
    for cache in batch.cache.caches:
        cache.keys_LRNCH.normal_()
        cache.values_LRNCH.normal_()
    for index in range(rows):
        slot = batch.cache.slot()
        slot.length = settings.context
        if alignment is None:
            text = Writing(config=GREEDY, noise_key=(str(index), ""), budget=ENDLESS, room=ENDLESS)
            row = Row(slot=slot, goal=text, token_ids=[200 + index])
        else:
            latents_MD = torch.randn(1, lm.head.weight.shape[1], device=lm.device, dtype=lm.shape.dtype)
            row = Row(slot=slot, goal=Thinking(alignment=alignment, steps=ENDLESS), latents_MD=latents_MD)
        batch.add(row)
    return batch


def measure_prefill(lm: LanguageModel, shape: ModelShape, settings: Gpu, rates: dict[str, float]) -> dict[str, Any]:
    """Prompts that are read side by side, from their first position on."""
    count, length = settings.prefill_rows, settings.prefill_tokens
    batch = RunningBatch(lm, read_at_once=count * length, guesses=0)
    batch.cache.reserve(rows=count, columns=length)

    def read() -> None:
        rows = [
            Row(
                slot=batch.cache.slot(),
                goal=Reading(),
                token_ids=[100 + (31 * i + 7 * place) % 9000 for place in range(length)],
            )
            for i in range(count)
        ]
        batch.run(rows)

    seconds = timed(read, lm.device, rounds=settings.repeats, times=3)
    # Products with weights, and causal attention: half of all pairs, for scores and for values.
    flop = 2 * shape.step_weights * count * length
    flop += shape.layers * count * 2 * length**2 * shape.heads * shape.head_size
    return {
        "what": "prefill",
        "rows": count,
        "ms": 1000 * seconds,
        "teraflop": flop / 1e12,
        "share_pct": 100 * flop / rates["flop_per_second"] / seconds,
    }
