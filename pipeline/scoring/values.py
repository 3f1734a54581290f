r"""The value of a plainly written number: exact, bounded in time, without a parser.

Most answers are of this kind: "2,125", "$18.00", "-\frac{1}{2}", "18\%", "x = 18", "18 \text{ dollars}". What is more
than that (a product, a root) is `expressions`' business; what is less (two numbers, words) has no value.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal
from fractions import Fraction
from itertools import takewhile
from math import prod

# Longer texts are no plain number, and a larger exponent no answer: both bounds keep the arithmetic small.
_MAX_CHARS, _MAX_EXPONENT = 300, 400

_REWRITES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"[\u2212\u2013]", "-"),
        (r"\{,\}", ","),
        (r"\\[!]|\\(?:left|right|displaystyle|textstyle|bf|rm|[Ll]arge|LARGE|[Hh]uge)(?![A-Za-z])", ""),
        (r"\\(?:text)?color\s*\{[A-Za-z]+\}", ""),
        # Two spaces, so that "1 \quad 200", which is two numbers, is not read as a spaced 1 200.
        (r"\\q?quad(?![A-Za-z])|\\\\", "  "),
        (r"\\[,;: ]|[~\u00a0\u202f\u2009\n\t]", " "),
        (r"\\?[$\u00a3\u00a5\u20a0-\u20c0#]|\\pounds(?![A-Za-z])|\*\*|\\[()\[\]]|[`\"]", ""),
        (r"\\%", "%"),
        (r"\^\s*\{?\s*\\circ\s*\}?|\\degree(?![A-Za-z])|\u00b0", " degrees "),
        (r"\u00a2", " cents "),
        (r"\\[dt]frac(?![A-Za-z])", r"\\frac"),
        (r"\\frac\s*([0-9])\s*([0-9])(?![0-9])", r"\\frac{\1}{\2}"),
        (r"\\approx(?![A-Za-z])|\u2248", "="),
    )
)
_TEXT = re.compile(r"\\(?:text[a-z]{0,2}|math[a-z]{2}|mbox|boldsymbol|operatorname|underline|emph)\s*\{([^{}]*)\}")
_TEXT_REWRITES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\frac\s*\{\s*([A-Za-z]+)\s*\}\s*\{\s*([A-Za-z]+)\s*\}", r" \1/\2 "),
        (r"(?<=[0-9])\s*\^\s*\{?\s*(st|nd|rd|th)(?![A-Za-z])\s*\}?", r" \1 "),
        (r"([A-Za-z])\s*(?:\\cdot(?![A-Za-z])|\u00b7)\s*(?=[A-Za-z])", r"\1 "),  # a product of units
    )
)
_VULGAR = re.compile(r"[\u00bc-\u00be\u2150-\u215e]")
_LAST_SIDE = re.compile(r"(?<![<>!=])=(?!=)")
_NO_GAP = re.compile(r"\s+(?![0-9A-Za-z])|(?<![0-9A-Za-z\s])\s+")  # white space that parts no words or numbers
_WRAPPERS = (("(", ")"), ("{", "}"), ("[", "]"))

_WHOLE = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]{1,3}(?: [0-9]{3})+(?![0-9])|[0-9]+)"
_DECIMAL = rf"(?:{_WHOLE}(?:\.[0-9]*)?|\.[0-9]+)"
_PLAIN = re.compile(
    r"(?:[A-Za-z][A-Za-z ]*:|(?:[Tt]he )?(?:final )?[Aa]nswer is|USD|EUR|GBP|Rs\.?|about|approximately"
    r"|(?P<words>[A-Za-z][A-Za-z' ]*[A-Za-z]) +(?!- ))?"
    r"\s*(?P<sign>[-+]?)\s*(?:"
    rf"(?:(?P<whole>[0-9]+)\s*)?\\frac\s*\{{\s*(?P<minus>-?)\s*(?P<a>{_DECIMAL})\s*\}}\s*\{{\s*(?P<b>{_DECIMAL})\s*\}}"
    rf"|(?:(?P<mixed>[0-9]+) )?(?P<c>{_DECIMAL})\s?/\s?(?P<d>{_DECIMAL})"
    rf"|(?P<number>{_DECIMAL})(?:[eE](?P<exponent>[-+]?[0-9]{{1,9}})(?![0-9]))?"
    r")\s*(?P<percent>%?)(?P<unit>.*)"
)

_LETTERS = r"A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f"
_UNIT = re.compile(rf"[{_LETTERS}\u00b2\u00b3\s./()'-]*")
_UNIT_POWER = re.compile(r"(?<=[A-Za-z])\s*\^\s*\{?\s*-?[123]\s*\}?")
_SCALES = {
    **{"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12},
    **{"lakh": 10**5, "crore": 10**7, "mn": 10**6, "mln": 10**6, "bn": 10**9, "bln": 10**9, "tn": 10**12},
}
# A single letter is a variable unless it is one of these units; the words change the value and are no unit.
_LETTER_UNITS = frozenset("mgshLlJNWVKCF")
_NO_UNIT = frozenset({"and", "or", "to", "half", "plus", "minus", "times", "over", "squared", "cubed", "pi"})
# Words before a number ("Day 7", "Janet makes 18") are no part of it, except for these, which may change it, compare it
# with something, or be numbers themselves.
_CHANGING = frozenset(
    {
        "no", "not", "non", "none", "nor", "never", "neither", "either", "cannot", "if", "minus", "negative",
        "plus", "times", "over", "by", "of", "and", "or", "to", "than", "from", "between", "per", "base", "mod",
        "less", "more", "fewer", "greater", "larger", "smaller", "bigger", "least", "most", "under", "above",
        "below", "beyond", "within", "exceed", "exceeds", "before", "after", "until", "except", "point", "zero",
        "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
        "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety", "once", "twice", "thrice",
        "half", "third", "quarter", "double", "triple", "dozen", "square", "squared", "cube", "cubed", "root",
        "sqrt", "power", "factorial", "inverse", "reciprocal", "remainder", "log", "ln", "exp", "sin", "cos",
        "tan", "sec", "csc", "cot", "pi",
    }
)  # fmt: skip


def simplify_notation(text: str) -> str:
    """Removes what does not change an answer's value: currency, spacing, text wrappers, all but the last side of `=`.

    Args:
        text: The content of a box, of bounded length.

    Returns:
        The rest, ready to be read as a number or as an expression.
    """
    text = _VULGAR.sub(_as_fraction, text)
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    for _ in range(3):  # wrappers around wrappers: \textbf{\text{18}}
        text = _TEXT.sub(r" \1 ", text)
    for pattern, replacement in _TEXT_REWRITES:
        text = pattern.sub(replacement, text)
    text = _LAST_SIDE.split(text)[-1].strip().rstrip(".,;").strip()
    for opening, closing in _WRAPPERS:
        if text.startswith(opening) and text.endswith(closing) and not set(text[1:-1]) & {opening, closing}:
            text = text[1:-1].strip()
    return text


def _as_fraction(sign: re.Match[str]) -> str:
    above, below = unicodedata.normalize("NFKC", sign[0]).split("\u2044")
    return rf"\frac{{{above}}}{{{below}}}"


def same_writing(gold: str, answer: str) -> bool:
    """Whether two texts differ at most in what does not change an answer's value, as `(1, 2)` and `$(1,2)$` do.

    Args:
        gold: The right answer.
        answer: Any string.

    Returns:
        False also where one of them is empty or long.
    """
    if max(len(gold), len(answer)) > _MAX_CHARS:
        return False
    left, right = (_NO_GAP.sub("", simplify_notation(text)) for text in (gold, answer))
    return left == right != ""


def plain_values(text: str) -> tuple[Fraction, ...]:
    """The exact value of a plainly written number, whatever unit follows it.

    Args:
        text: Any string.

    Returns:
        The value; for a percentage both readings (18 % is 18 and 0.18); nothing if the text is no plain number.
    """
    if len(text) > _MAX_CHARS:
        return ()
    match = _PLAIN.fullmatch(simplify_notation(text))
    scale = _unit_scale(match["unit"]) if match and _changes_nothing(match["words"] or "") else None
    size = _size(match) if match else None
    if match is None or scale is None or size is None:
        return ()
    value = -size * scale if match["sign"] == "-" else size * scale
    is_percent = match["percent"] or match["unit"].casefold().split()[:1] == ["percent"]
    return (value, value / 100) if is_percent else (value,)


def _changes_nothing(words: str) -> bool:
    """Whether words before a number leave it as it is; a single letter is a variable, but for the article."""
    return not any(
        word in _CHANGING or word in _SCALES or word.endswith(("n't", "teen")) or (len(word) == 1 and word != "a")
        for word in words.casefold().split()
    )


def _size(match: re.Match[str]) -> Fraction | None:
    if match["number"]:
        exponent = int(match["exponent"] or 0)
        return _fraction(match["number"]) * Fraction(10) ** exponent if abs(exponent) <= _MAX_EXPONENT else None
    above, below = _fraction(match["a"] or match["c"]), _fraction(match["b"] or match["d"])
    if below == 0:
        return None
    part = -above / below if match["minus"] else above / below
    return int(match["whole"] or match["mixed"] or 0) + part


def _fraction(digits: str) -> Fraction:
    return Fraction(Decimal(digits.replace(",", "").replace(" ", "")))


def _unit_scale(unit: str) -> int | None:
    """What the words after a number multiply it by, or None if they are no unit."""
    unit = _UNIT_POWER.sub("", unit)
    words = re.findall(f"[{_LETTERS}]+", unit)
    if words and len(words[0]) == 1 and words[0] not in _LETTER_UNITS:
        return None
    words = [word.casefold() for word in words]
    if not _UNIT.fullmatch(unit) or _NO_UNIT.intersection(words):
        return None
    scales = (_SCALES.get(word, _SCALES.get(word.removesuffix("s"), 0)) for word in words)
    return prod(takewhile(bool, scales))  # "7 hundred thousand" has two
