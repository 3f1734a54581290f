"""Puts the pieces of `prompts.yaml` together into one agent's messages.

The system message says who the agent is. The user message holds the question, what the task is, the work of earlier
agents (as text, or as a sentence that says whose memory precedes this prompt), the agent's duty and, for the answering
agent, the answer format. Only the third piece depends on the channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import yaml

from pipeline.records import Question


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message of a chat."""

    role: Literal["system", "user"]
    """Who speaks, in the chat template's terms."""
    content: str
    """What is said."""


@dataclass(frozen=True, kw_only=True)
class Note:
    """What an earlier agent wrote."""

    role: str
    """Who wrote it."""
    text: str
    """All of it."""


@cache
def _pieces() -> dict[str, Any]:
    pieces: dict[str, Any] = yaml.safe_load(files("pipeline.prompts").joinpath("prompts.yaml").read_text("utf-8"))
    return pieces


def known_roles() -> tuple[str, ...]:
    """Roles that have a prompt."""
    return tuple(_pieces()["roles"])


def role_messages(
    role: str,
    question: Question,
    *,
    answers: bool,
    notes: Sequence[Note] = (),
    remembered: Sequence[str] = (),
) -> tuple[Message, ...]:
    """The messages of one agent's turn.

    Args:
        role: The agent's role, one of `known_roles()`.
        question: What is asked.
        answers: Whether this agent gives the answer; it is told the answer format.
        notes: What earlier agents wrote, in order.
        remembered: Roles of the earlier agents whose working memory precedes this prompt, in order.
    """
    pieces = _pieces()
    parts = [question.text, pieces["tasks"][question.kind]]
    if notes:
        written = [pieces["channels"]["note"].format(role=note.role, text=note.text.strip()) for note in notes]
        parts.append(pieces["channels"]["notes"].format(notes="\n\n".join(written)))
    if remembered:
        parts.append(pieces["channels"]["memory"].format(roles=", ".join(remembered)))
    parts.append(pieces["roles"][role]["duty"])
    if answers:
        parts.append(pieces["formats"][question.kind].format())
    return (
        Message(role="system", content=pieces["roles"][role]["system"]),
        Message(role="user", content="\n\n".join(parts)),
    )
