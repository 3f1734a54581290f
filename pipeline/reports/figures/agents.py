"""One run, agent by agent: seconds and tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.reports.figures.canvas import METHOD_MARKS, Mark, as_text, finished, panels, styled
from pipeline.reports.figures.drawing import Drawing
from pipeline.reports.figures.selecting import model_name, task_name
from pipeline.reports.tables import LABELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME = "agents"


def agents_figure(metrics: Mapping[str, Any]) -> Drawing:
    """Where a run's time and tokens go.

    Args:
        metrics: What the run reports: the fields of `RunMetrics` by name.
    """
    seconds, tokens = metrics["seconds_per_agent"], metrics["output_tokens_per_agent"]
    roles = list(seconds)
    thinkers = roles[:-1] if metrics["method"] == "latent_mas" else []
    marks = [METHOD_MARKS["latent_mas" if role in thinkers else "text_mas"] for role in roles]
    with styled(NAME):
        figure, [[left, right]] = panels(1, 2, height=0.7 + 0.32 * max(len(roles), 1))
        _bars(left, roles, [seconds[role] for role in roles], marks, "{:.1f}")
        _bars(right, roles, [tokens.get(role, 0) for role in roles], marks, "{:.0f}")
        left.set_xlabel("wall time (s)")
        right.set_xlabel("output tokens")
        right.tick_params(labelleft=False)
        label = LABELS.get(metrics["method"], metrics["method"])
        return finished(
            figure,
            name=NAME,
            title=f"{label} on {task_name(metrics['task'])}, agent by agent",
            caption=_caption(metrics, label),
            table=[{"role": role, "seconds": float(seconds[role]), "tokens": tokens.get(role, 0)} for role in roles],
        )


def _bars(axes: Axes, roles: Sequence[str], values: Sequence[float], marks: Sequence[Mark], form: str) -> None:
    """A bar an agent, in working order from the top."""
    places = range(len(roles))
    bars = axes.barh(places, values, color=[m.colour for m in marks], edgecolor="black", linewidth=0.7, height=0.7)
    for bar, mark in zip(bars, marks, strict=True):
        bar.set_hatch(mark.hatch)
    axes.bar_label(bars, [form.format(value) for value in values], padding=3)
    axes.set_yticks(places, [as_text(role) for role in roles])
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.grid(axis="x")


def _caption(metrics: Mapping[str, Any], label: str) -> str:
    steps = metrics["latent_steps_per_agent"]
    thinking = f", m = {steps} latent steps for each agent that thinks (plain bars)" if steps else ""
    writing = "Hatched: agents that write."
    return (
        f"Wall time and generated tokens of {label} ({metrics['graph']}) on {metrics['num_questions']} questions of "
        f"{task_name(metrics['task'])}, summed over them{thinking}. {writing} Model: {model_name(metrics['model'])}."
    )
