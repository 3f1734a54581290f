r"""Finds the answer inside a model's text; pure, total (any string is fine) and linear in the text's length.

`boxed` is the strict reading. `last_number` and `last_letter` are the lenient ones, for text in which nothing is
boxed. For code the strict reading is `last_python_block` and the lenient one `last_code_block`. Nothing here knows what
the right answer is.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
    rf"|(?P<before>{_MINUS})(?:\\?[$\u20ac\u00a3](?P<after>[-\u2212]?))?(?<![^\W_])"
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


_LINE_END = re.compile(r"\r\n|\n|\r")
_LANGUAGE = re.compile(r"\w*")
_PYTHON = frozenset({"python", "python3", "py"})
_TAB, _CLOSING_INDENT = 4, 3  # columns


@dataclass(frozen=True, kw_only=True)
class _Fence:
    """A line that opens a fenced block."""

    mark: str
    """The backticks or tildes; at least as many close the block."""
    info: str
    """What follows them, such as `python`."""
    indent: int
    """Columns before it, which the block's lines lose too."""

    def closes(self, opening: _Fence) -> bool:
        return self.mark.startswith(opening.mark) and not self.info and self.indent <= opening.indent + _CLOSING_INDENT


@dataclass(frozen=True, kw_only=True)
class _Block:
    """A fenced block."""

    code: str
    """Its lines."""
    is_python: bool
    """Whether its fence names Python."""
    closed: bool
    """Whether it has a closing fence; one that has none goes on to the end of the text."""


def last_python_block(text: str) -> str | None:
    """The content of the last fenced block that is marked as Python and closed.

    Fences are CommonMark's: three or more backticks or tildes, closed by at least as many. As in a list of steps, they
    may be indented by any depth, which the code then loses. The mark is python, python3 or py, in any case. A blank
    block is passed over, as an empty box is.

    Args:
        text: Any string.

    Returns:
        The code, its lines ending in one line feed each but the last, or None if there is no such block.
    """
    return _last([block for block in _blocks(text) if block.is_python and block.closed])


def last_code_block(text: str) -> str | None:
    """The code that a text most likely means, lenient about how its block is marked.

    Args:
        text: Any string.

    Returns:
        The last Python block, so that whatever the strict reading accepts, this one does; without one the last closed
        block of any or no language, which may be no Python at all; without one the block that the text's end cuts off;
        or None if there is none of these.
    """
    blocks = list(_blocks(text))
    closed = [block for block in blocks if block.closed]
    return _last([block for block in closed if block.is_python]) or _last(closed) or _last(blocks)


def _last(blocks: list[_Block]) -> str | None:
    return next((block.code for block in reversed(blocks) if block.code.strip()), None)


def _blocks(text: str) -> Iterator[_Block]:
    opening: _Fence | None = None
    lines: list[str] = []
    for line in _LINE_END.split(text):
        fence = _fence(line)
        if opening is None:
            opening = fence
        elif fence and fence.closes(opening):
            yield _block(opening, lines, closed=True)
            opening, lines = None, []
        else:
            lines.append(_outdented(line, opening.indent))
    if opening:
        yield _block(opening, lines, closed=False)


def _block(opening: _Fence, lines: list[str], *, closed: bool) -> _Block:
    language = _LANGUAGE.match(opening.info)
    is_python = language is not None and language[0].lower() in _PYTHON
    return _Block(code="\n".join(lines), is_python=is_python, closed=closed)


def _fence(line: str) -> _Fence | None:
    bare = line.lstrip(" \t")
    info = bare.lstrip(bare[:1]) if bare.startswith(("```", "~~~")) else bare
    mark = bare[: len(bare) - len(info)]
    if len(mark) < 3 or (mark[0] == "`" and "`" in info):  # code between backticks within a line
        return None
    return _Fence(mark=mark, info=info.strip(), indent=_columns(line[: len(line) - len(bare)]))


def _columns(blank: str) -> int:
    return len(blank.expandtabs(_TAB))


def _outdented(line: str, columns: int) -> str:
    """The line with up to so many columns of white space less; in an indented block tabs become spaces."""
    if not columns:
        return line
    bare = line.lstrip(" \t")
    return " " * (_columns(line[: len(line) - len(bare)]) - columns) + bare
