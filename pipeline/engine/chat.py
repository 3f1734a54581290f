"""From messages to token ids, by the model's own chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError

from pipeline.prompts import Message


def chat_text(tokenizer: Any, messages: Sequence[Message], options: Mapping[str, Any]) -> str:
    """Renders messages, ready for the assistant's turn.

    A template that knows no system message gets it at the head of the user's; a base model without a template gets the
    messages as plain paragraphs.

    Args:
        tokenizer: The model's tokenizer.
        messages: A system message, then a user message.
        options: Settings of the template, such as `enable_thinking`.
    """
    if not getattr(tokenizer, "chat_template", None):
        return "\n\n".join(message.content for message in messages) + "\n\nAnswer:\n"

    def render(turns: Sequence[Message]) -> str:
        text: str = tokenizer.apply_chat_template(
            [{"role": turn.role, "content": turn.content} for turn in turns],
            tokenize=False,
            add_generation_prompt=True,
            **options,
        )
        return text

    try:
        return render(messages)
    except TemplateError:
        joined = "\n\n".join(message.content for message in messages)
        return render([Message(role="user", content=joined)])


def chat_ids(tokenizer: Any, messages: Sequence[Message], options: Mapping[str, Any]) -> list[int]:
    """Token ids of `chat_text`; the template itself says which special tokens there are, none is added."""
    text = chat_text(tokenizer, messages, options)
    has_template = bool(getattr(tokenizer, "chat_template", None))
    ids: list[int] = tokenizer(text, add_special_tokens=not has_template)["input_ids"]
    return ids
