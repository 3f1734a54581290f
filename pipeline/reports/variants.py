"""Runs of one method that were done in different ways: what tells them apart, and the shortest labels that say it.

Runs that differ in their seed alone are one variant. Settings that a method does not use tell nothing apart.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pipeline.config import RunConfig
from pipeline.reports.runs import FinishedRun

METHODS = ("single", "text_mas", "latent_mas")
"""Methods in the order in which they are shown."""
LABELS = {"single": "Single", "text_mas": "TextMAS", "latent_mas": "LatentMAS"}
"""What they are called there."""
CONTROLS = ("memory", "handover", "alignment", "roles")
"""Settings that are always told where they are not the default, since they make another experiment of it."""

_ELSEWHERE = ("task", "model", "graph", "experts", "method", "seed", "limit")
"""Settings that are told by where a run stands, or by its questions."""
_NEUTRAL = ("verify_memory", "trace", "trust_remote_code")
"""Settings that change no answer."""
_THINKING = ("latent_steps", "alignment", "handover")
"""Settings of agents that think."""
_TEAM = ("memory", "budget")
"""Settings of more than one agent."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Runs that differ in their seed alone."""

    label: str
    """What tells it from others of its method, such as `m=20`; empty for the plain one."""
    runs: tuple[FinishedRun, ...]
    """One a seed."""

    @property
    def first(self) -> FinishedRun:
        """The run that stands for what all share."""
        return self.runs[0]

    @property
    def method(self) -> str:
        """The method."""
        return self.first.metrics.method

    @property
    def name(self) -> str:
        """Method and label."""
        return f"{LABELS.get(self.method, self.method)} {self.label}".strip()

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds."""
        return tuple(run.settings["seed"] for run in self.runs)

    @property
    def controlled(self) -> bool:
        """Whether a control makes another experiment of it than the method as it is meant."""
        return any(self.first.settings[name] != _defaults()[name] for name in CONTROLS if name in essence(self.first))


def essence(run: FinishedRun) -> dict[str, Any]:
    """The settings that make a run's answers what they are, those left out that its method does not use."""
    unused: tuple[str, ...] = (*_ELSEWHERE, *_NEUTRAL)
    if run.metrics.method != "latent_mas":
        unused += _THINKING
    if run.metrics.method == "single":
        unused += _TEAM
    if run.settings["temperature"] == 0:
        unused += ("top_p",)
    return {name: _plain(value) for name, value in run.settings.items() if name not in unused}


def same_but_for_seeds(runs: Iterable[FinishedRun]) -> list[list[FinishedRun]]:
    """Gathers runs that differ in their seed alone, in the order of the first of each; doubles stay in."""
    alike: dict[str, list[FinishedRun]] = {}
    for run in runs:
        place = [run.metrics.method, run.metrics.task, run.metrics.model, run.graph, run.questions, essence(run)]
        alike.setdefault(json.dumps(place, sort_keys=True), []).append(run)
    return list(alike.values())


def newest_of_each(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """Of runs with the same settings, questions and seed the first one, in the order given.

    Args:
        runs: The newest first.
    """
    kept = {id(run) for group in same_but_for_seeds(runs) for run in one_a_seed(group)}
    return [run for run in runs if id(run) in kept]


def one_a_seed(runs: Iterable[FinishedRun]) -> tuple[FinishedRun, ...]:
    """Of runs that differ in their seed alone the first one with each seed."""
    first: dict[int, FinishedRun] = {}
    for run in runs:
        first.setdefault(run.settings["seed"], run)
    return tuple(first.values())


def variants(runs: Sequence[FinishedRun]) -> tuple[Variant, ...]:
    """Puts seeds together and labels what remains; the plain one comes first.

    Args:
        runs: Of one method, task, model and graph.
    """
    groups = [one_a_seed(group) for group in same_but_for_seeds(runs)]
    told = [{**essence(group[0]), "questions": asked} for group, asked in zip(groups, _asked(groups), strict=True)]
    pieces = label_pieces(told)
    found = [Variant(label=", ".join(parts), runs=group) for group, parts in zip(groups, pieces, strict=True)]
    return tuple(sorted(found, key=_place))


def _place(variant: Variant) -> tuple[object, ...]:
    """The plain one first, then by m, then whatever else differs, controls last."""
    steps = essence(variant.first).get("latent_steps", 0)
    only_steps = re.fullmatch(r"(m=\d+)?", variant.label) is not None
    return variant.controlled, variant.label != "", not only_steps, variant.label.count(","), steps, variant.label


def label_pieces(told: Sequence[Mapping[str, Any]], always: Collection[str] = CONTROLS) -> list[tuple[str, ...]]:
    """What has to be said of each of several ways to tell it from the others: settings that are not the default.

    Args:
        told: Settings by name of each way, those that it uses; no two alike.
        always: Those that are also told if all share them.

    Returns:
        As many tuples, no two alike.
    """
    defaults = {**_defaults(), "questions": ""}
    known = dict.fromkeys(name for what in told for name in what)
    names = [name for name in known if name in always or len({_text(what.get(name)) for what in told}) > 1]
    return [tuple(_piece(n, what[n]) for n in names if n in what and what[n] != defaults[n]) for what in told]


def tails(names: Iterable[str]) -> dict[str, str]:
    """Short names for paths and Hub ids: of each as many last parts as tell it from the others."""
    whole = list(dict.fromkeys(names))
    found: dict[str, str] = {}
    for name in whole:
        parts = re.split(r"[/\\]", name.rstrip("/\\"))
        ends = ["/".join(parts[-count:]) for count in range(1, len(parts) + 1)]
        others = [other for other in whole if other != name]
        found[name] = next((end for end in ends if end and not any(_ends(other, end) for other in others)), name)
    return found


def _ends(name: str, end: str) -> bool:
    return f"/{name}".rstrip("/\\").replace("\\", "/").endswith(f"/{end}")


def _asked(groups: Sequence[Sequence[FinishedRun]]) -> list[str]:
    """What tells the questions of some runs from those of others; empty where all have the same."""
    sets = {group[0].questions: group[0].metrics.num_questions for group in groups}
    if len(sets) < 2:
        return ["" for _ in groups]
    sizes, names = list(sets.values()), dict[str, str]()
    for digest, size in sets.items():
        alike = [other for other in sets if sets[other] == size]
        names[digest] = f"n={size}" if sizes.count(size) == 1 else f"n={size} (set {alike.index(digest) + 1})"
    return [names[group[0].questions] for group in groups]


def _piece(name: str, value: Any) -> str:
    if name == "questions":
        return str(value)
    return f"m={value}" if name == "latent_steps" else f"{name.replace('_', ' ')} {_text(value)}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """A number in the one way in which it is written: 0.0 and 0 are the same setting."""
    whole = isinstance(value, float) and value.is_integer()
    return int(value) if whole else value


@cache
def _defaults() -> dict[str, Any]:
    return RunConfig().flat()
