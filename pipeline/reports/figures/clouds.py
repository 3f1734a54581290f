"""Figure 5: latent thoughts and the token embeddings of TextMAS's texts, and how much of these the thoughts cover."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.reports.figures.canvas import Mark, as_text, finished, panels, styled
from pipeline.reports.figures.drawing import Drawing
from pipeline.reports.figures.selecting import model_name, names_of
from pipeline.reports.geometry import NEIGHBOURS, Coverage, Vectors, coverage, fit_plane, random_like, some

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME = "figure-5-thoughts-and-tokens"
MARKS = {
    "tokens": Mark(colour="#b0b0b0", point="o"),
    "thoughts": Mark(colour="#0072b2", point="^"),
    "random": Mark(colour="#ffffff", hatch="..."),
}
LABELS = {
    "thoughts": "latent thoughts",
    "tokens": "other tokens of the texts",
    "random": "random directions, same lengths",
}
SPACES = {"full": "all dimensions", "plane": "the plane"}
"""Where coverage is measured."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Clouds:
    """What a latent team thought and a text team wrote on the same questions."""

    model: str
    """The model of both."""
    task: str
    """Where the questions are from."""
    graph: str
    """The role graph of the latent team."""
    latent_steps: int
    """m."""
    questions: int
    """How many questions both worked on."""
    thoughts_ND: Vectors
    """What latent steps fed back, aligned and rescaled."""
    tokens_MD: Vectors
    """Embeddings of the distinct tokens of the texts, as they enter the first layer."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Panel:
    """A row of the figure."""

    clouds: Clouds
    """What it shows."""
    tokens_N2: Vectors
    """In the plane."""
    thoughts_N2: Vectors
    """In the plane; as many."""
    shares: tuple[float, float]
    """Of the variance that the plane's axes hold."""
    coverages: dict[str, Coverage]
    """In all dimensions and in the plane."""


def enough(clouds: Clouds) -> bool:
    """Whether there are so many tokens and thoughts that a coverage can be told."""
    return _count(clouds, len(clouds.tokens_MD)) > NEIGHBOURS


def clouds_figure(found: Sequence[Clouds], *, points: int) -> Drawing:
    """Thoughts and tokens in the plane of their joint PCA, a row of panels for each task.

    Args:
        found: A task and model each, with enough points.
        points: Most points of each kind that are used; more are drawn by lot.
    """
    rows = [_panel(clouds, points) for clouds in found]
    with styled(NAME):
        figure, grid = panels(len(rows), 2, height=2.9)
        for (left, right), row in zip(grid, rows, strict=True):
            left.set_title(as_text(_key(row.clouds, rows)), loc="left")
            _scatter(left, row)
            _bars(right, row.coverages)
            right.set_xlabel(f"share of tokens covered (k = {NEIGHBOURS})")
        figure.legend(*grid[0][1].get_legend_handles_labels(), loc="outside upper right", ncols=3, title="covered by")
        return finished(
            figure,
            name=NAME,
            title="Latent thoughts and the token embeddings of TextMAS's texts",
            caption=_caption(rows),
            table=[line for row in rows for line in _points(row, rows)],
            numbers={
                f"{_key(row.clouds, rows)}/coverage/{space}/{what}": value
                for row in rows
                for space, coverages in row.coverages.items()
                for what, value in vars(coverages).items()
            },
        )


