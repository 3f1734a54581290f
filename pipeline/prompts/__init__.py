"""Role prompts as data (`prompts.yaml`), put together the same way for every method."""

from pipeline.prompts.render import Message, Note, known_roles, role_messages

__all__ = ["Message", "Note", "known_roles", "role_messages"]
