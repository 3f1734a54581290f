"""Figure 8: accuracy against the number of latent steps m."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.reports.figures.alignment import SCORES, name_scores
from pipeline.reports.figures.canvas import Mark, as_text, finished, panels, series_mark, styled
from pipeline.reports.figures.drawing import Drawing
from pipeline.reports.figures.selecting import (
    by_panel,
    groups_alike,
    is_plain,
    named,
    panel_title,
    share_of,
    told_models,
    told_questions,
)
from pipeline.reports.runs import FinishedRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME = "figure-8-latent-steps"
NEEDS = "runs of latent_mas with two or more values of m (latent_steps) that are alike in all else"
TOGETHER = 3
"""Tasks in one panel."""
ASIDE = 0.14
"""How far their points are moved aside, in doublings of m, so that those of the same height can be told apart."""

Ladder = dict[int, FinishedRun]
"""A task's runs by m, upwards."""


def steps_figure(runs: Sequence[FinishedRun]) -> Drawing | None:
    """Accuracy of LatentMAS against m, a row of panels for each graph and model; none without such runs."""
    found = named(ladders(runs))
    if not found:
        return None
    drawn = [run for tasks in found.values() for ladder in tasks.values() for run in ladder.values()]
    tasks = dict.fromkeys(task for inside in found.values() for task in inside)
    marks = {task: series_mark(place) for place, task in enumerate(tasks)}
    lines = [(panel, part) for panel, inside in found.items() for part in _parts(inside)]
    with styled(NAME):
        figure, grid = panels(len(lines), len(SCORES), height=2.6)
        for row, (panel, part) in zip(grid, lines, strict=True):
            highest = [_draw(axes, part, marks, lenient=SCORES[s]) for axes, s in zip(row, SCORES, strict=True)]
            name_scores(row, panel_title(panel, found), top=1.04 * max(highest))
        for axes in grid[-1]:
            axes.set_xlabel("latent steps m of each agent")
        legend = {
            label: handle for row in grid for handle, label in zip(*row[0].get_legend_handles_labels(), strict=True)
        }
        figure.legend(legend.values(), legend.keys(), loc="outside upper center", ncols=min(len(legend), 5))
        return finished(
            figure,
            name=NAME,
            title="Accuracy against the number of latent steps",
            caption=_caption(drawn),
            table=_table(found),
        )


def ladders(runs: Sequence[FinishedRun]) -> dict[tuple[str, str], dict[str, Ladder]]:
    """Runs that differ in m alone: by model and graph, by task, by m. A task shows the ladder with most steps."""
    latent = [run for run in runs if run.metrics.method == "latent_mas" and is_plain(run)]
    found: dict[tuple[str, str], dict[str, Ladder]] = {}
    for panel, inside in by_panel(latent).items():
        tasks: dict[str, Ladder] = {}
        for group in groups_alike(inside, but=["latent_steps"]):
            first = {run.metrics.latent_steps_per_agent: run for run in reversed(group)}
            task = group[0].metrics.task
            if len(first) > max(len(tasks.get(task, {})), 1):
                tasks[task] = dict(sorted(first.items()))
        if tasks:
            found[panel] = tasks
    return found


def _parts(tasks: dict[str, Ladder]) -> list[dict[str, Ladder]]:
    """Tasks in rows of as many as can be told apart where their bands overlap."""
    names = list(tasks)
    return [{name: tasks[name] for name in names[i : i + TOGETHER]} for i in range(0, len(names), TOGETHER)]


def _draw(axes: Axes, tasks: dict[str, Ladder], marks: dict[str, Mark], *, lenient: bool) -> float:
    """A line and a band for each task; returns the highest end of an interval."""
    top, steps = 0.0, sorted({m for ladder in tasks.values() for m in ladder})
    unit = next(m for m in steps if m > 0)
    for place, (task, ladder) in enumerate(tasks.items()):
        mark = marks[task]
        m = [at + ASIDE * (place - (len(tasks) - 1) / 2) for at in _places(list(ladder), unit)]
        shares = [share_of(run, lenient=lenient) for run in ladder.values()]
        low, high = [share.low for share in shares], [share.high for share in shares]
        top = max(top, *high)
        axes.fill_between(m, low, high, color=mark.colour, alpha=0.13, linewidth=0)
        for edge in (low, high):
            axes.plot(m, edge, color=mark.colour, linewidth=0.6, linestyle=mark.line)
        axes.plot(
            m,
            [share.value for share in shares],
            color=mark.colour,
            linestyle="--" if lenient else "-",
            marker=mark.point,
            markeredgecolor="white",
            markeredgewidth=0.6,
            markersize=7,
            label=as_text(task),
            clip_on=False,
            zorder=3,
        )
    axes.set_xticks(_places(steps, unit), [str(m) for m in steps])
    axes.grid()
    return top


def _places(m: Sequence[int], unit: int) -> list[float]:
    """Where on the axis so many steps lie: doublings are equally far apart, and 0 has a place too."""
    return [math.log2(1 + steps / unit) for steps in m]


def _table(found: dict[tuple[str, str], dict[str, Ladder]]) -> list[dict[str, object]]:
    return [
        {
            "model": model,
            "graph": graph,
            "task": task,
            "latent_steps": m,
            "score": score,
            "accuracy_percent": share.value,
            "low": share.low,
            "high": share.high,
            "n": share.n,
        }
        for (model, graph), tasks in found.items()
        for task, ladder in tasks.items()
        for m, run in ladder.items()
        for score, lenient in SCORES.items()
        for share in [share_of(run, lenient=lenient)]
    ]


def _caption(runs: Sequence[FinishedRun]) -> str:
    return (
        "Accuracy of LatentMAS against the latent steps m of each thinking agent (m = 0 still hands over the memory of "
        "the prompts); bands: 95 % Wilson intervals. Strict (solid): the last boxed answer counts; lenient (dashed): "
        "also the last number or letter. The axis of m is logarithmic, with a place for 0; points of one m stand "
        "beside each other. "
        f"{told_models(runs)} {told_questions(runs)}"
    )
