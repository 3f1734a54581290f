"""Figure 4: what the methods cost, seconds of the run and tokens a question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.reports.fairness import timed_otherwise
from pipeline.reports.figures.canvas import CROWD, METHOD_MARKS, as_text, finished, name_groups, panels, styled
from pipeline.reports.figures.drawing import Drawing
from pipeline.reports.figures.selecting import (
    is_plain,
    named,
    on_same_terms,
    panel_title,
    told_models,
    told_questions,
    usual_first,
)
from pipeline.reports.runs import FinishedRun
from pipeline.reports.tables import LABELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME = "figure-4-speed-and-tokens"
NEEDS = "runs of text_mas and latent_mas over one graph, on the same questions with the same budgets"
BAR = 0.26
"""Width of a bar, where tasks are 1 apart."""

Trio = dict[str, FinishedRun]
"""A task's runs by method."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What bars show."""

    label: str
    """Of the axis, with its unit."""
    column: str
    """Of the table, and the metric's name."""


MEASURES = (
    Measure(label="seconds of the run", column="seconds"),
    Measure(label="output tokens per question", column="output_tokens_per_question"),
)


def costs_figure(runs: Sequence[FinishedRun]) -> Drawing | None:
    """Seconds and tokens of all methods, a row of panels for each graph and model; none without runs to compare."""
    found = named(trios(runs))
    if not found:
        return None
    drawn = [run for tasks in found.values() for trio in tasks.values() for run in trio.values()]
    most = max(len(tasks) for tasks in found.values())
    columns = 2 if most <= CROWD else 1  # many tasks need the whole width
    with styled(NAME):
        figure, grid = panels(len(found) * 2 // columns, columns, height=2.5)
        places = iter([axes for row in grid for axes in row])
        for panel, tasks in found.items():
            for measure in MEASURES:
                axes = next(places)
                _draw(axes, tasks, measure)
                axes.set_title(as_text(panel_title(panel, found)), loc="left")
        handles, labels = max((row[0].get_legend_handles_labels() for row in grid), key=lambda pair: len(pair[1]))
        figure.legend(handles, labels, loc="outside upper center", ncols=3)
        return finished(
            figure,
            name=NAME,
            title="Speed and tokens of a single agent, TextMAS and LatentMAS",
            caption=_caption(drawn),
            table=_table(found),
            numbers=_factors(found),
        )


def trios(runs: Sequence[FinishedRun]) -> dict[tuple[str, str], dict[str, Trio]]:
    """Runs that can be set beside each other: by model and graph, by task, by method.

    Of several that would fit the first is taken, and of those of LatentMAS the one with the usual latent steps.
    """
    ordered = sorted((run for run in runs if is_plain(run)), key=usual_first)
    found: dict[tuple[str, str], dict[str, Trio]] = {}
    for group in on_same_terms(ordered):
        alone = [run for run in group if run.metrics.method == "single"]
        teams = [run for run in group if run.metrics.method != "single"]
        for text in [run for run in teams if run.metrics.method == "text_mas"]:
            latent = [run for run in teams if run.metrics.method == "latent_mas" and run.graph == text.graph]
            panel = (text.metrics.model, text.metrics.graph)
            if latent and text.metrics.task not in found.get(panel, {}):
                trio = {"single": alone[0]} if alone else {}
                found.setdefault(panel, {})[text.metrics.task] = {**trio, "text_mas": text, "latent_mas": latent[0]}
    return found


def _value(run: FinishedRun, measure: Measure) -> float:
    return float(getattr(run.metrics, measure.column))


def _factor(trio: Trio, measure: Measure) -> float:
    """How many times what LatentMAS takes TextMAS takes; 0 where that can't be told."""
    latent = _value(trio["latent_mas"], measure)
    return _value(trio["text_mas"], measure) / latent if latent else 0.0


def _draw(axes: Axes, tasks: dict[str, Trio], measure: Measure) -> None:
    """Bars of one measure, side by side for each task."""
    small = 7.5 if len(tasks) > 2 else 8.5
    for offset, (method, mark) in enumerate(METHOD_MARKS.items(), start=-1):
        at = [place + offset * BAR for place, trio in enumerate(tasks.values()) if method in trio]
        values = [_value(trio[method], measure) for trio in tasks.values() if method in trio]
        bars = axes.bar(
            at,
            values,
            BAR,
            label=LABELS[method],
            color=mark.colour,
            hatch=mark.hatch,
            edgecolor="black",
            linewidth=0.7,
        )
        told = [f"{value:.0f}" if value >= 10 else f"{value:.1f}" for value in values]
        if method == "latent_mas":
            factors = [_factor(trio, measure) for trio in tasks.values()]
            told = [f"{text}\n×{factor:.1f}" if factor else text for text, factor in zip(told, factors, strict=True)]
        axes.bar_label(bars, told, padding=1, fontsize=small)
    axes.margins(y=0.16)
    axes.set_ylabel(measure.label)
    name_groups(axes, list(tasks))


def _table(found: dict[tuple[str, str], dict[str, Trio]]) -> list[dict[str, object]]:
    return [
        {
            "model": model,
            "graph": graph,
            "task": task,
            "method": method,
            "latent_steps": run.metrics.latent_steps_per_agent,
            "n": run.metrics.num_questions,
            **{measure.column: _value(run, measure) for measure in MEASURES},
            **{
                f"text_mas_over_latent_mas_{measure.column}": _factor(trio, measure) if method == "latent_mas" else ""
                for measure in MEASURES
            },
        }
        for (model, graph), tasks in found.items()
        for task, trio in tasks.items()
        for method, run in trio.items()
    ]


def _factors(found: dict[tuple[str, str], dict[str, Trio]]) -> dict[str, float]:
    several = len({model for model, _ in found}) > 1
    return {
        "/".join((*((model,) if several else ()), graph, task, measure.column)): _factor(trio, measure)
        for (model, graph), tasks in found.items()
        for task, trio in tasks.items()
        for measure in MEASURES
    }


def _caption(runs: Sequence[FinishedRun]) -> str:
    steps = sorted({run.metrics.latent_steps_per_agent for run in runs if run.metrics.method == "latent_mas"})
    told = ", ".join(map(str, steps))
    notes = "".join(f" Note: {note}." for note in timed_otherwise(list({id(run): run for run in runs}.values())))
    return (
        "Seconds from the first question in to the last answer out, and tokens that all agents write for a question. "
        "× over a bar of LatentMAS: how many times as much TextMAS takes. "
        f"m = {told} latent steps. {told_models(runs)} {told_questions(runs)}{notes}"
    )
