"""Finished runs beside each other: pairs on the same questions, and the spread over seeds. Pure; reads no files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.records import Prediction
from pipeline.reports.stats import Paired, Spread, over_seeds, paired
from pipeline.reports.summary import RunMetrics

BUDGETS = ("max_new_tokens", "budget", "temperature", "top_p", "model", "chat_options")
"""Settings that two runs should have in common to be compared fairly; a note says where they differ."""


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A run as a comparison sees it."""

    name: str
    """What the comparison calls it."""
    settings: Mapping[str, Any]
    """Its settings by name, those left out that change no answer."""
    graph: str
    """Its role graph as a file; graphs of one name may differ."""
    metrics: RunMetrics
    """What it reports."""
    rows: Sequence[Prediction]
    """One a question."""

    @property
    def correct(self) -> dict[str, bool | None]:
        """By question id whether the answer is right; none if it is unscored."""
        return {row.question_id: row.correct for row in self.rows}

    @property
    def asked(self) -> dict[str, tuple[str, str]]:
        """Text and right answer of each question by its id."""
        return {row.question_id: (row.question, row.gold) for row in self.rows}


@dataclass(frozen=True, kw_only=True)
class PairedRuns:
    """A run against the baseline of its task."""

    run: str
    """Its name."""
    baseline: str
    """The baseline's name."""
    task: str
    """What both answer."""
    result: Paired
    """The baseline is the first of the two, so a positive difference speaks for the run."""


@dataclass(frozen=True, kw_only=True)
class SeededRuns:
    """Runs that differ in their seed alone."""

    run: str
    """The name of the first one."""
    method: str
    """Their method."""
    graph: str
    """The name of their role graph."""
    task: str
    """What they answer."""
    seeds: tuple[int, ...]
    """Their seeds."""
    accuracy: Spread
    """Of their strict accuracies."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What can be said of several runs together."""

    runs: tuple[FinishedRun, ...]
    """The runs, in the order given."""
    pairs: tuple[PairedRuns, ...] = ()
    """Runs against baselines."""
    seeds: tuple[SeededRuns, ...] = ()
    """Runs that differ in their seed alone."""
    notes: tuple[str, ...] = ()
    """What readers have to know, a line each."""

    def to_json(self) -> str:
        """All of it but the rows."""
        runs = [{"name": run.name, **run.metrics.to_dict()} for run in self.runs]
        parts = {name: [asdict(one) for one in getattr(self, name)] for name in ("pairs", "seeds")}
        return json.dumps({"runs": runs, **parts, "notes": self.notes}, indent=2, ensure_ascii=False)


def compare_runs(runs: Sequence[FinishedRun], baselines: Sequence[FinishedRun] = ()) -> Comparison:
    """Pairs runs with the baseline of their task, and gathers those that differ in their seed alone.

    Args:
        runs: The runs, in the order in which they are shown.
        baselines: Those that others are paired with: the first one of each task. A task without one takes the first run
            of a single agent.

    Returns:
        The comparison; baselines that are not among the runs come before them.
    """
    names = {run.name for run in runs}
    shown = (*(run for run in baselines if run.name not in names), *runs)
    pairs: list[PairedRuns] = []
    notes: list[str] = []
    alone: list[str] = []
    remarked: dict[tuple[str, str], list[str]] = {}  # one line for all runs of which the same is to be said
    for task in dict.fromkeys(run.metrics.task for run in shown):
        same = [run for run in shown if run.metrics.task == task]
        first = _baseline(same, [run for run in baselines if run.metrics.task == task])
        if first is None and len(same) > 1:
            notes.append(f"{task}: no run of a single agent to pair the others with; name a run with --baseline")
        alone += [run.name for run in same if len(same) == 1 < len(shown)]
        for run in same:
            if first is not None and run is not first:
                pair, remarks = _pair(first, run)
                pairs += pair
                for remark in remarks:
                    remarked.setdefault((first.name, remark), []).append(run.name)
    notes += [f"{', '.join(told)} and {first}: {remark}" for (first, remark), told in remarked.items()]
    if alone:
        notes.append(f"{', '.join(alone)}: not paired, because no other run answers the same task")
    seeds, repeated = _over_seeds(shown)
    return Comparison(runs=shown, pairs=tuple(pairs), seeds=tuple(seeds), notes=(*notes, *repeated))


def _baseline(runs: Sequence[FinishedRun], chosen: Sequence[FinishedRun]) -> FinishedRun | None:
    """The run that those of its task are paired with, if there is one: a chosen one, or that of a single agent."""
    return next(iter([*chosen, *(run for run in runs if run.metrics.method == "single")]), None)


def _pair(baseline: FinishedRun, run: FinishedRun) -> tuple[list[PairedRuns], list[str]]:
    """One run against its baseline, if they can be paired, and what is to be said of it."""
    asked, there = run.asked, baseline.asked
    common = [i for i in asked if i in there]
    if not common:
        return [], ["not paired, because they have no question in common"]
    for i in common:
        if asked[i] != there[i]:
            what = "texts" if asked[i][0] != there[i][0] else "right answers"
            return [], [f"not paired, because their question {i!r} has different {what}"]
    result, remarks = paired(baseline.correct, run.correct), list[str]()
    if len(common) < max(len(asked), len(there)):
        remarks.append(f"paired on the {len(common)} questions in common of {len(asked)} and {len(there)}")
    if result.unscored:
        remarks.append(f"{result.unscored} questions left out because one of the two has them unscored")
    differing = [name for name in BUDGETS if run.settings[name] != baseline.settings[name]]
    if differing:
        told = ", ".join(f"{name} {run.settings[name]} and {baseline.settings[name]}" for name in differing)
        remarks.append(f"the settings differ: {told}")
    return [PairedRuns(run=run.name, baseline=baseline.name, task=run.metrics.task, result=result)], remarks


def _over_seeds(runs: Sequence[FinishedRun]) -> tuple[list[SeededRuns], list[str]]:
    """Runs that differ in their seed alone, and notes on those that do not even differ in that or have no accuracy."""
    alike: dict[str, dict[int, FinishedRun]] = {}
    notes = []
    unscored = [run.name for run in runs if run.metrics.num_questions == run.metrics.num_unscored]
    if unscored:
        notes.append(f"{', '.join(unscored)}: all questions are unscored, so there is no accuracy (0 is none)")
    for run in (run for run in runs if run.name not in unscored):
        rest = {name: value for name, value in run.settings.items() if name != "seed"}
        group = alike.setdefault(json.dumps([rest, run.graph, sorted(run.asked.items())], sort_keys=True), {})
        first = group.setdefault(run.settings["seed"], run)
        if first is not run:
            notes.append(f"{run.name} and {first.name}: the same settings and seed, so counted as one over seeds")
    return [_seeded(group) for group in alike.values() if len(group) > 1], notes


def _seeded(group: Mapping[int, FinishedRun]) -> SeededRuns:
    """The line of some runs by their seeds."""
    first = next(iter(group.values()))
    return SeededRuns(
        run=first.name,
        method=first.metrics.method,
        graph=first.metrics.graph,
        task=first.metrics.task,
        seeds=tuple(group),
        accuracy=over_seeds([run.metrics.accuracy for run in group.values()]),
    )