def _count(clouds: Clouds, points: int) -> int:
    """Vectors of each kind: tokens are needed twice, to be covered and to cover."""
    return min(points, len(clouds.thoughts_ND), len(clouds.tokens_MD) // 2)


def _panel(clouds: Clouds, points: int) -> _Panel:
    """Draws lots, finds the plane and measures."""
    count = _count(clouds, points)
    drawn = some(clouds.tokens_MD, 2 * count)
    tokens, others, thoughts = drawn[:count], drawn[count:], some(clouds.thoughts_ND, count)
    kinds = [tokens, thoughts, others, random_like(thoughts)]
    plane = fit_plane([tokens, thoughts])
    flat = [plane.project(kind) for kind in kinds]
    return _Panel(
        clouds=clouds,
        tokens_N2=flat[0],
        thoughts_N2=flat[1],
        shares=plane.shares,
        coverages={space: _coverage(*kinds) for space, kinds in zip(SPACES, (kinds, flat), strict=True)},
    )


def _coverage(tokens: Vectors, thoughts: Vectors, others: Vectors, random: Vectors) -> Coverage:
    return Coverage(
        points=len(tokens),
        thoughts=coverage(tokens, thoughts),
        tokens=coverage(tokens, others),
        random=coverage(tokens, random),
    )


def _scatter(axes: Axes, row: _Panel) -> None:
    """Points in the plane; as pixels also in the SVG, which thousands of shapes would make slow."""
    for name, points_N2 in (("tokens", row.tokens_N2), ("thoughts", row.thoughts_N2)):
        mark = MARKS[name]
        axes.scatter(
            points_N2[:, 0],
            points_N2[:, 1],
            s=14,
            marker=mark.point,
            color=mark.colour,
            edgecolor="black",
            linewidth=0.3,
            alpha=0.75,
            label=f"{'latent thoughts' if name == 'thoughts' else 'token embeddings'} ({len(points_N2)})",
            rasterized=True,
        )
    first, second = row.shares
    axes.set_xlabel(f"first axis ({100 * first:.0f} % of the variance)")
    axes.set_ylabel(f"second axis ({100 * second:.0f} %)")
    axes.set_aspect("equal", adjustable="datalim")
    axes.legend(loc="best", handletextpad=0.1, borderpad=0.2)


def _bars(axes: Axes, coverages: dict[str, Coverage]) -> None:
    """Coverage by thoughts, and by what it can be read by."""
    for offset, (name, label) in enumerate(LABELS.items(), start=-1):
        values = [float(getattr(found, name)) for found in coverages.values()]
        mark = MARKS[name]
        bars = axes.barh(
            [place + 0.26 * offset for place in range(len(values))],
            values,
            0.26,
            label=label,
            color=mark.colour,
            hatch=mark.hatch,
            edgecolor="black",
            linewidth=0.7,
        )
        axes.bar_label(bars, [f"{value:.2f}" for value in values], padding=2)
    axes.set_yticks(range(len(coverages)), [f"in {SPACES[space]}" for space in coverages])
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.grid(axis="x")


def _key(clouds: Clouds, rows: Sequence[_Panel]) -> str:
    """How numbers of a row are called."""
    models, tasks = (names_of(getattr(row.clouds, what) for row in rows) for what in ("model", "task"))
    return "/".join((*((models[clouds.model],) if len(models) > 1 else ()), tasks[clouds.task]))


def _points(row: _Panel, rows: Sequence[_Panel]) -> list[dict[str, object]]:
    """The table: a line a point."""
    clouds = row.clouds
    models, tasks = (names_of(getattr(one.clouds, what) for one in rows) for what in ("model", "task"))
    where = {"model": models[clouds.model], "task": tasks[clouds.task]}
    return [
        {**where, "kind": kind, "first": float(first), "second": float(second)}
        for kind, points_N2 in (("token", row.tokens_N2), ("thought", row.thoughts_N2))
        for first, second in points_N2
    ]


def _caption(rows: Sequence[_Panel]) -> str:
    first = rows[0].clouds
    counts = "; ".join(
        f"{_key(row.clouds, rows)}: {len(row.clouds.thoughts_ND)} thoughts, {len(row.clouds.tokens_MD)} distinct "
        f"tokens, {row.coverages['full'].points} of each used, {row.clouds.questions} questions"
        for row in rows
    )
    models = ", ".join(dict.fromkeys(model_name(row.clouds.model) for row in rows))
    return (
        "Left: latent thoughts (the inputs that LatentMAS feeds back, aligned and rescaled) and embeddings of the "
        "distinct tokens of TextMAS's texts on the same questions, in the plane of their joint PCA. Right: coverage "
        f"(Naeem et al. 2020), the share of tokens whose ball of {NEIGHBOURS} nearest neighbours holds at least one "
        "thought; beside it what as many other tokens of the same texts and random vectors of the thoughts' lengths "
        f"reach. {counts}. Graph {first.graph}, m = {first.latent_steps}. Model: {models}."
    )
