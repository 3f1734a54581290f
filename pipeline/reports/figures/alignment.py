"""Figure 7: accuracy before and after W_a, question by question the same."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from pipeline.reports.figures.canvas import CROWD, Mark, as_text, finished, name_groups, panels, styled
from pipeline.reports.figures.drawing import Drawing
from pipeline.reports.figures.selecting import (
    TIED,
    Share,
    by_panel,
    groups_alike,
    is_plain,
    model_name,
    named,
    panel_title,
    share_of,
    told_models,
    told_questions,
    usual_first,
)
from pipeline.reports.runs import FinishedRun
from pipeline.reports.stats import mcnemar_p

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME = "figure-7-alignment"
NEEDS = "runs of latent_mas with alignment identity and ridge, m above 0, that are alike in all else"
MARKS = {
    "identity": Mark(colour="#dddddd"),
    "ridge": Mark(colour="#0072b2"),
    "random": Mark(colour="#e69f00", hatch="///"),
}
LABELS = {"identity": "without $W_a$ (identity)", "ridge": "with $W_a$ (ridge)", "random": "random orthogonal"}
BAR = 0.26
"""Width of a bar, where tasks are 1 apart."""
SCORES = {"strict": False, "lenient": True}
"""Columns of panels, and whether they are lenient."""

Aligned = dict[str, FinishedRun]
"""A task's runs by alignment."""


def alignment_figure(runs: Sequence[FinishedRun], *, tied: Collection[str] = TIED) -> Drawing | None:
    """Accuracy of LatentMAS with and without W_a, a row of panels for each graph and model; none without such runs.

    Args:
        runs: All there are.
        tied: Models that tie their input and output embeddings.
    """
    found = named(before_and_after(runs))
    if not found:
        return None
    drawn = [run for tasks in found.values() for aligned in tasks.values() for run in aligned.values()]
    crowded = max(map(len, found.values())) > CROWD
    with styled(NAME):
        figure, grid = panels(len(found) * (2 if crowded else 1), 1 if crowded else 2, height=2.4)
        axes = [one for row in grid for one in row]
        for row, (panel, tasks) in zip(zip(axes[::2], axes[1::2], strict=True), found.items(), strict=True):
            highest = [_draw(axes, tasks, lenient=SCORES[score]) for axes, score in zip(row, SCORES, strict=True)]
            name_scores(row, panel_title(panel, found), top=1.18 * max(highest))
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3)
        return finished(
            figure,
            name=NAME,
            title="Accuracy before and after the alignment W_a",
            caption=_caption(drawn, tied),
            table=_table(found),
            numbers=_p_values(found),
        )


def before_and_after(runs: Sequence[FinishedRun]) -> dict[tuple[str, str], dict[str, Aligned]]:
    """Runs that differ in their alignment alone: by model and graph, by task, by alignment.

    A task that has been run so with several numbers of latent steps shows the usual one.
    """
    thinking = [
        run
        for run in runs
        if run.metrics.method == "latent_mas"
        and run.metrics.latent_steps_per_agent > 0
        and is_plain(run, but=["alignment"])
    ]
    found: dict[tuple[str, str], dict[str, Aligned]] = {}
    for panel, inside in by_panel(sorted(thinking, key=usual_first)).items():
        tasks: dict[str, Aligned] = {}
        for group in groups_alike(inside, but=["alignment"]):
            first = {run.metrics.alignment: run for run in reversed(group)}
            aligned = {name: first[name] for name in MARKS if name in first}
            task = group[0].metrics.task
            if {"identity", "ridge"} <= aligned.keys() and len(aligned) > len(tasks.get(task, {})):
                tasks[task] = aligned
        if tasks:
            found[panel] = tasks
    return found


def p_of(aligned: Aligned, *, lenient: bool) -> float:
    """McNemar's exact p of with against without W_a, on the questions that are scored in both."""
    before, after = (_right(aligned[name], lenient=lenient) for name in ("identity", "ridge"))
    pairs = [(before[question], after[question]) for question in before.keys() & after.keys()]
    return mcnemar_p(pairs.count((True, False)), pairs.count((False, True)))


def _right(run: FinishedRun, *, lenient: bool) -> dict[str, bool]:
    return {
        row.question_id: bool(row.correct_lenient if lenient else row.correct)
        for row in run.rows
        if row.correct is not None
    }


