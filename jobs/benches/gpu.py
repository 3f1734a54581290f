"""The engine on a GPU beside what the GPU can do, with models of public sizes and random weights; without Ray.

A step, of writing or thinking, counts as a share of the time in which its weights and its cache could be read at the
rate at which the device copies; the prefill as a share of the device's rate for large matrices; LatentMAS from first to
last against plain Hugging Face transformers, on the same questions, prompts, steps and lengths. On a CPU the shares say
nothing: there it shows that everything runs.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, TextIO

from jobs.benches.command import machine, print_table, say, settings_of
from jobs.benches.gpu_settings import Gpu

if TYPE_CHECKING:
    from pipeline.agents.team import Alignments
    from pipeline.engine import LanguageModel

GOALS = {"decode 1": 70.0, "decode 32": 60.0, "latent 1": 70.0, "latent 32": 60.0, "prefill": 50.0}
"""Percent of the device's own rate, by what is measured."""
GOAL_TIMES = 4.0
"""How many times as long plain Hugging Face transformers takes for LatentMAS."""
COLUMNS = {
    "model": "model",
    "what": "what",
    "rows": "rows",
    "ms": "ms",
    "usual_ms": "not captured, ms",
    "share_pct": "share %",
    "seconds": "seconds",
    "plain_seconds": "plain, seconds",
    "times": "x ours",
    "goal": "goal",
    "met": "met",
}
"""Of the table, by field of a measurement."""


def main(argv: Sequence[str], result: TextIO) -> int:
    """Measures every model; returns the exit code."""
    settings = settings_of(Gpu, argv, prog="bench.py gpu", description=__doc__)
    # torch and transformers are slow to import and come after the command line has proved right.
    import torch
    import transformers

    from jobs.benches.gpu_parts import ceilings
    from pipeline.engine.loading import number_format

    device = _device(settings)
    dtype = number_format(settings.dtype, device.type)
    rates = ceilings(device, dtype)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    bandwidth, flops = rates["bytes_per_second"] / 1e9, rates["flop_per_second"] / 1e12
    form = str(dtype).removeprefix("torch.")
    say(f"{name}: copies at {bandwidth:.0f} GB/s, multiplies {form} matrices at {flops:.1f} TFLOP/s")
    measured = [one for model in settings.model_names for one in measure(model, settings, rates)]
    print_table(COLUMNS, measured)
    judged = [one["met"] for one in measured if "met" in one]
    told = {
        "command": "gpu",
        **machine(),
        "device": name,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "copy_gb_per_second": round(bandwidth, 1),
        "matrix_tflop_per_second": round(flops, 2),
        "settings": asdict(settings),
        "measured": measured,
        "met": bool(judged) and all(judged) and device.type == "cuda",
    }
    result.write(json.dumps(told) + "\n")
    return 0


def measure(name: str, settings: Gpu, rates: dict[str, float]) -> list[dict[str, Any]]:
    """Measures one model, in a device's memory that is free again afterwards."""
    import torch

    from jobs.benches.gpu_model import random_model
    from pipeline.engine.loading import number_format

    device = _device(settings)
    lm = random_model(name, device=device, dtype=number_format(settings.dtype, device.type))
    say(f"{name} is made: {lm.shape.dtype} on {lm.device}; steps are {'' if lm.graphs else 'not '}captured")
    found = []
    for one in _parts(lm, name, settings, rates):
        goal = GOAL_TIMES if "times" in one else GOALS.get(f"{one['what']} {one['rows']}", GOALS.get(one["what"]))
        judged = {} if goal is None else {"goal": goal, "met": one.get("times", one.get("share_pct")) >= goal}
        found.append({"model": name, **one, **judged})
        say(line(found[-1]))
    if settings.profile:
        say(profile(lm, settings))
    del lm
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return found


