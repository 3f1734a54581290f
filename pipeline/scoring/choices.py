r"""Reads an option's label off a boxed answer: `B`, `(B)`, `\text{B}`, `b.`, `B. 12 mg`, `B (12 mg)`, `Option B`."""

from __future__ import annotations

import re
from collections.abc import Mapping

# What stands before the label is short; the option's own text after it may be long and does not matter.
_MAX_CHARS = 300
# A form feed stands for a gap that is wider than one between words.
_GAP = re.compile(r"\\\\|\\q?quad(?![A-Za-z])|\n")
_MARKUP = re.compile(
    r"\\(?:text)?color\s*\{[A-Za-z]+\}"
    r"|\\(?:text[a-z]{0,2}|math[a-z]{2}|mbox|boldsymbol|underline|emph|bf|rm|left|right|f?box(?:ed)?)(?![A-Za-z])"
    r"|\\(?:[Ll]arge|LARGE|[Hh]uge)(?![A-Za-z])|\\[,;:!()\[\] ]|[{}$*`~\"'\u2018\u2019\u201c\u201d]"
)
_NAMED = (
    r"(?:(?:the\s+)?(?:(?:correct|final|right|best)\s+)?(?:answer|option|choice)(?:\s+is)?\s*:?\s*)?(?:option\s+)?"
    r"[(\[]?\s*(?P<label>[A-Za-z])"
)
_LABEL = re.compile(
    rf"{_NAMED}\s*(?:[)\].,:;]|\s[-\u2013\u2014(]|\f\s*(?=\w)|\s(?:because|since)\b"
    r"|\sis\s+(?:the\s+)?(?:correct|right|best)\b|$)(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_WITH_TEXT = re.compile(rf"{_NAMED}\s+(?P<rest>.+)", re.IGNORECASE | re.DOTALL)


def label_of(text: str, options: Mapping[str, str]) -> str | None:
    """The one label that a boxed answer names.

    Args:
        text: The content of a box, any string.
        options: The options' texts by their labels, which are capital letters; a text is empty where it is not known.
            A label that is followed by a word is told from an article or a name ("A dog", "B cells") by them alone.

    Returns:
        The label as a capital letter, whether or not the row has such an option; None if the text names no label, or
        several ("A and B").
    """
    plain = _MARKUP.sub(" ", _GAP.sub(" \f ", text[:_MAX_CHARS])).strip()
    match = _LABEL.fullmatch(plain) or _WITH_TEXT.fullmatch(plain)
    if match is None:
        return None
    label, words = match["label"].upper(), _words(match["rest"])
    is_parted = match.re is _LABEL
    if words and words == _words(options.get(label, "")):
        # Of "A dog", "dog" may be option A's text and "A dog" another's.
        return label if is_parted or _words(plain) not in map(_words, options.values()) else None
    others = set(words) - {"and", "or"}
    several = bool(others) and all(len(word) == 1 and word.isalpha() for word in others)
    return label if is_parted and not several else None


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
