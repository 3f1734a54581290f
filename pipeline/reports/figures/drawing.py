"""A figure as it is handed around: pictures, what is said below them, and the numbers behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """One figure."""

    name: str
    """Its file's name without ending, such as `figure-4-speed-and-tokens`."""
    title: str
    """What it shows, in a few words."""
    caption: str
    """What readers need to read it: model, n, settings, what the marks mean."""
    png: bytes
    """The picture in pixels."""
    svg: str
    """The picture in lines; it can stand in an HTML page as it is."""
    csv: str
    """The numbers that are drawn, with a header; figures that only tell of points tell of each one."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """What is read off it, by name, such as `coverage` or the p of a pair."""
