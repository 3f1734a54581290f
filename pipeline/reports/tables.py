"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

LABELS = {"single": "Single", "text_mas": "TextMAS", "latent_mas": "LatentMAS"}


def run_table(metrics: Mapping[str, Any]) -> Table:
    """One run's totals, a line each."""
    table = Table(title=f"{LABELS.get(metrics['method'], metrics['method'])} on {metrics['task']}", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    for label, text in _lines(metrics):
        table.add_row(label, text)
    return table


def comparison_table(runs: Sequence[Mapping[str, Any]], names: Sequence[str] = ()) -> Table:
    """Several runs side by side, a run a row, in the order given; names, if there are any, come first."""
    table = Table(title="Comparison", caption="Token, latent, prefill: per question. Speed: seconds of the run.")
    if names:
        table.add_column("run", no_wrap=True)
    for name in (
        "method",
        "graph",
        "task",
        "n",
        "accuracy %",
        "95 %",
        "lenient %",
        "token",
        "latent",
        "prefill",
        "speed",
    ):
        table.add_column(name, justify="left" if name in ("method", "graph", "task") else "right", no_wrap=True)
    for index, run in enumerate(runs):
        count = max(run["num_questions"], 1)
        table.add_row(
            *names[index : index + 1],
            LABELS.get(run["method"], run["method"]),
            run["graph"],
            run["task"],
            str(run["num_questions"]),
            f"{100 * run['accuracy']:.1f}",
            f"{100 * run['accuracy_low']:.0f}-{100 * run['accuracy_high']:.0f}",
            f"{100 * run['accuracy_lenient']:.1f}",
            f"{run['output_tokens_per_question']:.0f}",
            f"{run['latent_steps'] / count:.0f}",
            f"{run['prefill_tokens'] / count:.0f}",
            f"{run['seconds']:.1f}",
        )
    return table


def _accuracy(run: Mapping[str, Any]) -> str:
    low, high = 100 * run["accuracy_low"], 100 * run["accuracy_high"]
    return f"{100 * run['accuracy']:.1f} [{low:.1f}, {high:.1f}]"


def _lines(m: Mapping[str, Any]) -> list[tuple[str, str]]:
    agents = ", ".join(f"{role} {seconds:.1f}" for role, seconds in m["seconds_per_agent"].items())
    return [
        ("accuracy % [95 % interval]", _accuracy(m)),
        ("lenient accuracy %", f"{100 * m['accuracy_lenient']:.1f}"),
        ("questions (unscored)", f"{m['num_questions']} ({m['num_unscored']})"),
        ("output tokens (per question)", f"{m['output_tokens']} ({m['output_tokens_per_question']:.1f})"),
        ("latent steps", str(m["latent_steps"])),
        ("prefill tokens", str(m["prefill_tokens"])),
        ("seconds (tokens/s)", f"{m['seconds']:.1f} ({m['tokens_per_second']:.1f})"),
        ("seconds per agent", agents),
        ("load, scoring seconds", f"{m['load_seconds']:.1f}, {m['scoring_seconds']:.2f}"),
        ("memory handed over MB (s)", f"{m['handover_bytes'] / 1e6:.1f} ({m['handover_seconds']:.2f})"),
        ("digests of memory s", f"{m['verify_seconds']:.2f}"),
        ("truncated, no answer %", f"{100 * m['truncated_rate']:.1f}, {100 * m['no_answer_rate']:.1f}"),
    ]
