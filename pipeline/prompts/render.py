"""Puts the pieces of `prompts.yaml` together into one agent's messages.

The system message says who the agent is and what the task is; the user message holds the question and then what to do:
the agent's duty or, for the answering agent, the answer format. Earlier agents' work is the only piece that depends on
the channel: their texts stand between question and duty, and of memory the system message says whose it is.
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


@dataclass(frozen=True, kw_only=True)
class RolePrompt:
    """What makes a role's prompt its own."""

    system: str
    """Who the agent is."""
    duty: str
    """What it does."""


@cache
def _pieces() -> dict[str, Any]:
    pieces: dict[str, Any] = yaml.safe_load(files("pipeline.prompts").joinpath("prompts.yaml").read_text("utf-8"))
    return pieces


def known_roles() -> tuple[str, ...]:
    """Roles that have a prompt."""
    return tuple(_pieces()["roles"])


def role_prompt(role: str, *, system: str | None = None, duty: str | None = None) -> RolePrompt:
    """The prompt of a role; what is given replaces the built-in words.

    Raises:
        KeyError: The role has no built-in prompt, and not both pieces are given.
    """
    if system and duty:
        return RolePrompt(system=system, duty=duty)
    built_in = _pieces()["roles"][role]
    return RolePrompt(system=system or built_in["system"], duty=duty or built_in["duty"])


def role_messages(
    prompt: RolePrompt,
    question: Question,
    *,
    answers: bool,
    notes: Sequence[Note] = (),
    remembered: Sequence[str] = (),
) -> tuple[Message, ...]:
    """The messages of one agent's turn.

    Args:
        prompt: The agent's role, as words.
        question: What is asked.
        answers: Whether this agent gives the answer; it is told the answer format.
        notes: What earlier agents wrote, in order.
        remembered: Roles of the earlier agents whose working memory precedes this prompt, in order.
    """
    pieces = _pieces()
    system = [prompt.system, pieces["tasks"][question.kind]]
    if remembered:
        system.append(pieces["channels"]["memory"].format(roles=", ".join(remembered)))
    user = [question.text]
    if notes:
        written = [pieces["channels"]["note"].format(role=note.role, text=note.text.strip()) for note in notes]
        user.append(pieces["channels"]["notes"].format(notes="\n\n".join(written)))
    user.append(pieces["formats"][question.kind] if answers else prompt.duty)
    return (Message(role="system", content=" ".join(system)), Message(role="user", content="\n\n".join(user)))
