"""Finds code inside a model's text: fenced blocks as Markdown defines them.

Pure, total (any string is fine) and linear in the text's length. `last_python_block` is the strict reading and
`last_code_block` the lenient one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

_LINE_END = re.compile(r"\r\n|\n|\r")
_LANGUAGE = re.compile(r"\{?\s*\.?(\w*)")  # also as notebooks ({python}) and Pandoc ({.python}) have it
_QUOTE = re.compile(r" {0,3}> ?")
_CONTAINERS = re.compile(r"(?P<quotes>(?: {0,3}> ?)*+)(?P<items>(?:[ \t]*(?:[-*+]|[0-9]{1,9}[.)])(?=[ \t]))*+)")
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
    quotes: int = 0
    """How many block quotes it is in, each of which starts every line with `>`."""
    opens_item: bool = False
    """Whether it stands right after the mark of a list item."""

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
    may be indented by any depth, which the code then loses, and may follow an item's mark or be quoted. The language is
    python, python3 or py, in any case. A blank block is passed over, as an empty box is.

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
        inside = _unquoted(line, opening.quotes) if opening else None
        if opening and inside is None:  # the quote ends, and so does what is in it
            yield _block(opening, lines, closed=False)
            opening, lines = None, []
        if opening is None or inside is None:
            opening = _opening(line)
        elif (fence := _fence(inside)) and fence.closes(opening):
            yield _block(opening, lines, closed=True)
            opening, lines = None, []
        else:
            lines.append(inside)
    if opening:
        yield _block(opening, lines, closed=False)


def _block(opening: _Fence, lines: list[str], *, closed: bool) -> _Block:
    language = _LANGUAGE.match(opening.info)
    is_python = language is not None and language[1].lower() in _PYTHON
    columns = opening.indent
    if columns and opening.opens_item:  # below an item's mark, code may start further left than the fence
        columns = min([columns, *(_columns(_blank(line)) for line in lines if line.strip())])
    return _Block(code="\n".join(_outdented(line, columns) for line in lines), is_python=is_python, closed=closed)


def _opening(line: str) -> _Fence | None:
    """The fence that a line has, if any, be it in quotes or right after an item's mark."""
    containers = _CONTAINERS.match(line)
    assert containers is not None, "it matches the empty text"
    quotes, items = containers.group("quotes", "items")
    fence = _fence(re.sub(r"\S", " ", items) + line[containers.end() :])
    return fence and replace(fence, quotes=quotes.count(">"), opens_item=bool(items))


def _unquoted(line: str, quotes: int) -> str | None:
    """The line without the marks of so many quotes, or None if it has fewer."""
    start = 0
    for _ in range(quotes):
        mark = _QUOTE.match(line, start)
        if mark is None:
            return None
        start = mark.end()
    return line[start:]


def _fence(line: str) -> _Fence | None:
    bare = line.lstrip(" \t")
    info = bare.lstrip(bare[:1]) if bare.startswith(("```", "~~~")) else bare
    mark = bare[: len(bare) - len(info)]
    if len(mark) < 3 or (mark[0] == "`" and "`" in info):  # code between backticks within a line
        return None
    return _Fence(mark=mark, info=info.strip(), indent=_columns(_blank(line)))


def _blank(line: str) -> str:
    """The spaces and tabs that a line starts with."""
    return line[: len(line) - len(line.lstrip(" \t"))]


def _columns(blank: str) -> int:
    return len(blank.expandtabs(_TAB))


def _outdented(line: str, columns: int) -> str:
    """The line with up to so many columns of white space less; in an indented block tabs become spaces."""
    if not columns:
        return line
    return " " * (_columns(_blank(line)) - columns) + line.lstrip(" \t")
