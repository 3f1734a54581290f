"""Figure 6: hidden states, what the alignment makes of them, and where embeddings lie: does W_a bring them back?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.reports.figures.canvas import finished, mosaic, styled
from pipeline.reports.figures.drawing import Drawing
from pipeline.reports.figures.drift_panels import LABELS, SIDES, Line, densities, legend, line, planes
from pipeline.reports.figures.selecting import model_name, task_name
from pipeline.reports.geometry import Vectors, drift, some

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME = "figure-6-drift"
COLUMNS = {
    "norm": ("length", "{:.2f}"),
    "spread": ("spread", "{:.2f}"),
    "centre": ("centres\napart", "{:.2f}"),
    "values": ("values\nW1", "{:.3f}"),
    "beyond": ("beyond", "{:.0%}"),
    "cosine": ("nearest\ncosine", "{:.2f}"),
}
"""Of the table: what the numbers are called, and how they are written."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trail:
    """All latent steps of a team with one alignment, a row a step."""

    first_KD: Vectors
    """e_0: the last tokens of the prompts, from which the first steps begin."""
    before_ND: Vectors
    """e_t: the input before each step; at first e_0, afterwards what the step before fed."""
    hidden_ND: Vectors
    """h_t: the hidden state that came of it, after the final norm."""
    fed_ND: Vectors
    """e_(t+1): the hidden state aligned and rescaled, which is fed next."""
    hidden_cosine: float
    """Mean cosine of hidden states to the nearest embedding of the vocabulary."""
    fed_cosine: float
    """The same of what is fed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trails:
    """The same team on the same questions, with W_a and without, beside the tokens that it read."""

    model: str
    """The model."""
    task: str
    """Where the questions are from."""
    graph: str
    """The role graph."""
    latent_steps: int
    """m."""
    questions: int
    """How many."""
    tied: bool
    """Whether the model's input and output embeddings are one matrix, so that W_a is the identity up to lambda."""
    tokens_MD: Vectors
    """Embeddings of the distinct tokens of the prompts, as they enter the first layer."""
    tokens_cosine: float
    """Mean cosine of these to the nearest other embedding of the vocabulary."""
    sides: dict[str, Trail]
    """By alignment: ridge and identity."""


def drift_figure(trails: Trails, *, points: int, label: str = "") -> Drawing:
    """Values, places and drift of latent steps, a row of panels with W_a and one without.

    Args:
        trails: What was captured.
        points: Most points of each kind that are used; more are drawn by lot.
        label: What tells this figure from others of its kind, for its file's name.
    """
    name = "-".join(filter(None, (NAME, label)))
    kinds = {side: _kinds(trails.tokens_MD, trail, points) for side, trail in trails.sides.items()}
    drifts = _drifts(trails, kinds)
    rows = [[f"{side} {panel}" for panel in ("values", "plane", "near")] for side in trails.sides]
    with styled(name):
        figure, axes = mosaic([*rows, ["drift"] * 3], heights=[2.4] * len(rows) + [1.5])
        table: list[Line] = []
        for (values, plane, near), (side, vectors) in zip(rows, kinds.items(), strict=True):
            table += densities(axes[values], vectors, side)
            table += planes(axes[plane], axes[near], vectors, side)
        figure.legend(handles=legend(), loc="outside upper center", ncols=len(LABELS))
        _told(axes["drift"], drifts)
        return finished(
            figure,
            name=name,
            title=f"Latent steps before and after the alignment W_a on {task_name(trails.task)}",
            caption=_caption(trails, points),
            table=[
                *table,
                *(line("drift", *key, measure, v) for key, one in drifts.items() for measure, v in one.items()),
            ],
            numbers={"/".join(filter(None, (*key, what))): v for key, one in drifts.items() for what, v in one.items()},
        )


def _kinds(tokens_MD: Vectors, trail: Trail, points: int) -> dict[str, Vectors]:
    """What is drawn of one alignment, by kind."""
    every = {
        "tokens": tokens_MD,
        "first": trail.first_KD,
        "before": trail.before_ND,
        "hidden": trail.hidden_ND,
        "fed": trail.fed_ND,
    }
    return {kind: some(vectors, points) for kind, vectors in every.items()}


def _drifts(trails: Trails, kinds: dict[str, dict[str, Vectors]]) -> dict[tuple[str, str], dict[str, float]]:
    """By alignment and kind the numbers of drift; those of the tokens are for reading the others."""
    told = {("", "tokens"): {**vars(drift(trails.tokens_MD, trails.tokens_MD)), "cosine": trails.tokens_cosine}}
    for side, trail in trails.sides.items():
        for kind, cosine in (("hidden", trail.hidden_cosine), ("fed", trail.fed_cosine)):
            told[side, kind] = {**vars(drift(kinds[side][kind], trails.tokens_MD)), "cosine": cosine}
    return told


def _told(axes: Axes, drifts: dict[tuple[str, str], dict[str, float]]) -> None:
    """The numbers as a table."""
    from matplotlib.transforms import Bbox

    axes.set_axis_off()
    told = axes.table(
        [[COLUMNS[name][1].format(value) for name, value in one.items()] for one in drifts.values()],
        colLabels=[COLUMNS[name][0] for name in next(iter(drifts.values()))],
        rowLabels=[", ".join(filter(None, (LABELS[kind], SIDES.get(side)))) for side, kind in drifts],
        edges="horizontal",
        cellLoc="center",
        bbox=Bbox([[0.24, 0.0], [1.0, 1.0]]),
    )
    told.auto_set_font_size(False)
    told.set_fontsize(8.5)
    for cell in told.get_celld().values():
        cell.set_linewidth(0.5)
    for column in range(len(COLUMNS)):
        told[0, column].set_height(1.8 * told[1, column].get_height())


def _caption(trails: Trails, points: int) -> str:
    count = len(next(iter(trails.sides.values())).fed_ND)
    lots = (
        f", of which at most {points} of each kind are drawn by lot"
        if max(count, len(trails.tokens_MD)) > points
        else ""
    )
    tied = (
        " The model ties its input and output embeddings, so W_a is the identity up to lambda, and both rows are alike."
        if trails.tied
        else ""
    )
    return (
        f"{count} latent steps of each alignment ({trails.questions} questions of {task_name(trails.task)}, graph "
        f"{trails.graph}, m = {trails.latent_steps}) beside the {len(trails.tokens_MD)} distinct tokens that the "
        f"agents read{lots}. e_t: the input at a step, at first the prompt's last token (the star), afterwards what "
        "the step before fed; "
        "h_t: the last hidden state there; aligned e_(t+1): what is fed next, with W_a or without, rescaled in both "
        "cases. Length, spread (mean distance from their own centre) and distance of centres are in units of the "
        "embeddings; W1: Wasserstein distance of the values' distribution from that of the tokens; beyond: share that "
        "lies further from the tokens' centre than 95 % of them; cosine: to the nearest embedding of the vocabulary "
        f"(for tokens the nearest other one).{tied} Model: {model_name(trails.model)}."
    )
