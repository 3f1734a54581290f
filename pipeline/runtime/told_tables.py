"""Tables of a run as the tracker shows them: what was answered, and what each agent took for it."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.records import Prediction
from pipeline.tracking import Table

LONGEST = 2000
"""Characters of a text that are shown; the Parquet file holds all of it."""
MOST = 3000
"""Rows that are shown: a browser loads all of them at once. The Parquet file holds the others too."""
SHOWN = (
    "question_id",
    "question",
    "gold",
    "prediction",
    "correct",
    "correct_lenient",
    "reason",
    "output_text",
    "output_tokens",
    "latent_steps",
    "prefill_tokens",
    "seconds",
    "truncated",
    "handover_bytes",
    "error",
)
"""Columns of the table of predictions, as the rows have them."""
AGENTS = (
    "role",
    "seconds",
    "share_of_seconds",
    "output_tokens",
    "latent_steps",
    "prefill_tokens",
    "memory_in_bytes",
    "truncated_texts",
)


def predictions_table(rows: Sequence[Prediction]) -> Table:
    """A row a question; of very many the first ones, and one that says where the others are."""
    table = [[_shortened(getattr(row, name)) for name in SHOWN] for row in rows[:MOST]]
    if left_out := len(rows) - len(table):
        told = ["...", f"{left_out} rows left out; predictions.parquet has all {len(rows)}"]
        table.append([*told, *[None] * (len(SHOWN) - len(told))])
    return Table(columns=SHOWN, rows=table)


def agents_table(rows: Sequence[Prediction]) -> Table:
    """A row a role, in working order, summed over the questions."""
    turns = [turn for row in rows for turn in row.turns]
    total = sum(turn.seconds for turn in turns)
    table = []
    for role in dict.fromkeys(turn.role for turn in turns):
        own = [turn for turn in turns if turn.role == role]
        seconds = sum(turn.seconds for turn in own)
        used = [turn.usage for turn in own]
        table.append(
            [
                role,
                seconds,
                seconds / total if total else 0.0,
                sum(usage.output_tokens for usage in used),
                sum(usage.latent_steps for usage in used),
                sum(usage.prefill_tokens for usage in used),
                sum(turn.handover_bytes for turn in own),
                sum(turn.truncated for turn in own),
            ]
        )
    return Table(columns=AGENTS, rows=table)


def _shortened(value: object) -> object:
    """A value; of a long text its beginning and its end, where the answer stands."""
    if not isinstance(value, str) or len(value) <= LONGEST:
        return value
    half = LONGEST // 2
    left_out = len(value) - 2 * half
    return f"{value[:half]}\n[... {left_out} characters left out; predictions.parquet has them ...]\n{value[-half:]}"
