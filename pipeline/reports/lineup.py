"""Who stands where in the paper's table: a block for each model and graph, in it a line-up of methods for each task."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.reports.fairness import BUDGETS
from pipeline.reports.runs import FinishedRun
from pipeline.reports.variants import Variant, tails, variants

_GRAPHS = ("sequential", "hierarchical")
"""The paper's graphs, which come first."""


@dataclass(frozen=True, kw_only=True)
class Lineup:
    """The methods on one task: of each the plain way to run it first, then others; of a missing one nothing."""

    task: str
    """The task as settings name it."""
    single: tuple[Variant, ...]
    text: tuple[Variant, ...]
    latent: tuple[Variant, ...]

    @property
    def all(self) -> tuple[Variant, ...]:
        """All of them."""
        return (*self.single, *self.text, *self.latent)


@dataclass(frozen=True, kw_only=True)
class Block:
    """One table's worth: a model, and the graph that the teams walked."""

    model: str
    """The model as settings name it."""
    graph: str
    """The graph's name; empty where there is no team."""
    title: str
    """Both in short, unlike any other block's."""
    lineups: tuple[Lineup, ...]


def blocks_of(runs: Sequence[FinishedRun], tasks: Sequence[str] = ()) -> tuple[Block, ...]:
    """Lines runs up as the paper does. A single agent has no graph: it stands in every block of its model.

    Args:
        runs: Any runs.
        tasks: Tasks in the order in which they come; others follow in that of the runs.
    """
    models = tails(run.metrics.model for run in runs)
    return tuple(
        block
        for model in sorted(models, key=lambda name: _natural(models[name]))
        for block in _of_model([run for run in runs if run.metrics.model == model], models[model], tasks)
    )


def _of_model(runs: Sequence[FinishedRun], model: str, tasks: Sequence[str]) -> list[Block]:
    """The blocks of one model. What no team answers stands in the first one."""
    alone = [run for run in runs if run.metrics.method == "single"]
    walked: dict[tuple[str, str], list[FinishedRun]] = {}
    for run in runs:
        if run.metrics.method != "single":
            walked.setdefault((run.metrics.graph, run.graph), []).append(run)
    in_teams = {run.metrics.task for group in walked.values() for run in group}
    elsewhere = {run.metrics.task for run in alone} - in_teams
    blocks = list[Block]()
    for graph in sorted(walked, key=lambda one: _rank(one[0])) or [("", "")]:
        teams = walked.get(graph, [])
        asked = {run.metrics.task for run in teams} | (elsewhere if not blocks else set())
        lineups = _lineups([*(run for run in alone if run.metrics.task in asked), *teams], tasks)
        title = ", ".join(filter(None, (_called(graph, list(walked)), model)))
        blocks.append(Block(model=runs[0].metrics.model, graph=graph[0], title=title, lineups=lineups))
    return blocks


def _called(graph: tuple[str, str], graphs: Sequence[tuple[str, str]]) -> str:
    """A graph's name with a capital, and a number if graphs of one name differ."""
    alike = [one for one in graphs if one[0] == graph[0]]
    return graph[0][:1].upper() + graph[0][1:] + (f" ({alike.index(graph) + 1})" if len(alike) > 1 else "")


def counterpart(variant: Variant, others: Sequence[Variant]) -> Variant | None:
    """The one that a variant is compared with: with the same questions and budgets if there is one, else the first."""

    def agreement(other: Variant) -> tuple[bool, int]:
        here, there = variant.first, other.first
        same = sum(here.settings[name] == there.settings[name] for name in BUDGETS)
        return here.questions == there.questions, same + (here.settings["memory"] == there.settings["memory"])

    return max(others, key=agreement, default=None)


def _lineups(runs: Sequence[FinishedRun], tasks: Sequence[str]) -> tuple[Lineup, ...]:
    there = list(dict.fromkeys(run.metrics.task for run in runs))
    ordered = [*(task for task in tasks if task in there), *(task for task in there if task not in tasks)]
    return tuple(_lineup(task, [run for run in runs if run.metrics.task == task]) for task in ordered)


def _lineup(task: str, runs: Sequence[FinishedRun]) -> Lineup:
    single, text, latent = (
        variants([run for run in runs if run.metrics.method == method])
        for method in ("single", "text_mas", "latent_mas")
    )
    return Lineup(task=task, single=single, text=text, latent=latent)


def _rank(graph: str) -> tuple[int, str]:
    return (_GRAPHS.index(graph) if graph in _GRAPHS else len(_GRAPHS), graph)


def _natural(name: str) -> list[tuple[int, str]]:
    """A name's order with numbers by their value: 4B comes before 14B."""
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in re.split(r"(\d+)", name)]