def line(one: dict[str, Any]) -> str:
    """A measurement in one line."""
    what = f"{one['model']}: {one['what']}, {one['rows']} rows"
    goal = f" (goal {one['goal']:.0f})" if "goal" in one else ""
    if "times" in one:
        return f"{what}: {one['seconds']:.2f} s, plain {one['plain_seconds']:.2f} s: {one['times']:.2f} times{goal}"
    usual = f", not captured {one['usual_ms']:.2f} ms" if "usual_ms" in one else ""
    return f"{what}: {one['ms']:.2f} ms{usual}, {one['share_pct']:.1f} % of what the device can do{goal}"


def _parts(lm: LanguageModel, name: str, settings: Gpu, rates: dict[str, float]) -> Any:
    from jobs.benches.gpu_parts import measure_prefill, measure_steps
    from jobs.benches.shapes import SHAPES
    from pipeline.agents.team import Alignments

    shape, alignments = SHAPES[name], Alignments(lm)
    for part in settings.part_names:
        if part in ("decode", "latent"):
            for rows in settings.row_counts:
                alignment = alignments.get("ridge", 0) if part == "latent" else None
                yield measure_steps(lm, shape, rows, settings, rates, alignment)
        elif part == "prefill":
            yield measure_prefill(lm, shape, settings, rates)
        else:
            yield measure_method(lm, alignments, settings)


def measure_method(lm: LanguageModel, alignments: Alignments, settings: Gpu) -> dict[str, Any]:
    """LatentMAS from first to last, ours and plain in turn."""
    from jobs.benches.gpu_model import questions
    from jobs.benches.plain import Computed, answer_static, library_model
    from jobs.benches.rounds import in_turn
    from pipeline.agents.team import build_team
    from pipeline.agents.walk import answer_batch
    from pipeline.config import RunConfig
    from pipeline.graphs import plan_for
    from pipeline.records import Answer, Assignment

    values = {"max_new_tokens": settings.max_new_tokens, "latent_steps": settings.latent_steps, "temperature": 0.0}
    config = RunConfig.from_flat({"method": "latent_mas", **values})
    team = build_team(lm, config, plan_for(config.collaboration), alignments=alignments)
    asked = [Assignment(question=question, source=question) for question in questions(settings.questions)]
    stop_ids, lm.stop_ids = lm.stop_ids, frozenset()  # every text as long as it may be, on both sides

    def ours() -> list[Answer]:
        return answer_batch(asked, team)

    plain = partial(answer_static, asked, team, library_model(lm), settings.plain_batch_size, Computed())
    ways: dict[str, Callable[[], list[Answer]]] = {"ours": ours, "plain": plain}
    for way in ways.values():  # what happens once a process is paid for
        way()
    timed = in_turn(ways, rounds=settings.repeats, wait=lm.synchronize)
    lm.stop_ids = stop_ids
    return {
        "what": "latent_mas",
        "rows": settings.questions,
        "seconds": timed["ours"].median,
        "plain_seconds": timed["plain"].median,
        "times": timed["plain"].over(timed["ours"]),
        "tokens_per_second": settings.questions * settings.max_new_tokens / timed["ours"].median,
    }


def profile(lm: LanguageModel, settings: Gpu) -> str:
    """Which operations took how long in some steps of the most rows, as a table."""
    import torch
    from torch.profiler import ProfilerActivity

    from jobs.benches.gpu_parts import WARM, steady_batch, wait

    batch = steady_batch(lm, max(settings.row_counts), settings, None)
    for _ in range(WARM):
        batch.step()
    wait(lm.device)
    on_gpu = lm.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with torch.profiler.profile(activities=activities) as found:
        for _ in range(min(8, settings.steps)):
            batch.step()
        wait(lm.device)
    order = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    return str(found.key_averages().table(sort_by=order, row_limit=25, max_name_column_width=70))


def _device(settings: Gpu) -> Any:
    """The device that is asked for.

    Raises:
        ValueError: It is not there.
    """
    import torch

    if settings.device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"--device {settings.device!r}: no CUDA device can be seen; allowed here: cpu")
    return torch.device(settings.device)
