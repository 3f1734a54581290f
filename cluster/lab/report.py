"""The lab's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from cluster.lab.trials import TrialResult

TEXT_COLUMNS = ("graph", "placement", "transport")
NUMBER_COLUMNS = ("n", "seconds", "tokens/s", "link MB", "out", "in", "handover MB", "handover s", "hops", "answers")

CAPTION = "link: all that crossed it. handover: memory, by the run's own count. answers: against the graph's base."


def lab_table(results: Sequence[TrialResult], differences: Mapping[str, int]) -> Table:
    """All runs, one a row.

    Args:
        results: In the order of the rows.
        differences: How many answers of a run are not those of its reference.
    """
    table = Table(title="Two nodes", caption=CAPTION)
    for name in TEXT_COLUMNS:
        table.add_column(name, no_wrap=True)
    for name in NUMBER_COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for result in results:
        about = (result.graph, result.placement, result.transport)
        numbers = ["failed"] if result.error else _numbers(result, differences.get(result.name))
        table.add_row(*about, *numbers)
    return table


def _numbers(run: TrialResult, different: int | None) -> list[str]:
    megabytes = (run.link_bytes, run.link_sent_bytes, run.link_received_bytes, run.handover_bytes)
    link, out, back, handover = (f"{count / 1e6:.1f}" for count in megabytes)
    verdict = "base" if different is None else f"{different} differ" if different else "same"
    return [
        str(run.questions),
        f"{run.seconds:.1f}",
        f"{run.tokens_per_second:.1f}",
        link,
        out,
        back,
        handover,
        f"{run.handover_seconds:.2f}",
        str(run.handover_hops),
        verdict,
    ]
