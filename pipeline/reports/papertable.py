"""The paper's table from our runs: Single, TextMAS, LatentMAS and what LatentMAS has over TextMAS, task by task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.reports.grid import MISSING, Cell, Column, Grid, Row
from pipeline.reports.improvements import Place, better, improvement
from pipeline.reports.lineup import Block, Lineup, blocks_of, counterpart
from pipeline.reports.measures import ACCURACY, LENIENT, SPEED, TOKENS, Measure, Taken, taken
from pipeline.reports.published import Literature
from pipeline.reports.runs import FinishedRun
from pipeline.reports.variants import LABELS, METHODS, Variant, tails

CAPTION = (
    "Acc.: strict accuracy with its 95 % Wilson interval; over several seeds mean ± standard deviation. Token: output "
    "tokens of all agents per question. Speed: seconds of the whole run. Improve: LatentMAS against TextMAS: points of "
    "accuracy with the 95 % bootstrap interval of the paired difference (over questions, on the seeds as they are), "
    "tokens saved, times as fast. p: McNemar's exact test; over several seeds random signs of each question's mean "
    "difference. Bold: the better one of TextMAS and LatentMAS, accuracy only where p < 0.05; † marks a difference "
    "that may be chance (p ≥ 0.05). Tokens and seconds are not tested."
)
PAPER_CAPTION = " paper: the number of arXiv 2511.20639, Tables 1-3 (whole benchmark, the authors' machine)."


def paper_tables(runs: Sequence[FinishedRun], paper: Literature, *, lenient: bool = False) -> tuple[Grid, ...]:
    """The paper's table for each model and graph.

    Args:
        runs: What there is; methods that are missing leave dashes.
        paper: The paper's own numbers, which stand beside ours where task, model and graph are the same.
        lenient: Whether lenient accuracy has a row.
    """
    measures = (ACCURACY, *([LENIENT] if lenient else []), TOKENS, SPEED)
    tasks = tails(run.metrics.task for run in runs)
    return tuple(_table(block, tasks, paper, measures) for block in blocks_of(runs, paper.tasks))


def _table(block: Block, tasks: dict[str, str], paper: Literature, measures: Sequence[Measure]) -> Grid:
    rows: list[Row] = []
    for lineup in block.lineups:
        place = Place(block=block, task=lineup.task, name=tasks[lineup.task], paper=paper)
        rows += _plain_rows(place, lineup, measures)
        for variant in (*lineup.single[1:], *lineup.text[1:], *lineup.latent[1:]):
            rows += _variant_rows(place, lineup, variant, measures)
    beside = any(cell.paper for row in rows for cell in row.cells)
    words = (Column(title="Task", figures=False), Column(title="", figures=False))
    titles = (*(LABELS[method] for method in METHODS), "Improve")
    return Grid(
        title=block.title,
        caption=CAPTION + (PAPER_CAPTION if beside else ""),
        columns=(*words, *(Column(title=title) for title in titles)),
        rows=tuple(rows),
    )


def _plain_rows(place: Place, lineup: Lineup, measures: Sequence[Measure]) -> Iterable[Row]:
    """A task's first rows: each method as plainly as it was run."""
    firsts = tuple(next(iter(method), None) for method in (lineup.single, lineup.text, lineup.latent))
    labels = tuple(one.name for one in firsts if one and one.label)
    head = Cell(text=place.name, interval=_asked(one for one in firsts if one), notes=labels)
    return _rows(place, head, firsts, lineup, measures, MISSING)


def _variant_rows(place: Place, lineup: Lineup, variant: Variant, measures: Sequence[Measure]) -> Iterable[Row]:
    """The rows of another way to run one of the methods: its own cells alone, the rest stands above."""
    head = Cell(text=variant.name, interval=_asked([variant]))
    alone = tuple(variant if method == variant.method else None for method in METHODS)
    return _rows(place, head, alone, lineup, measures, Cell())


def _rows(
    place: Place,
    head: Cell,
    shown: Sequence[Variant | None],
    lineup: Lineup,
    measures: Sequence[Measure],
    missing: Cell,
) -> Iterable[Row]:
    latent = shown[METHODS.index("latent_mas")]
    text = counterpart(latent, lineup.text) if latent else None
    for measure in measures:
        change = improvement(place, measure, lineup, text, latent) if text and latent else missing
        ahead = better(measure, text, latent) if text and latent else None
        cells = [_cell(place, measure, one, bold=one is ahead) if one else missing for one in shown]
        first = measure is measures[0]
        yield Row(cells=(head if first else Cell(), Cell(text=measure.label), *cells, change), begins=first)


def _asked(shown: Iterable[Variant]) -> str:
    """How many questions, and how many of them have no score."""
    runs = [run for variant in shown for run in variant.runs]
    counts = sorted({run.metrics.num_questions for run in runs})
    lost = sum(run.metrics.num_unscored for run in runs)
    return f"n = {', '.join(map(str, counts))}" + (f", {lost} unscored" if lost else "")


def _cell(place: Place, measure: Measure, variant: Variant, *, bold: bool) -> Cell:
    """One variant's number."""
    found = taken(measure, variant)
    if found is None:
        return Cell(text=MISSING.text, notes=("unscored",))
    published = place.published(variant)
    theirs = measure.published(published) if published else None
    scored = min(run.scored for run in variant.runs)
    asked = min(run.metrics.num_questions for run in variant.runs)
    number = place.number(
        variant,
        metric=measure.metric,
        unit=measure.unit,
        value=found.value,
        n=scored if measure.unit == "%" else asked,
        low=found.low,
        high=found.high,
        deviation=found.deviation,
        paper=theirs,
    )
    return Cell(
        text=_written(measure, found),
        bold=bold,
        interval="" if found.low is None or found.high is None else f"[{found.low:.1f}, {found.high:.1f}]",
        notes=(f"{len(variant.runs)} seeds",) if len(variant.runs) > 1 and measure is ACCURACY else (),
        paper="" if theirs is None else measure.text(theirs),
        numbers=(number,),
    )


def _written(measure: Measure, found: Taken) -> str:
    spread = "" if found.deviation is None else f" ± {measure.text(found.deviation)}"
    return measure.text(found.value) + spread
