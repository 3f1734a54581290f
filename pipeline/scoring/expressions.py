r"""Compares expressions by value, read by math-verify; the only module that imports it.

A model may box anything, and a computer algebra system given `9^{9^{9}}` or thirty nested brackets does not return.
math-verify's own time limit is an alarm signal, which works in a main thread only and would cancel an alarm of the
caller's. So the time is bounded by what is let in instead: short expressions without variables, over a short list of
operations, with small exponents and shallow brackets. Everything else is unequal.
"""

from __future__ import annotations

import cmath
import logging
import math
import re
import threading
from functools import cache
from typing import Any

from pipeline.scoring.values import simplify_notation

_MAX_CHARS, _MAX_DEPTH, _MAX_DIGITS, _MAX_EXPONENT = 120, 5, 30, 300

_ALLOWED = re.compile(r"(?:\\(?:frac|sqrt|cdot|times|div|pi)(?![A-Za-z])|[0-9\s.+\-/^(){}\[\]]|\*(?!\*))+")
_COMMA = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")
_TWO_NUMBERS = re.compile(r"[0-9.]\s+[0-9.]")  # which the parser would join to one
_BARE_EXPONENT = re.compile(r"\^\s*([0-9]+)")
_EXPONENT = re.compile(
    r"\^\{\s*(-?[0-9]{1,3}|-?[0-9]{1,2}/[0-9]{1,2}|\\frac\{[0-9]{1,2}\}\{[0-9]{1,2}\})\s*\}(?!\s*\^)"
)
_PRODUCT = re.compile(r"(?<=[0-9)}])\s*(?=\()")

# The parser's grammar keeps shared state, so one thread at a time; a lock is cheap for so rare a path.
_lock = threading.Lock()


def equal_expressions(gold: str, answer: str) -> bool:
    r"""Whether two expressions without variables have the same value, such as `2\sqrt{81}` and `18`.

    Args:
        gold: The right answer.
        answer: Any string.

    Returns:
        True if they agree to 12 digits (or six decimal places where one is written as a decimal); False if not, or if
        either is outside what is let in.
    """
    sides = [_admit(gold), _admit(answer)]
    if None in sides:
        return False
    with _lock:
        try:
            return _agree(*(side for side in sides if side is not None))
        except Exception:  # sympy's and its parser's: on a model's text they raise nearly anything (TypeError, ...)
            return False


def _admit(text: str) -> str | None:
    """The expression as the parser gets it, or None if it might take long."""
    if len(text) > 2 * _MAX_CHARS:
        return None
    text = _COMMA.sub("", simplify_notation(text))
    text = _PRODUCT.sub(r" \\cdot ", _BARE_EXPONENT.sub(r"^{\1}", text))
    small = len(text) <= _MAX_CHARS and _depth(text) <= _MAX_DEPTH and not re.search(rf"[0-9]{{{_MAX_DIGITS},}}", text)
    allowed = _ALLOWED.fullmatch(text) and not _TWO_NUMBERS.search(text)
    return text if small and allowed and _exponents_small(text) else None


def _depth(text: str) -> int:
    depth = deepest = 0
    for char in text:
        depth += (char in "({[") - (char in ")}]")
        deepest = max(deepest, depth)
    return deepest


def _exponents_small(text: str) -> bool:
    """Whether the exponents stay small even if every power is raised to the next."""
    exponents = _EXPONENT.findall(text)
    whole = [abs(int(exponent)) for exponent in exponents if exponent.lstrip("-").isdigit()]
    return len(exponents) == text.count("^") and math.prod(max(1, exponent) for exponent in whole) <= _MAX_EXPONENT


@cache
def _math_verify() -> Any:
    """The library, imported when first needed; it warns that it runs without its alarm, which is what is wanted."""
    import math_verify

    logging.getLogger("math_verify.parser").setLevel(logging.ERROR)
    return math_verify


def _agree(gold: str, answer: str) -> bool:
    left, right = _value(gold), _value(answer)
    if left is None or right is None:
        return False
    # A decimal may be a rounding; math-verify's rule for it is six places.
    places = 5e-7 if "." in gold + answer else 1e-12
    return cmath.isclose(left, right, rel_tol=1e-12, abs_tol=places)


def _value(text: str) -> complex | None:
    """Evaluates numerically: a symbolic proof of equality may take hours for a line of nested roots."""
    library = _math_verify()
    latex = [library.LatexExtractionConfig(boxed_match_priority=-1)]
    parsed = library.parse(f"${text}$", latex, fallback_mode="no_fallback", parsing_timeout=None)
    if not parsed or not getattr(parsed[0], "is_number", False):  # a set or a relation
        return None
    value = complex(parsed[0].evalf(20))
    return value if cmath.isfinite(value) else None
