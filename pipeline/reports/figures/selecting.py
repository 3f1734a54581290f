"""Which of many runs stand beside each other in a figure, and how they are called there."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from pipeline.config import CollaborationConfig
from pipeline.reports.fairness import BUDGETS
from pipeline.reports.runs import FinishedRun
from pipeline.reports.stats import wilson_interval
from pipeline.reports.variants import essence, tails

Drawn = TypeVar("Drawn")
"""What a figure shows of a task."""

PLAIN: dict[str, object] = {"memory": "real", "handover": "full", "alignment": "ridge", "roles": {}}
"""Settings of the paper; runs with others are controls."""
HARMLESS = ("trace", "verify_memory", "code_seconds")
"""Settings that are no reason to keep runs apart."""
FEW = 100
"""Below so many questions a figure says that they are few."""
NAMES = {"embedded": "SmolLM2-135M-Instruct (embedded)"}
"""Models that have a better name than that of their flag."""
TIED = ("embedded",)
"""Models that are known, without a look at them, to tie their input and output embeddings."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share of right answers."""

    value: float
    """Per cent; 0 without questions."""
    low: float
    """Lower end of its 95 % Wilson interval, per cent."""
    high: float
    """Upper end."""
    n: int
    """Scored questions."""


def share_of(run: FinishedRun, *, lenient: bool = False) -> Share:
    """Accuracy of a run, strict or lenient; unscored questions don't count."""
    scored = [row for row in run.rows if row.correct is not None]
    right = sum(bool(row.correct_lenient if lenient else row.correct) for row in scored)
    low, high = wilson_interval(right, len(scored))
    return Share(value=100 * right / max(len(scored), 1), low=100 * low, high=100 * high, n=len(scored))


def is_plain(run: FinishedRun, *, but: Collection[str] = ()) -> bool:
    """Whether a run is as the paper has it, some settings left aside."""
    return all(run.settings[name] == value for name, value in PLAIN.items() if name not in but)


def groups_alike(runs: Iterable[FinishedRun], *, but: Collection[str]) -> list[list[FinishedRun]]:
    """Gathers runs that differ in nothing but some settings: the same questions and graph, and all else the same."""
    groups: dict[str, list[FinishedRun]] = {}
    for run in runs:
        rest = {key: value for key, value in essence(run).items() if key not in {*but, *HARMLESS}}
        m = run.metrics
        groups.setdefault(
            _as_key([m.task, m.model, m.method, run.settings["seed"], rest, run.graph, run.questions]), []
        ).append(run)
    return list(groups.values())


def on_same_terms(runs: Iterable[FinishedRun]) -> list[list[FinishedRun]]:
    """Gathers teams on the same questions with the same model and budgets, and with them the single agents of these.

    Whether a budget is each agent's or the system's is the same to an agent that is alone, which stands in both.
    """
    alone: dict[str, list[FinishedRun]] = {}
    teams: dict[tuple[str, str], list[FinishedRun]] = {}
    for run in runs:
        greedy = run.settings["temperature"] == 0
        shared = {name: run.settings[name] for name in BUDGETS if name != "budget" and not (greedy and name == "top_p")}
        terms = _as_key([run.metrics.task, {**shared, "temperature": float(shared["temperature"])}, run.questions])
        if run.metrics.method == "single":
            alone.setdefault(terms, []).append(run)
        else:
            teams.setdefault((terms, run.settings["budget"]), []).append(run)
    return [[*alone.get(terms, []), *group] for (terms, _), group in teams.items()]


def by_panel(runs: Iterable[FinishedRun]) -> dict[tuple[str, str], list[FinishedRun]]:
    """Runs by model and graph, of which each pair has a panel of its own; the usual graph first."""
    found: dict[tuple[str, str], list[FinishedRun]] = {}
    for run in sorted(runs, key=lambda run: run.metrics.graph != CollaborationConfig().graph):
        found.setdefault((run.metrics.model, run.metrics.graph), []).append(run)
    return found


def with_graphs_apart(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """Runs whose graphs have names that tell them apart: where two of one name differ, a number follows it."""
    alike: dict[str, list[str]] = {}
    for run in runs:
        graphs = alike.setdefault(run.metrics.graph, [])
        if run.graph not in graphs:
            graphs.append(run.graph)
    return [_with_number(run, alike[run.metrics.graph]) for run in runs]


def _with_number(run: FinishedRun, graphs: Sequence[str]) -> FinishedRun:
    if len(graphs) == 1:
        return run
    name = f"{run.metrics.graph} ({graphs.index(run.graph) + 1})"
    return replace(run, metrics=replace(run.metrics, graph=name))


def usual_first(run: FinishedRun) -> tuple[bool, bool, int, bool]:
    """Sorts runs by latent steps: the usual number of them first, then the fewest, none at all last; then by graph."""
    usual, steps = CollaborationConfig(), run.metrics.latent_steps_per_agent
    return steps != usual.latent_steps, steps == 0, steps, run.metrics.graph != usual.graph


def model_name(model: str) -> str:
    """A model as figures name it: without its folders or its owner."""
    return NAMES.get(model, model.rstrip("/").rsplit("/", 1)[-1])


def task_name(task: str) -> str:
    """A task as figures name it: a file of one's own without its folders."""
    return Path(task).name


def names_of(whole: Iterable[str]) -> dict[str, str]:
    """Models or tasks as figures name them where several are shown: with as many folders as tell them apart."""
    return {name: NAMES.get(name, tail) for name, tail in tails(whole).items()}


def named(found: Mapping[tuple[str, str], Mapping[str, Drawn]]) -> dict[tuple[str, str], dict[str, Drawn]]:
    """What a figure shows, by model and graph and by task, with the names that it gives to models and tasks."""
    models = names_of(model for model, _ in found)
    tasks = names_of(task for inside in found.values() for task in inside)
    return {
        (models[model], graph): {tasks[task]: one for task, one in inside.items()}
        for (model, graph), inside in found.items()
    }


def panel_title(panel: tuple[str, str], panels: Collection[tuple[str, str]]) -> str:
    """The graph's name, and the model's where there are several; both as `named` has them."""
    model, graph = panel
    return f"{graph}, {model}" if len({one for one, _ in panels}) > 1 else graph


def told_models(runs: Iterable[FinishedRun]) -> str:
    """The models of some runs, for a caption."""
    names = list(dict.fromkeys(model_name(run.metrics.model) for run in runs))
    return ("Model: " if len(names) == 1 else "Models: ") + ", ".join(names) + "."


def told_questions(runs: Sequence[FinishedRun]) -> str:
    """How many questions there are, for a caption; where they are few, what that means."""
    counts = {run.metrics.task: run.metrics.num_questions for run in runs}
    numbers = set(counts.values())
    each = ", ".join(f"{task_name(task)} {count}" for task, count in counts.items())
    told = f"n = {numbers.pop()} questions a task" if len(numbers) == 1 else f"n, questions: {each}"
    few = "; so few that only large differences mean anything" if min(counts.values(), default=0) < FEW else ""
    return f"{told}{few}."


def _as_key(values: Sequence[object] | Mapping[str, object]) -> str:
    return json.dumps(values, sort_keys=True, default=str)
