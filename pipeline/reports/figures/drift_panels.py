"""The panels of figure 6: the values of components, and where vectors lie in a plane."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.reports.figures.canvas import Mark
from pipeline.reports.geometry import Vectors, fit_plane

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

MARKS = {
    "tokens": Mark(colour="#b0b0b0", point="o", line="-"),
    "before": Mark(colour="#000000", point="*", line=":"),
    "hidden": Mark(colour="#e69f00", point="s", line="--"),
    "fed": Mark(colour="#0072b2", point="^", line="-"),
}
OVER = ("tokens", "hidden", "fed")
"""Kinds of points in the plane, from the lowest layer up."""
LABELS = {
    "tokens": "token embeddings",
    "before": "input $e_t$",
    "hidden": "hidden state $h_t$",
    "fed": "aligned $e_{t+1}$",
}
SIDES = {"ridge": "with $W_a$", "identity": "without $W_a$"}
"""The alignments that are looked at, as rows of the figure."""
Line = dict[str, object]
"""Of the CSV: a point of a curve, a point in the plane, or a number of drift."""
BINS = 91
"""Of the densities; odd, so that one lies around 0."""


def legend() -> list[Line2D]:
    """A line and a point of each kind."""
    from matplotlib.lines import Line2D

    return [
        Line2D(
            [],
            [],
            color=mark.colour,
            linestyle=mark.line,
            marker=mark.point,
            markeredgecolor="black",
            label=LABELS[kind],
        )
        for kind, mark in MARKS.items()
    ]


def line(panel: str, side: str, kind: str, x: object, y: float) -> Line:
    """A line of the CSV; a number of drift has its name for x."""
    return {"panel": panel, "alignment": side, "kind": kind, "x": x, "y": float(y)}


def densities(axes: Axes, kinds: dict[str, Vectors], side: str) -> list[Line]:
    """Draws how often components have which value, over orders of magnitude; returns the curves.

    Args:
        axes: Where.
        kinds: The vectors of each kind.
        side: Their alignment.
    """
    width = float(kinds["tokens"].std())
    widest = max(float(np.abs(vectors).max()) for vectors in kinds.values())
    end = np.arcsinh(widest / width)
    edges = width * np.sinh(np.linspace(-end, end, BINS + 1))
    middles = (edges[1:] + edges[:-1]) / 2
    table = []
    for kind, mark in MARKS.items():
        density = np.histogram(kinds[kind], bins=edges, density=True)[0]
        axes.plot(middles, np.where(density > 0, density, np.nan), color=mark.colour, linestyle=mark.line)
        if kind == "tokens":
            axes.fill_between(middles, density, color=mark.colour, alpha=0.5, linewidth=0)
        table += [line("values", side, kind, float(x), y) for x, y in zip(middles, density, strict=True)]
    axes.set_xscale("asinh", linear_width=width)
    decades = 10.0 ** np.arange(np.ceil(np.log10(3 * width)), np.floor(np.log10(widest)) + 1)[-2:]
    ticks = [*-decades[::-1], 0, *decades]
    axes.set_xticks(ticks, [f"{tick:g}".replace("-", "\N{MINUS SIGN}") for tick in ticks])
    axes.minorticks_off()
    axes.set_yscale("log")
    axes.set_title(SIDES[side], loc="left")
    axes.set_xlabel("value of a component")
    axes.set_ylabel("density")
    return table


def planes(axes: Axes, near: Axes, kinds: dict[str, Vectors], side: str) -> list[Line]:
    """Draws the plane of tokens, hidden states and what they become; returns the points.

    Args:
        axes: Where all of it is drawn.
        near: Where the part is drawn in which tokens and what is fed lie.
        kinds: The vectors of each kind; `first` are the inputs of first steps.
        side: Their alignment.
    """
    plane = fit_plane([kinds["tokens"], kinds["hidden"], kinds["fed"]])
    # After the first step the input is what the step before fed, and drawn as that.
    flat = {kind: plane.project(kinds["first" if kind == "before" else kind]) for kind in (*OVER, "before")}
    for kind, points_N2 in flat.items():
        for where in (axes, near):
            where.scatter(
                points_N2[:, 0],
                points_N2[:, 1],
                s=90 if kind == "before" else 12,
                marker=MARKS[kind].point,
                facecolor=MARKS[kind].colour,
                edgecolor="white" if kind == "before" else "black",
                linewidth=0.3,
                rasterized=True,
            )
    inside = np.concatenate([flat["tokens"], flat["fed"], flat["before"]])
    lowest, highest = inside.min(axis=0), inside.max(axis=0)
    margin = 0.12 * (highest - lowest)
    near.set_xlim(lowest[0] - margin[0], highest[0] + margin[0])
    near.set_ylim(lowest[1] - margin[1], highest[1] + margin[1])
    for where, title in ((axes, "joint PCA"), (near, "the same, near the tokens")):
        where.set_title(title, loc="left")
        where.set_xlabel(f"first axis ({100 * plane.shares[0]:.0f} %)")
    axes.set_ylabel(f"second axis ({100 * plane.shares[1]:.0f} %)")
    return [line("plane", side, kind, float(x), y) for kind, points_N2 in flat.items() for x, y in points_N2]
