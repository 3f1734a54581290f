"""Figures of finished runs: numbers in, pictures out. Drawing them reads no files and loads no model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

from pipeline.reports.figures import alignment, costs, steps
from pipeline.reports.figures.agents import agents_figure
from pipeline.reports.figures.drawing import Drawing
from pipeline.reports.figures.selecting import TIED, with_graphs_apart
from pipeline.reports.runs import FinishedRun

__all__ = ["Drawing", "RunFigure", "agents_figure", "figures_of_runs", "run_figures"]


@dataclass(frozen=True, kw_only=True)
class RunFigure:
    """A figure that finished runs alone can give."""

    number: int
    """The paper's."""
    draw: Callable[[Sequence[FinishedRun]], Drawing | None]
    """Draws it; none where runs that it needs are missing."""
    needs: str
    """Which runs it needs, in words."""

    def drawn(self, runs: Sequence[FinishedRun]) -> Drawing | None:
        """The figure of some runs; none where runs that it needs are missing."""
        drawing = self.draw(with_graphs_apart(runs))
        if drawing is None or len({run.settings["seed"] for run in runs}) == 1:
            return drawing
        return replace(drawing, caption=f"{drawing.caption} Of several seeds the first one that was given is drawn.")


def figures_of_runs(tied: Collection[str] = TIED) -> tuple[RunFigure, ...]:
    """The figures that finished runs alone can give, in the paper's order.

    Args:
        tied: Models that are known to tie their input and output embeddings, which captions tell.
    """
    return (
        RunFigure(number=4, draw=costs.costs_figure, needs=costs.NEEDS),
        RunFigure(number=7, draw=partial(alignment.alignment_figure, tied=tied), needs=alignment.NEEDS),
        RunFigure(number=8, draw=steps.steps_figure, needs=steps.NEEDS),
    )


def run_figures(runs: Sequence[FinishedRun]) -> list[Drawing]:
    """All figures that some finished runs can give.

    Args:
        runs: In the order in which they are shown; of several that would fill one place the first one does.
    """
    drawings = [figure.drawn(runs) for figure in figures_of_runs()]
    return [drawing for drawing in drawings if drawing is not None]
