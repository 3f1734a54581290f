"""Tables of runs, pairs and seeds, and one run's totals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from pipeline.reports.comparing import PairedRuns, SeededRuns
from pipeline.reports.grid import Grid, columns_of, row_of_texts
from pipeline.reports.terminal import terminal_table
from pipeline.reports.variants import LABELS

__all__ = [
    "LABELS",
    "comparison_table",
    "pairs_grid",
    "pairs_table",
    "run_table",
    "runs_grid",
    "seeds_grid",
    "seeds_table",
]


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
    """Several runs side by side, as `runs_grid` has them."""
    return terminal_table(runs_grid(runs, names))


def runs_grid(runs: Sequence[Mapping[str, Any]], names: Sequence[str] = ()) -> Grid:
    """Several runs side by side, a run a row, in the order given.

    Args:
        runs: Their metrics.
        names: What they are called; without names there is no column of them.
    """
    figures = ("n", "accuracy\n%", "95 %", "lenient\n%", "token", "latent", "prefill", "speed")
    words = ("run", "method", "graph", "task") if names else ("method", "graph", "task")
    return Grid(
        title="Comparison",
        caption="Token, latent, prefill: per question. Speed: seconds of the run.",
        columns=columns_of(words, (*figures, "truncated\n%", "no answer\n%")),
        rows=tuple(row_of_texts((*names[place : place + 1], *_texts(run))) for place, run in enumerate(runs)),
    )


def pairs_grid(pairs: Sequence[PairedRuns]) -> Grid:
    """Runs against their baselines on the questions that both have."""
    figures = ("n", "baseline\n%", "run\n%", "difference", "95 %", "only baseline\nright", "only run\nright", "p")
    return Grid(
        title="Against the baseline, question by question",
        caption="Difference in points with its 95 % interval (bootstrap; exact where all questions differ alike); "
        "p: McNemar's exact test.",
        columns=columns_of(("run", "baseline", "task"), figures),
        rows=tuple(row_of_texts(_pair_texts(pair)) for pair in pairs),
    )


def seeds_grid(seeded: Sequence[SeededRuns]) -> Grid:
    """Runs that differ in their seed alone, a line for all of them."""
    return Grid(
        title="Over seeds",
        caption="Accuracy in %; sd: standard deviation over the seeds, with n - 1.",
        columns=columns_of(("first run", "method", "graph", "task"), ("seeds", "mean", "sd", "lowest", "highest")),
        rows=tuple(row_of_texts(_seeds_texts(group)) for group in seeded),
    )


def pairs_table(pairs: Sequence[PairedRuns]) -> Table:
    """Pairs in the terminal."""
    return terminal_table(pairs_grid(pairs))


def seeds_table(seeded: Sequence[SeededRuns]) -> Table:
    """Seeds in the terminal."""
    return terminal_table(seeds_grid(seeded))


def _texts(run: Mapping[str, Any]) -> tuple[str, ...]:
    count = max(run["num_questions"], 1)
    return (
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


def _pair_texts(pair: PairedRuns) -> tuple[str, ...]:
    r = pair.result
    return (
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


def _seeds_texts(group: SeededRuns) -> tuple[str, ...]:
    a = group.accuracy
    shares = (f"{100 * share:.1f}" for share in (a.mean, a.standard_deviation, a.low, a.high))
    label = LABELS.get(group.method, group.method)
    return (group.run, label, group.graph, _shown(group.task), str(a.seeds), *shares)


def _shown(task: str) -> str:
    """A task as tables name it: a file of one's own without its folders, which would take the room of figures."""
    return Path(task).name


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
        ("start-up, load seconds", f"{m['startup_seconds']:.1f}, {m['load_seconds']:.1f}"),
        ("scoring seconds", f"{m['scoring_seconds']:.2f}"),
        ("memory handed over MB (s)", f"{m['handover_bytes'] / 1e6:.1f} ({m['handover_seconds']:.2f})"),
        ("digests of memory s", f"{m['verify_seconds']:.2f}"),
        ("truncated, no answer %", f"{100 * m['truncated_rate']:.1f}, {100 * m['no_answer_rate']:.1f}"),
        ("all texts truncated %", f"{100 * m['truncated_turns_rate']:.1f}"),
        ("cut by context %", f"{100 * m['context_limited_rate']:.1f}"),
    ]
