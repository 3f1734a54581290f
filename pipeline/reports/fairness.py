"""What has to be alike in runs that stand in one table, and where it is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.reports.runs import FinishedRun

BUDGETS = ("max_new_tokens", "budget", "temperature", "top_p", "model", "chat_options")
"""Settings that two runs should have in common to be compared fairly. Latent steps are none: they are the method's."""
EXECUTION = ("batch_size", "lookup_tokens", "replicas", "placement", "gpus_per_replica", "transport")
"""Settings that change no answer but how long it takes."""


class DifferingRunsError(ValueError):
    """Runs that would stand in one table were asked different things, or with different budgets."""

    def __init__(self, differences: Sequence[str]) -> None:
        super().__init__(
            "runs of the same task and model differ in what a fair comparison needs to be the same (below); leave some "
            "of them out, or compare them all the same with --differing"
        )
        self.differences = tuple(differences)


def differences(runs: Sequence[FinishedRun]) -> tuple[str, ...]:
    """What keeps runs of the same task and model from being compared, a line for all runs of which the same is to say.

    Args:
        runs: Runs of any tasks and models; only those that would stand in one table are held against each other.
    """
    found: list[str] = []
    for table in dict.fromkeys((run.metrics.task, run.metrics.model) for run in runs):
        same = [run for run in runs if (run.metrics.task, run.metrics.model) == table]
        teams = [run for run in same if run.metrics.method != "single"]
        told: dict[tuple[str, str], list[str]] = {}
        for run in same[1:]:
            for remark in (*asked_otherwise(same[0], run), *budgets_otherwise(same[0], run)):
                told.setdefault((same[0].name, remark), []).append(run.name)
        # A single agent does not tell whether the teams share a budget in the same way.
        for run in teams[1:] if same[0].metrics.method == "single" else ():
            for remark in budgets_otherwise(teams[0], run, ("budget",)):
                told.setdefault((teams[0].name, remark), []).append(run.name)
        found += [f"{', '.join(names)} and {first}: {remark}" for (first, remark), names in told.items()]
    return tuple(found)


def asked_otherwise(first: FinishedRun, run: FinishedRun) -> list[str]:
    """How the questions of a run differ from those of the first one."""
    if run.questions == first.questions:
        return []
    here, there = run.asked, first.asked
    common = [i for i in here if i in there]
    for i in common:
        if here[i] != there[i]:
            what = "texts" if here[i][0] != there[i][0] else "right answers"
            return [f"their question {i!r} has different {what}"]
    return [f"{len(here)} and {len(there)} questions, {len(common) or 'none'} of them in common"]


def budgets_otherwise(first: FinishedRun, run: FinishedRun, names: Sequence[str] = BUDGETS) -> list[str]:
    """How the budgets of a run differ from those of the first one, in one line at most."""
    pairs = [(name, _budget(run, name, first), _budget(first, name, run)) for name in names]
    told = [f"{name} {here} and {there}" for name, here, there in pairs if here != there]
    return [f"the settings differ: {', '.join(told)}"] if told else []


def timed_otherwise(runs: Sequence[FinishedRun]) -> list[str]:
    """Notes on runs of the same task and model whose seconds were not taken with the same settings."""
    notes = []
    for table in dict.fromkeys((run.metrics.task, run.metrics.model) for run in runs):
        same = [run for run in runs if (run.metrics.task, run.metrics.model) == table and run.execution]
        for name in EXECUTION:
            values = {run.name: run.execution.get(name) for run in same}
            if len({str(value) for value in values.values()}) > 1:
                told = ", ".join(f"{run} {value}" for run, value in values.items())
                notes.append(f"{told}: {name} differs, so their seconds can't be compared")
    return notes


def _budget(run: FinishedRun, name: str, other: FinishedRun) -> Any:
    """A setting, or none where it makes no difference: what one agent has is the whole system's, greedy is greedy."""
    if name == "budget" and "single" in (run.metrics.method, other.metrics.method):
        return None
    if name == "top_p" and run.settings["temperature"] == other.settings["temperature"] == 0:
        return None
    return run.settings[name]
