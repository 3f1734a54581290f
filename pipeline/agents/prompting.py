"""What a role is told about one question, as text and as token ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.agents.conduct import TurnRequest
from pipeline.engine import chat_ids, chat_text
from pipeline.graphs import Role
from pipeline.prompts import Message, role_messages, role_prompt


def prompt_ids(role: Role, request: TurnRequest, tokenizer: Any, chat_options: Mapping[str, Any]) -> list[int]:
    """Token ids of a role's prompt for one question.

    Args:
        role: Who is told.
        request: What it gets; of its memory only whose it is matters here.
        tokenizer: The model's tokenizer.
        chat_options: Settings of the chat template.
    """
    return chat_ids(tokenizer, _messages(role, request), chat_options)


def prompt_text(role: Role, request: TurnRequest, tokenizer: Any, chat_options: Mapping[str, Any]) -> str:
    """The text that `prompt_ids` are the token ids of; the arguments are the same."""
    return chat_text(tokenizer, _messages(role, request), chat_options)


def _messages(role: Role, request: TurnRequest) -> tuple[Message, ...]:
    return role_messages(
        role_prompt(role.name, system=role.system, duty=role.duty),
        request.question,
        answers=role.answers,
        notes=request.notes,
        remembered=request.remembered,
    )
