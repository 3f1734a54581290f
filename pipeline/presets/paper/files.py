"""A cell as the text of its preset."""

from __future__ import annotations

from pipeline.presets.paper.cells import Cell
from pipeline.presets.paper.published import published_results

LABELS = {"latent_mas": "LatentMAS", "text_mas": "TextMAS", "single": "single"}


def preset_text(cell: Cell) -> str:
    """The YAML file of a cell: what the paper reports, then the settings."""
    steps = cell.steps
    lines = [
        "# Written by `python -m pipeline.presets.paper`: change its table, not this file. --method single|text_mas",
        "# asks the same questions with the paper's baselines.",
        *(f"# {line}" for line in (*_reported(cell), steps.caution) if line),
        f"task: {cell.task}",
        f"model: {cell.model}",
        "method: latent_mas",
        f"graph: {cell.graph}",
        *(["experts: parallel"] if cell.graph == "hierarchical" else []),
        f"latent_steps: {steps.number}  # {steps.told}",
        "alignment: ridge",
        f"max_new_tokens: {cell.cap}",
        "temperature: 0.6",
        "top_p: 0.95",
    ]
    return "\n".join(lines) + "\n"


def _reported(cell: Cell) -> list[str]:
    """What the paper reports of a cell, a method a line."""
    found = {result.method: result for result in published_results() if result.cell == cell}
    if not found:
        return ["The paper reports nothing on this cell."]
    lines = [f"The paper's Table {found['latent_mas'].table}:"]
    for method, label in LABELS.items():
        result = found[method]
        tokens, seconds = f"{result.output_tokens_per_question:g}", f"{result.seconds:g}"
        lines.append(f"  {label}: {result.accuracy:g} %, {tokens} tokens a question, {seconds} s the run")
    return lines
