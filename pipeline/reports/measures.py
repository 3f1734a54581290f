"""What is measured of a variant, and what one variant has over another: numbers in full, and how they are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean, stdev

from pipeline.reports.published import Published
from pipeline.reports.runs import FinishedRun
from pipeline.reports.stats import Paired, paired_over_seeds, wilson_interval
from pipeline.reports.variants import Variant

CHANCE = 0.05
"""A difference whose p is this or more is not called better."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A row of the paper's table."""

    metric: str
    """Its name in the long form."""
    label: str
    """What the table calls it."""
    unit: str
    of: Callable[[FinishedRun], float | None]
    """Its value for a run; none if there is none."""
    text: Callable[[float], str]
    """How a value is written."""
    more_is_better: bool
    improvement: str
    """What the long form calls the improvement."""
    improved_unit: str
    improved: Callable[[float, float], float | None]
    """The improvement from the first value to the second; none if it has none."""
    improved_text: Callable[[float], str]
    published: Callable[[Published], float | None]
    """The paper's value; none if it has none."""

    @property
    def tested(self) -> bool:
        """Whether it is a share of questions, of which two runs can be compared question by question."""
        return self.improved_unit == "points"


def accuracy_of(run: FinishedRun) -> float | None:
    """Strict accuracy in per cent; none if nothing is scored."""
    return 100 * run.metrics.accuracy if run.scored else None


def lenient_of(run: FinishedRun) -> float | None:
    """Lenient accuracy in per cent; none if nothing is scored."""
    return 100 * run.metrics.accuracy_lenient if run.scored else None


def share_saved(before: float, after: float) -> float | None:
    """Per cent that the second number is less than the first; none if there was nothing to save."""
    return 100 * (1 - after / before) if before else None


def factor(before: float, after: float) -> float | None:
    """How many times the second number goes into the first; none if either is nothing."""
    return before / after if before and after else None


def points(value: float) -> str:
    """A difference of accuracies, with its sign."""
    return f"{value:+.1f}"


def _percent(value: float) -> str:
    return f"{value:.1f}"


def _tokens(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _seconds(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _saved(value: float) -> str:
    sign = "" if f"{abs(value):.1f}" == "0.0" else "↓" if value > 0 else "↑"
    return f"{sign}{abs(value):.1f} %"


def _times(value: float) -> str:
    return f"×{value:.1f}" if value >= 0.95 else f"×{value:.2f}"


_AS_POINTS = {
    "unit": "%",
    "text": _percent,
    "more_is_better": True,
    "improved_unit": "points",
    "improved": lambda before, after: after - before,
    "improved_text": points,
}
ACCURACY = Measure(
    metric="accuracy",
    label="Acc. %",
    of=accuracy_of,
    improvement="accuracy_gain",
    published=lambda one: one.accuracy,
    **_AS_POINTS,  # type: ignore[arg-type]  # one table for both accuracies
)
LENIENT = Measure(
    metric="accuracy_lenient",
    label="Lenient %",
    of=lenient_of,
    improvement="accuracy_lenient_gain",
    published=lambda one: None,
    **_AS_POINTS,  # type: ignore[arg-type]
)
TOKENS = Measure(
    metric="output_tokens_per_question",
    label="Token",
    unit="tokens",
    of=lambda run: run.metrics.output_tokens_per_question,
    text=_tokens,
    more_is_better=False,
    improvement="tokens_saved",
    improved_unit="%",
    improved=share_saved,
    improved_text=_saved,
    published=lambda one: one.output_tokens_per_question,
)
SPEED = Measure(
    metric="seconds",
    label="Speed s",
    unit="s",
    of=lambda run: run.metrics.seconds,
    text=_seconds,
    more_is_better=False,
    improvement="speed_up",
    improved_unit="times",
    improved=factor,
    improved_text=_times,
    published=lambda one: one.seconds,
)


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A measure, taken of a variant."""

    value: float
    """The mean over its seeds."""
    low: float | None = None
    high: float | None = None
    """The Wilson interval of one seed's accuracy; several seeds have a deviation instead."""
    deviation: float | None = None
    """Over seeds, with n - 1."""


def taken(measure: Measure, variant: Variant) -> Taken | None:
    """Takes a measure of a variant; none if there is nothing to take."""
    values = [value for run in variant.runs if (value := measure.of(run)) is not None]
    if not values:
        return None
    if len(values) > 1:
        return Taken(value=fmean(values), deviation=stdev(values))
    low, high = _interval(measure, next(run for run in variant.runs if measure.of(run) is not None))
    return Taken(value=values[0], low=low, high=high)


def gain(measure: Measure, before: Variant, after: Variant) -> Paired | None:
    """What one variant has over another question by question; none if they share no scored question."""
    outcomes = "correct_lenient" if measure is LENIENT else "correct"
    found = paired_over_seeds(*([getattr(run, outcomes) for run in one.runs] for one in (before, after)))
    return found if found.questions else None


def _interval(measure: Measure, run: FinishedRun) -> tuple[float | None, float | None]:
    if not measure.tested:
        return None, None
    if measure is ACCURACY:
        return 100 * run.metrics.accuracy_low, 100 * run.metrics.accuracy_high
    low, high = wilson_interval(round(run.metrics.accuracy_lenient * run.scored), run.scored)
    return 100 * low, 100 * high
