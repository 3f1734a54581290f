"""Finished runs beside each other: pairs on the same questions, and the spread over seeds. Pure; reads no files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pipeline.reports.fairness import BUDGETS, budgets_otherwise, timed_otherwise
from pipeline.reports.runs import FinishedRun
from pipeline.reports.stats import Paired, Spread, over_seeds, paired
from pipeline.reports.variants import one_a_seed, same_but_for_seeds

__all__ = ["BUDGETS", "Comparison", "FinishedRun", "PairedRuns", "SeededRuns", "compare_runs"]


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
        baselines: Those that others are paired with: the first one of each task. A task without one takes, for each
            model, the first run of a single agent.

    Returns:
        The comparison; baselines that are not among the runs come before them.
    """
    names = {run.name for run in runs}
    shown = (*(run for run in baselines if run.name not in names), *runs)
    pairs: list[PairedRuns] = []
    notes: list[str] = []
    alone: list[str] = []
    remarked: dict[tuple[str, str], list[str]] = {}  # one line for all runs of which the same is to be said
    for task, same in _gathered(shown, baselines).items():
        first = _baseline(same, [run for run in baselines if run.metrics.task == same[0].metrics.task])
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
        notes.append(f"{', '.join(alone)}: not paired, because no other run answers the same task with the same model")
    seeds, repeated = _over_seeds(shown)
    notes += [*repeated, *timed_otherwise(shown)]
    return Comparison(runs=shown, pairs=tuple(pairs), seeds=tuple(seeds), notes=tuple(notes))


def _gathered(runs: Sequence[FinishedRun], baselines: Sequence[FinishedRun]) -> dict[str, list[FinishedRun]]:
    """Runs that are paired with each other, by what they have in common: the model only matters without a baseline."""
    named = {run.metrics.task for run in baselines}
    models: dict[str, set[str]] = {}
    for run in runs:
        models.setdefault(run.metrics.task, set()).add(run.metrics.model)
    found: dict[str, list[FinishedRun]] = {}
    for run in runs:
        task = run.metrics.task
        several = task not in named and len(models[task]) > 1
        found.setdefault(f"{task} with {run.metrics.model}" if several else task, []).append(run)
    return found


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
    remarks += budgets_otherwise(baseline, run)
    return [PairedRuns(run=run.name, baseline=baseline.name, task=run.metrics.task, result=result)], remarks


def _over_seeds(runs: Sequence[FinishedRun]) -> tuple[list[SeededRuns], list[str]]:
    """Runs that differ in their seed alone, and notes on those that do not even differ in that or have no accuracy."""
    notes = []
    unscored = [run.name for run in runs if not run.scored]
    if unscored:
        notes.append(f"{', '.join(unscored)}: all questions are unscored, so there is no accuracy (0 is none)")
    groups = same_but_for_seeds(run for run in runs if run.scored)
    for group in groups:
        first = {run.settings["seed"]: run for run in reversed(group)}
        for run in group:
            same = first[run.settings["seed"]]
            if same is not run:
                notes.append(f"{run.name} and {same.name}: the same settings and seed, so counted as one over seeds")
    seeded = map(one_a_seed, groups)
    return [_seeded(group) for group in seeded if len(group) > 1], notes


def _seeded(group: Sequence[FinishedRun]) -> SeededRuns:
    """The line of some runs, one a seed."""
    first = group[0]
    return SeededRuns(
        run=first.name,
        method=first.metrics.method,
        graph=first.metrics.graph,
        task=first.metrics.task,
        seeds=tuple(run.settings["seed"] for run in group),
        accuracy=over_seeds([run.metrics.accuracy for run in group]),
    )
