"""What a model writes, made fit for a terminal."""

from __future__ import annotations

import unicodedata

DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that would turn around what stands beside them."""


def harmless(text: str) -> str:
    """Text without what a terminal would obey: control codes, and marks of writing direction; line ends stay."""
    plain = text.replace("\r\n", "\n").expandtabs(4)
    return "".join(
        c for c in plain if c == "\n" or (unicodedata.category(c) not in ("Cc", "Cs") and c not in DIRECTIONS)
    )
