r"""Reads an option's label off a boxed answer: `B`, `(B)`, `\text{B}`, `b.`, `B. 12 mg`, `B (12 mg)`, `Option B`."""

from __future__ import annotations

import re
from collections.abc import Sequence

# What stands before the label is short; the option's own text after it may be long and does not matter.
_MAX_CHARS = 300
_MARKUP = re.compile(
    r"\\(?:text)?color\s*\{[A-Za-z]+\}"
    r"|\\(?:text[a-z]{0,2}|math[a-z]{2}|mbox|boldsymbol|underline|emph|bf|rm|q?quad|left|right|f?box(?:ed)?)(?![A-Za-z])"
    r"|\\(?:[Ll]arge|LARGE|[Hh]uge)(?![A-Za-z])|\\[,;:!()\[\] ]|[{}$*`~\"'\u2018\u2019\u201c\u201d]"
)
_LABEL = re.compile(
    r"(?:(?:the\s+)?(?:(?:correct|final|right|best)\s+)?(?:answer|option|choice)(?:\s+is)?\s*:?\s*)?(?:option\s+)?"
    r"[(\[]?\s*(?P<label>[A-Za-z])\s*"
    r"(?:[)\].,:;]|\s[-\u2013\u2014(]|\sis\s+(?:the\s+)?(?:correct|right|best)\b|$)(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)


def label_of(text: str, labels: Sequence[str]) -> str | None:
    """The one label that a boxed answer names.

    Args:
        text: The content of a box, any string.
        labels: The row's labels, capital letters.

    Returns:
        The label as a capital letter, whether or not the row has such an option; None if the text names no label, or
        several ("A and B").
    """
    match = _LABEL.fullmatch(_MARKUP.sub(" ", text[:_MAX_CHARS]).strip())
    if match is None:
        return None
    words = re.findall(r"\w+", match["rest"])
    others = {word.upper() for word in words} - {"AND", "OR"}
    if others and others <= set(labels):
        return None
    return match["label"].upper()
