"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from pipeline.reports.comparing import PairedRuns, SeededRuns

LABELS = {"single": "Single", "text_mas": "TextMAS", "latent_mas": "LatentMAS"}


def run_table(metrics: Mapping[str, Any]) -> Table:
    """One run's totals, a line each."""
    table = Table(
        title=f"{LABELS.get(metrics['method'], metrics['method'])} on {_shown(metrics['task'])}", show_header=False
    )
    table.add_column(style="bold")
    table.add_column(justify="right")
    for label, text in _lines(metrics):
        table.add_row(label, text)
    return table


def comparison_table(runs: Sequence[Mapping[str, Any]], names: Sequence[str] = ()) -> Table:
    """Several runs side by side, a run a row, in the order given.

    Args:
        runs: Their metrics.
        names: What they are called; without names there is no column of them.
    """
    table = _table(title="Comparison", caption="Token, latent, prefill: per question. Speed: seconds of the run.")
    figures = ("n", "accuracy\n%", "95 %", "lenient\n%", "token", "latent", "prefill", "speed")
    words = ("run", "method", "graph", "task") if names else ("method", "graph", "task")
    _add_columns(table, words, (*figures, "truncated\n%", "no answer\n%"))
    for place, run in enumerate(runs):
        count = max(run["num_questions"], 1)
        table.add_row(
            *names[place : place + 1],
            LABELS.get(run["method"], run["method"]),
            run["graph"],
            _shown(run["task"]),
            str(run["num_questions"]),
            f"{100 * run['accuracy']:.1f}",
            f"{100 * run['accuracy_low']:.0f}-{100 * run['accuracy_high']:.0f}",
            f"{100 * run['accuracy_lenient']:.1f}",
            f"{run['output_tokens_per_question']:.0f}",
            f"{run['latent_steps'] / count:.0f}",
            f"{run['prefill_tokens'] / count:.0f}",
            f"{run['seconds']:.1f}",
            f"{100 * run['truncated_rate']:.1f}",
            f"{100 * run['no_answer_rate']:.1f}",
        )
    return table


def pairs_table(pairs: Sequence[PairedRuns]) -> Table:
    """Runs against their baselines on the questions that both have."""
    table = _table(
        title="Against the baseline, question by question",
        caption="Difference in points with its 95 % interval (bootstrap; exact where all questions differ alike); "
        "p: McNemar's exact test.",
    )
    figures = ("n", "baseline\n%", "run\n%", "difference", "95 %", "only baseline\nright", "only run\nright", "p")
    _add_columns(table, ("run", "baseline", "task"), figures)
    for pair in pairs:
        r = pair.result
        table.add_row(
            pair.run,
            pair.baseline,
            _shown(pair.task),
            str(r.questions),
            f"{100 * r.accuracy_a:.1f}",
            f"{100 * r.accuracy_b:.1f}",
            f"{100 * r.difference:+.1f}",
            f"{100 * r.low:+.1f} to {100 * r.high:+.1f}",
            str(r.only_a),
            str(r.only_b),
            f"{r.p_value:.4f}" if r.p_value >= 0.0001 else "<0.0001",
        )
    return table


def seeds_table(seeded: Sequence[SeededRuns]) -> Table:
    """Runs that differ in their seed alone, a line for all of them."""
    table = _table(title="Over seeds", caption="Accuracy in %; sd: standard deviation over the seeds, with n - 1.")
    _add_columns(table, ("first run", "method", "graph", "task"), ("seeds", "mean", "sd", "lowest", "highest"))
    for group in seeded:
        a = group.accuracy
        shares = (a.mean, a.standard_deviation, a.low, a.high)
        label = LABELS.get(group.method, group.method)
        figures = [f"{100 * share:.1f}" for share in shares]
        table.add_row(group.run, label, group.graph, _shown(group.task), str(a.seeds), *figures)
    return table


def _shown(task: str) -> str:
    """A task as tables name it: a file of one's own without its folders, which would take the room of figures."""
    return Path(task).name


def _table(*, title: str, caption: str) -> Table:
    return Table(title=title, caption=caption, box=SIMPLE_HEAD, collapse_padding=True)


def _add_columns(table: Table, words: Sequence[str], figures: Sequence[str]) -> None:
    """Where a terminal is narrow, words go on in the next line of their cell and figures stay whole."""
    for name in words:
        table.add_column(name, overflow="fold")
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)


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
        ("all texts truncated %", f"{100 * m['truncated_turns_rate']:.1f}"),
        ("cut by context %", f"{100 * m['context_limited_rate']:.1f}"),
    ]
