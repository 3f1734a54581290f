"""Figures of finished runs: numbers in, pictures out. Drawing them reads no files and loads no model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.reports.comparing import FinishedRun
from pipeline.reports.figures import alignment, costs, steps
from pipeline.reports.figures.agents import agents_figure
from pipeline.reports.figures.drawing import Drawing

__all__ = ["RUN_FIGURES", "Drawing", "RunFigure", "agents_figure", "run_figures"]


@dataclass(frozen=True, kw_only=True)
class RunFigure:
    """A figure that finished runs alone can give."""

    number: int
    """The paper's."""
    draw: Callable[[Sequence[FinishedRun]], Drawing | None]
    """Draws it; none where runs that it needs are missing."""
    needs: str
    """Which runs it needs, in words."""


RUN_FIGURES = (
    RunFigure(number=4, draw=costs.costs_figure, needs=costs.NEEDS),
    RunFigure(number=7, draw=alignment.alignment_figure, needs=alignment.NEEDS),
    RunFigure(number=8, draw=steps.steps_figure, needs=steps.NEEDS),
)


def run_figures(runs: Sequence[FinishedRun]) -> list[Drawing]:
    """All figures that some finished runs can give, in the paper's order.

    Args:
        runs: In the order in which they are shown; of several that would fill one place the first one does.
    """
    drawings = [figure.draw(runs) for figure in RUN_FIGURES]
    return [drawing for drawing in drawings if drawing is not None]
