"""Role prompts as data (`prompts.yaml`), put together the same way for every method."""

from pipeline.prompts.render import Message, Note, RolePrompt, known_roles, role_messages, role_prompt

__all__ = ["Message", "Note", "RolePrompt", "known_roles", "role_messages", "role_prompt"]
