r"""Finds the answer inside a model's text; pure, total (any string is fine) and linear in the text's length.

`final_part` is what all of them read first: thoughts are no answer. `boxed` is the strict reading. `last_number` and
`last_letter` are the lenient ones, for text in which nothing is boxed. Code is found by `fences`. Nothing here knows
what the right answer is.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence

_OPEN, _CLOSE = "<think>", "</think>"


def final_part(text: str) -> str:
    """What a text says after its thoughts: models write those between `<think>` and `</think>`.

    Args:
        text: Any string. Its opening mark may be missing, as where the prompt ended with it.

    Returns:
        All that follows the last closing mark; nothing if thoughts are opened after it, which never end.
    """
    rest = text[text.rfind(_CLOSE) + len(_CLOSE) :] if _CLOSE in text else text
    return "" if _OPEN in rest else rest


# The backslash of `\boxed` may itself be escaped (`\\boxed{`), so it is matched by itself or looked up behind; every
# other backslash takes the next character with it, which is what keeps `\{` and `\}` from counting as braces.
_BRACES = re.compile(r"(?P<box>(?:\\|(?<=\\))f?box(?:ed)?\s{0,8}\{)|\\.|(?P<open>\{)|(?P<close>\})", re.DOTALL)


def boxed(text: str) -> str | None:
    r"""The content of the last `\boxed{...}` (or `\fbox{...}`) whose braces are balanced.

    Of nested boxes the innermost counts. A box that is never closed is passed over in favour of the one before it,
    and so is an empty box: it is the instruction repeated, not an answer.

    Args:
        text: Any string.

    Returns:
        The content without surrounding white space, or None if nothing is boxed.
    """
    best: tuple[int, int] | None = None
    open_at: list[tuple[int, bool]] = []
    for token in _BRACES.finditer(text):
        if token["box"] or token["open"]:
            open_at.append((token.end(), token["box"] is not None))
        elif token["close"] and open_at:
            start, is_box = open_at.pop()
            later = best is None or start > best[0]
            if is_box and later and text[start : token.start()].strip():
                best = start, token.start()
    return text[slice(*best)].strip() if best else None


_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)"
# A minus sign belongs to the number only if it follows no operand (5-3 ends in 3) and touches the number (a bullet).
_MINUS = r"(?:(?<![\w)\]}.%])[-\u2212])?"
_NUMBER = re.compile(
    rf"(?P<fraction>{_MINUS}\\[dt]?frac\{{[-\u2212]?{_DIGITS}\}}\{{{_DIGITS}\}})"
    # A digit inside a word (H2O, x25) is no number, nor is the tail of a longer one.
    rf"|(?P<before>{_MINUS})(?:\\?[$\u00a3\u00a5\u20a0-\u20c0](?P<after>[-\u2212]?))?(?<![^\W_])"
    rf"(?P<size>(?:{_DIGITS}(?:\.[0-9]+)?|(?<![0-9.])\.[0-9]+)(?:/{_DIGITS})?)"
)


def last_number(text: str) -> str | None:
    r"""The last number in running text, lenient about how it is written.

    Understands thousands commas, decimals, minus signs, currency signs before and a percent sign or a full stop
    after the number, and fractions as `a/b` or `\frac{a}{b}`.

    Args:
        text: Any string.

    Returns:
        The number as a plain string, such as "2125", "-0.5" or "1/2", or None if there is none.
    """
    tail = deque(_NUMBER.finditer(text), maxlen=1)
    if not tail:
        return None
    (last,) = tail
    if last["fraction"]:
        size, minus = (
            "/".join(re.findall(_DIGITS, last["fraction"])),
            len(re.findall(r"[-\u2212]", last["fraction"])) % 2,
        )
    else:
        size, minus = last["size"], bool(last["before"] or last["after"])
    return ("-" if minus else "") + size.replace(",", "")


# How far to look around a letter; a fixed width keeps the search linear.
_WINDOW = 24
_CUE = re.compile(r"(?:answer|option|choice)s?(?:\s+is)?\s*:?[\s*\"'`$(\[]*$", re.IGNORECASE)
_NAMED = re.compile(r"(?:answer|option|choice)\s+[*_\"'`$(\[]*$", re.IGNORECASE)
_WRAPPED = re.compile(r"(?:\(.\)|\[.\]|\*.\*|\{.\}|`.`|\".\"|'.'|\$.\$)")
_ENDS = re.compile(r"[*_`\"'$)\]}]*\s*(?:[.,;:!?)]|\n|$)")
# Words that follow a label ("A is right") but not an article.
_AFTER_LABEL = re.compile(
    r"\s+(?:is|was|are|and|or|but|as|because|since|for|if|with|which|while|would|will|seems|makes|can|has|over|by|in)\b"
)
_BEFORE_NOUN = re.compile(r"\s+[\w\"']")


def last_letter(text: str, labels: Sequence[str]) -> str | None:
    """The last option label that stands by itself in running text: "(B)", "B.", "**B**", "Answer: B".

    The article is told from the label A by what stands around it: a capital A that is followed by
    a word ("A dog ...") is the article, unless that word is a verb or conjunction ("A is right") or the letter is
    named ("option A shows"). Small letters count only where they are marked: in brackets, after "answer", "option" or
    "choice", or alone at the start of a line.

    Args:
        text: Any string.
        labels: The row's labels, capital letters.

    Returns:
        The label, or None if there is none.
    """
    if not labels:
        return None
    letters = "".join(re.escape(label) for label in labels)
    # Part of a word, an abbreviation (U.S.A.), a unit (25 deg C) or a compound (A-level) is no label.
    alone = re.compile(rf"(?<![\w.'\u2019\u00b0/-])[{letters + letters.lower()}](?![\w\u00b0/]|['\u2019-]\w|\.\w)")
    last = None
    for match in alone.finditer(text):
        if _is_label(text, match.start()):
            last = match[0].upper()
    return last


def _is_label(text: str, at: int) -> bool:
    before, after = text[max(0, at - _WINDOW) : at], text[at + 1 : at + 1 + _WINDOW]
    if at and _WRAPPED.match(text[at - 1 : at + 2]):
        return True
    ends = bool(_ENDS.match(after))
    if text[at].islower():
        opens_line = ("\n" in before or at <= _WINDOW) and not before.rpartition("\n")[2].strip(" *")
        return ends and (opens_line or bool(_CUE.search(before)))
    if text[at] != "A" or ends or not _BEFORE_NOUN.match(after):
        return True
    return bool(_AFTER_LABEL.match(after) or _NAMED.search(before))
