"""Our engine against plain Hugging Face transformers, and parts of it against what bounds them; without Ray.

methods     whole methods: ours, and the library's `generate` in static batches and `generate_batch`, in turn
step        one decode step of ours over the bare model's forward of the same shape, tiny and own model
prefill     share of this machine's matrix rate for the model's shapes
occupancy   slots of a running batch in use, and padding of prefill, while texts of lengths 1:20 go through it
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

from jobs.benches.command import load_average, machine, print_table, say, settings_of
from jobs.benches.engine_settings import Engine

if TYPE_CHECKING:
    from pipeline.engine import LanguageModel
    from pipeline.engine.served import Server
    from pipeline.records import Question

GOALS = {
    "times_ours": 2.5,
    "vllm_times_ours": 1.0,
    "times_bare": 1.10,
    "prefill_share_pct": 75.0,
    "occupancy_pct": 90.0,
    "padding_pct": 5.0,
}
"""Of a CPU: at least so many times as long for plain Hugging Face, and for vLLM, at most so many times the bare model's
step, at least that share of the matrix rate and of slots in use, less padding than that."""
BUSY = 0.5
"""Load average of other things, above which figures are doubtful."""
STEP_COLUMNS = {
    "model": "model",
    "rows": "rows",
    "ours_ms": "our step, ms",
    "bare_ms": "bare forward, ms",
    "times_bare": "x bare",
}
PREFILL_COLUMNS = {
    "rows": "rows",
    "tokens": "tokens",
    "seconds": "seconds",
    "gflop": "GFLOP",
    "attention_gflop": "of attention besides",
    "gflop_per_second": "GFLOP/s",
    "matrix_gflop_per_second": "matrices GFLOP/s",
    "share_pct": "share %",
}
OCCUPANCY_COLUMNS = {
    "texts": "texts",
    "rows": "rows",
    "steps": "steps",
    "live_row_steps": "row-steps",
    "occupancy_pct": "slots in use %",
    "positions": "positions",
    "prompt_positions": "of prompts",
    "padding_pct": "prefill padding %",
}


def main(argv: Sequence[str], result: TextIO) -> int:
    """Measures the parts that are asked for; returns the exit code."""
    settings = settings_of(Engine, argv, prog="bench.py engine", description=__doc__).sized
    # torch and transformers are slow to import and come after the command line has proved right.
    from pipeline.benchmarks import load_questions
    from pipeline.config import BACKENDS, ModelConfig
    from pipeline.engine import load_model, start_server

    before = load_average()
    if before > BUSY:
        say(f"this machine is busy (load {before}): threads that wait for each other are slowed down many times over")
    questions = load_questions(settings.task, data_dir=settings.data_dir, limit=max(settings.limit, settings.texts))
    model = ModelConfig(model=settings.model, dtype=settings.dtype, backend=settings.backend)
    lm = load_model(model, device=settings.device)
    server = start_server(model, lm, gpus=float(lm.device.type == "cuda"))
    say(f"{settings.model} is loaded: {lm.shape.dtype} on {lm.device}, {threads()} threads")
    found = measured(lm, server, questions, settings)
    tell(found)
    told = {
        "command": "engine",
        **machine(),
        "load_average_before": before,
        **software(lm),
        **BACKENDS[settings.backend].version,
    }
    result.write(json.dumps({**told, "settings": asdict(settings), **found, **verdict(found)}) + "\n")
    return 0


def measured(
    lm: LanguageModel, server: Server | None, questions: Sequence[Question], settings: Engine
) -> dict[str, Any]:
    """Measures every part that is asked for; returns them by name."""
    from jobs.benches.engine_parts import measure_occupancy, measure_prefill, measure_steps
    from jobs.benches.methods import Sides, measure_method, prompts_of
    from jobs.benches.tiny import tiny_model

    found, sides = dict[str, Any](), Sides.of(lm, server)
    if "methods" in settings.part_names:
        asked = questions[: settings.limit]
        found["methods"] = [measure_method(sides, method, asked, settings) for method in settings.method_names]
    if "step" in settings.part_names:
        models = {"tiny": tiny_model(lm), settings.model: lm}
        found["step"] = [one for name, model in models.items() for one in measure_steps(name, model, settings)]
    if "prefill" in settings.part_names:
        found["prefill"] = measure_prefill(lm, settings)
    if "occupancy" in settings.part_names:
        found["occupancy"] = measure_occupancy(lm, prompts_of(sides, questions, settings), settings)
    return found


def verdict(found: dict[str, Any]) -> dict[str, Any]:
    """What was found against the goals; what was not measured has no say."""
    met = dict[str, bool]()
    ratios = [one["times_ours"] for one in found.get("methods", []) if "times_ours" in one]
    if ratios:
        met["times_ours"] = min(ratios) >= GOALS["times_ours"]
    beside = [ratio for one in found.get("methods", []) for ratio in one.get("vllm_times_ours", {}).values()]
    if beside:
        met["vllm_times_ours"] = min(beside) >= GOALS["vllm_times_ours"]
    if "step" in found:
        met["times_bare"] = max(one["times_bare"] for one in found["step"]) <= GOALS["times_bare"]
    if "prefill" in found:
        met["prefill_share_pct"] = found["prefill"]["share_pct"] >= GOALS["prefill_share_pct"]
    if "occupancy" in found:
        met["occupancy_pct"] = found["occupancy"]["occupancy_pct"] >= GOALS["occupancy_pct"]
        met["padding_pct"] = found["occupancy"]["padding_pct"] < GOALS["padding_pct"]
    return {"goals": GOALS, "goals_met": met, "met": all(met.values())}


def tell(found: dict[str, Any]) -> None:
    """Prints the tables."""
    from jobs.benches.methods import COLUMNS

    if "methods" in found:
        print_table(COLUMNS, [way for one in found["methods"] for way in one["ways"]], title="methods")
    if "step" in found:
        print_table(STEP_COLUMNS, found["step"], title="decode step")
    if "prefill" in found:
        print_table(PREFILL_COLUMNS, [found["prefill"]], title="prefill")
    if "occupancy" in found:
        print_table(OCCUPANCY_COLUMNS, [found["occupancy"]], title="occupancy")


def software(lm: LanguageModel) -> dict[str, Any]:
    """What computed it."""
    import torch
    import transformers

    name = torch.cuda.get_device_name(lm.device) if lm.device.type == "cuda" else "cpu"
    return {
        "device": name,
        "torch_threads": threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def threads() -> int:
    """Threads that torch computes with on the CPU."""
    import torch

    return torch.get_num_threads()