def name_scores(row: Sequence[Axes], title: str, *, top: float) -> None:
    """Puts words and one scale from 0 to `top` per cent on a row of panels, one for each score."""
    for axes, score in zip(row, SCORES, strict=True):
        axes.set_title(as_text(f"{title}: {score}"), loc="left")
        axes.set_ylim(0, top)
        axes.set_ylabel("accuracy (%)")


def _draw(axes: Axes, tasks: dict[str, Aligned], *, lenient: bool) -> float:
    """Bars of one score, side by side for each task, with p over them; returns the highest end of an interval."""
    names = [name for name in MARKS if any(name in aligned for aligned in tasks.values())]
    tops = [0.0] * len(tasks)
    for offset, name in enumerate(names):
        shares = {
            place: share_of(aligned[name], lenient=lenient)
            for place, aligned in enumerate(tasks.values())
            if name in aligned
        }
        shift = BAR * (offset - (len(names) - 1) / 2)
        _bars(axes, [place + shift for place in shares], list(shares.values()), name)
        tops = [max(top, shares[place].high) if place in shares else top for place, top in enumerate(tops)]
    for place, aligned in enumerate(tasks.values()):
        told = f"p = {p_of(aligned, lenient=lenient):.2g}"
        between = place + BAR * (0.5 - (len(names) - 1) / 2)  # the first two, which are tested
        axes.text(between, tops[place] + 0.02 * max(tops), told, ha="center", va="bottom", fontsize=8)
    name_groups(axes, list(tasks))
    return max(tops)


def _bars(axes: Axes, at: Sequence[float], shares: Sequence[Share], name: str) -> None:
    mark = MARKS[name]
    values = [share.value for share in shares]
    errors = [
        [share.value - share.low for share in shares],
        [share.high - share.value for share in shares],
    ]
    axes.bar(
        at,
        values,
        BAR,
        yerr=errors,
        label=LABELS[name],
        color=mark.colour,
        hatch=mark.hatch,
        edgecolor="black",
        linewidth=0.7,
        error_kw={"elinewidth": 1, "capsize": 3},
    )
    # A bar of 0 can't be seen, its point can.
    axes.plot(at, values, "o", color=mark.colour, markeredgecolor="black", markersize=5, clip_on=False, zorder=3)


def _table(found: dict[tuple[str, str], dict[str, Aligned]]) -> list[dict[str, object]]:
    return [
        {
            "model": model,
            "graph": graph,
            "task": task,
            "alignment": name,
            "latent_steps": run.metrics.latent_steps_per_agent,
            "score": score,
            "accuracy_percent": share.value,
            "low": share.low,
            "high": share.high,
            "n": share.n,
            "p_identity_against_ridge": p_of(aligned, lenient=lenient),
        }
        for (model, graph), tasks in found.items()
        for task, aligned in tasks.items()
        for name, run in aligned.items()
        for score, lenient in SCORES.items()
        for share in [share_of(run, lenient=lenient)]
    ]


def _p_values(found: dict[tuple[str, str], dict[str, Aligned]]) -> dict[str, float]:
    several = len({model for model, _ in found}) > 1
    return {
        "/".join((*((model,) if several else ()), graph, task, score, "p")): p_of(aligned, lenient=lenient)
        for (model, graph), tasks in found.items()
        for task, aligned in tasks.items()
        for score, lenient in SCORES.items()
    }


def _caption(runs: Sequence[FinishedRun], tied: Collection[str]) -> str:
    alike = [model_name(model) for model in dict.fromkeys(run.metrics.model for run in runs) if model in tied]
    same = f" {', '.join(alike)} ties its embeddings, so W_a is the identity up to lambda there." if alike else ""
    steps = ", ".join(map(str, sorted({run.metrics.latent_steps_per_agent for run in runs})))
    return (
        "Accuracy of LatentMAS without and with the alignment W_a, both rescaled to the length of embeddings, with "
        "95 % Wilson intervals; p: McNemar's exact test of the two on the same questions. Strict: the last boxed "
        f"answer counts; lenient: also the last number or letter. m = {steps} latent steps. "
        f"{told_models(runs)}{same} {told_questions(runs)}"
    )
