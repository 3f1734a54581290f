"""A rehearsal: what each agent of a run would be told, by the real prompts and tokenizer, without the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.agents.conduct import TurnResult
from pipeline.agents.prompting import prompt_ids
from pipeline.agents.walk import Work, collect
from pipeline.graphs import CollaborationPlan, Role
from pipeline.records import Assignment, Finish, Turn, Usage


@dataclass(frozen=True, kw_only=True)
class Part:
    """One role's part of a rehearsal."""

    role: Role
    """Whose."""
    prompts: tuple[int, ...]
    """Tokens of its prompt for each question; of texts that others are yet to write there is the frame alone."""
    latent_steps: int | None
    """Latent steps that it takes; none if it writes."""
    inherits: tuple[str, ...]
    """Roles whose memory it gets, in order."""
    notes: tuple[str, ...]
    """Roles whose texts it gets."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Reader:
    """A role and what renders its prompts."""

    role: Role
    tokenizer: Any
    chat_options: Mapping[str, Any] = field(default_factory=dict)


def rehearse(
    assignments: Sequence[Assignment], plan: CollaborationPlan, tokenizer: Any, chat_options: Mapping[str, Any]
) -> tuple[Part, ...]:
    """Lets all roles read their prompts and nobody think or write.

    Args:
        assignments: Questions; all of them with somebody's memory, or all without.
        plan: Who works together.
        tokenizer: The model's tokenizer.
        chat_options: Settings of its chat template.

    Returns:
        The parts in working order.
    """
    work, parts = Work(), list[Part]()
    for role in plan.graph.roles:
        reader = Reader(role=role, tokenizer=tokenizer, chat_options=chat_options)
        part, left = _read(reader, assignments, plan, work)
        parts.append(part)
        work[role.name] = [left] * len(assignments)
    return tuple(parts)


def _read(
    reader: Reader, assignments: Sequence[Assignment], plan: CollaborationPlan, work: Work
) -> tuple[Part, TurnResult]:
    """One role's part, and what it leaves behind for each question: nothing, but as what."""
    role = reader.role
    requests = [
        collect(assignment, reader, [work[read][row] for read in role.reads])
        for row, assignment in enumerate(assignments)
    ]
    prompts = [prompt_ids(role, request, reader.tokenizer, reader.chat_options) for request in requests]
    handed = bool(assignments) and assignments[0].source is not None
    part = Part(
        role=role,
        prompts=tuple(map(len, prompts)),
        latent_steps=plan.thinkers.get(role.name),
        inherits=requests[0].remembered if handed else (),
        notes=tuple(note.role for note in requests[0].notes),
    )
    finish: Finish = "latent" if role.name in plan.thinkers else "stop"
    return part, TurnResult(turn=Turn(role=role.name, text="", finish=finish, usage=Usage(), seconds=0.0))
