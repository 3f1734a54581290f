"""What LatentMAS has over the other methods, and which of two is called better."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.reports.grid import MISSING, Cell, Number
from pipeline.reports.lineup import Block, Lineup, counterpart
from pipeline.reports.measures import CHANCE, Measure, gain, points, taken
from pipeline.reports.published import Literature, Published
from pipeline.reports.stats import Paired
from pipeline.reports.variants import LABELS, Variant


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a row stands, for the long form and the paper's numbers."""

    block: Block
    task: str
    name: str
    """The task as it is shown."""
    paper: Literature

    def published(self, variant: Variant) -> Published | None:
        """What the paper has in a variant's place."""
        own_graph = variant.method != "single" and variant.first.settings["graph"] != self.block.graph
        if variant.controlled or own_graph:  # a file of one's own may be called sequential, too
            return None
        return self.paper.find(
            model=self.block.model, graph=self.block.graph, task=self.task, method=variant.first.metrics.method
        )

    def number(self, variant: Variant, *, metric: str, unit: str, value: float, n: int, **more: object) -> Number:
        """A number of a variant here."""
        return Number(
            metric=metric,
            unit=unit,
            method=variant.method,
            variant=variant.label,
            task=self.name,
            graph=self.block.graph,
            model=self.block.model,
            value=value,
            n=n,
            seeds=len(variant.runs),
            **more,  # type: ignore[arg-type]  # fields of the record that only some numbers have
        )


def better(measure: Measure, text: Variant, latent: Variant) -> Variant | None:
    """The better one of two, if it is better, and with accuracy only if that is hardly chance."""
    before, after = taken(measure, text), taken(measure, latent)
    if before is None or after is None or before.value == after.value:
        return None
    if measure.tested:
        found = gain(measure, text, latent)
        if found is None or found.p_value >= CHANCE or (found.difference > 0) != (after.value > before.value):
            return None
    return latent if (after.value > before.value) == measure.more_is_better else text


def improvement(place: Place, measure: Measure, lineup: Lineup, text: Variant, latent: Variant) -> Cell:
    """The cell that says what LatentMAS has over TextMAS, with the paper's improvement in the same place.

    Args:
        place: Where it stands.
        measure: What is compared.
        lineup: All that is known of the task.
        text: The TextMAS that is compared with: the plain one, unless another has the same settings.
        latent: The LatentMAS.
    """
    theirs = _published(place, measure, text, latent)
    paper = "" if theirs is None else measure.improved_text(theirs)
    notes = (f"vs. {text.name}",) if text is not lineup.text[0] else ()
    if measure.tested:
        return _tested(place, measure, lineup, text, latent, theirs, paper, notes)
    before, after = taken(measure, text), taken(measure, latent)
    value = measure.improved(before.value, after.value) if before and after else None
    if value is None:
        return Cell(text=MISSING.text, paper=paper)
    number = place.number(
        latent,
        metric=measure.improvement,
        unit=measure.improved_unit,
        value=value,
        n=min(run.metrics.num_questions for run in (*text.runs, *latent.runs)),
        against=_identity(text),
        paper=theirs,
    )
    return Cell(text=measure.improved_text(value), notes=notes, paper=paper, numbers=(number,))


def p_text(p_value: float) -> str:
    """A p as it is written."""
    return f"p = {p_value:.2g}" if p_value >= 0.0001 else "p < 0.0001"


def _tested(
    place: Place,
    measure: Measure,
    lineup: Lineup,
    text: Variant,
    latent: Variant,
    theirs: float | None,
    paper: str,
    notes: tuple[str, ...],
) -> Cell:
    """A difference of accuracies: its interval, its chance, and the same against a single agent."""
    found = gain(measure, text, latent)
    if found is None:
        return Cell(text=MISSING.text, notes=("no scored question in common", *notes), paper=paper)
    numbers = [_gained(place, measure, latent, text, found, theirs)]
    told = [p_text(found.p_value)]
    if found.questions < max(run.metrics.num_questions for run in (*text.runs, *latent.runs)):
        told.append(f"on {found.questions} questions")
    single = counterpart(latent, lineup.single)
    alone = gain(measure, single, latent) if single else None
    if single and alone:
        numbers.append(_gained(place, measure, latent, single, alone, None))
        told.append(f"vs. {LABELS['single']} {points(100 * alone.difference)}, {p_text(alone.p_value)}")
    return Cell(
        text=points(100 * found.difference),
        mark="†" if found.difference and found.p_value >= CHANCE else "",
        interval=f"[{points(100 * found.low)}, {points(100 * found.high)}]",
        notes=(*told, *notes),
        paper=paper,
        numbers=tuple(numbers),
    )


def _gained(
    place: Place, measure: Measure, latent: Variant, other: Variant, found: Paired, theirs: float | None
) -> Number:
    return place.number(
        latent,
        metric=measure.improvement,
        unit=measure.improved_unit,
        value=100 * found.difference,
        n=found.questions,
        against=_identity(other),
        low=100 * found.low,
        high=100 * found.high,
        p_value=found.p_value,
        paper=theirs,
    )


def _identity(variant: Variant) -> str:
    return f"{variant.method} {variant.label}".strip()


def _published(place: Place, measure: Measure, text: Variant, latent: Variant) -> float | None:
    """The paper's improvement in the same place."""
    before, after = (place.published(variant) for variant in (text, latent))
    if before is None or after is None:
        return None
    old, new = measure.published(before), measure.published(after)
    return None if old is None or new is None else measure.improved(old, new)
