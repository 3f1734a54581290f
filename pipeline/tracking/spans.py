"""What a trace tells of one question: a step for the question as a whole, and in it one for each agent. No MLflow.

Agents that worked at the same time overlap, as their times say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.records import Prediction, Thought, Turn, Usage


@dataclass(frozen=True, kw_only=True)
class Step:
    """What becomes one span."""

    name: str
    """What it is called."""
    kind: str
    """MLflow's word for what it is: CHAIN or AGENT."""
    started: float
    """When it began, seconds since the epoch."""
    finished: float
    """When it ended."""
    inputs: Mapping[str, Any]
    """What went in."""
    outputs: Mapping[str, Any]
    """What came out."""
    facts: Mapping[str, Any]
    """What else is known of it."""
    usage: Usage = field(default_factory=Usage)
    """Tokens that it used itself, without the steps in it."""


def is_traced(row: Prediction) -> bool:
    """Whether a row's agents recorded what they read."""
    return any(turn.prompt for turn in row.turns)


def steps_of(row: Prediction, name: str) -> tuple[Step, ...]:
    """The step of a question, and after it those of its agents in the order of their turns.

    Args:
        row: A question that was traced.
        name: What the trace is called.
    """
    agents = tuple(agent_step(turn) for turn in row.turns)
    # The clocks of the driver and of the replicas' nodes may differ: the whole holds its parts all the same.
    whole = Step(
        name=name,
        kind="CHAIN",
        started=min(row.started, *(agent.started for agent in agents)),
        finished=max(row.finished, *(agent.finished for agent in agents)),
        inputs={"question": row.question},
        outputs={
            "answer": row.output_text,
            "prediction": row.prediction,
            "gold": row.gold,
            "correct": row.correct,
            "reason": row.reason,
        },
        facts=question_facts(row),
    )
    return whole, *agents


def question_facts(row: Prediction) -> dict[str, Any]:
    """What a trace tells of a question besides its answer."""
    told = {
        "question_id": row.question_id,
        "kind": row.kind,
        "prediction_lenient": row.prediction_lenient,
        "correct_lenient": row.correct_lenient,
        "output_tokens": row.output_tokens,
        "latent_steps": row.latent_steps,
        "prefill_tokens": row.prefill_tokens,
        "seconds_share": round(row.seconds, 6),
        "handover_bytes": row.handover_bytes,
        "handover_seconds": round(row.handover_seconds, 6),
        "scoring_seconds": round(row.scoring_seconds, 6),
        "replica": row.replica,
        "attempt": row.attempt,
        "retries": row.retries,
    }
    only = {"detail": row.detail, "isolation": row.isolation}
    if row.source_id != row.question_id:
        only["memory_of"] = row.source_id or "nobody"
    return told | {name: value for name, value in only.items() if value}


def agent_step(turn: Turn) -> Step:
    """The step of one agent's turn."""
    if turn.wrote:
        outputs: dict[str, Any] = {"text": turn.text}
    else:
        outputs = {"latent_steps": [seen(thought) for thought in turn.thoughts], "memory_bytes": turn.left_bytes}
    inherits = {"memory_bytes": turn.handover_bytes} if turn.transfers else {}
    return Step(
        name=turn.role,
        kind="AGENT",
        started=turn.started,
        finished=turn.finished,
        inputs={"prompt": turn.prompt, **inherits},
        outputs=outputs,
        facts={
            "finish": turn.finish,
            "output_tokens": turn.usage.output_tokens,
            "latent_steps": turn.usage.latent_steps,
            "prefill_tokens": turn.usage.prefill_tokens,
            "replica": turn.replica,
            "seconds_share": round(turn.seconds, 6),
            **({"transfers": [vars(transfer) for transfer in turn.transfers]} if turn.transfers else {}),
        },
        usage=turn.usage,
    )


def seen(thought: Thought) -> dict[str, Any]:
    """One latent step as people read it: tokens in quotes, because some are blank, with their probabilities."""
    likely = zip(thought.tokens, thought.probabilities, strict=True)
    return {
        "step": thought.step,
        "most_likely": ", ".join(f"{_quoted(token)} {probability:.3f}" for token, probability in likely),
        "nearest": _quoted(thought.nearest),
        "cosine": round(thought.cosine, 4),
        "norm": round(thought.norm, 3),
    }


def _quoted(token: str) -> str:
    return json.dumps(token, ensure_ascii=False)
