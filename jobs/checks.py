"""What can be found out about a run before Ray starts, a model loads or a run folder is made."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import RunConfig
from pipeline.runtime.planned import PlannedRun

if TYPE_CHECKING:
    from pipeline.records import Question


def checked(config: RunConfig, questions: Sequence[Question]) -> PlannedRun:
    """Checks a run of one task.

    Args:
        config: Its settings.
        questions: The task's questions.

    Returns:
        The run; what its settings leave to the task is filled in, and a model's folder is absolute.

    Raises:
        ValueError: Something in it can't be; one line.
    """
    from pipeline.benchmarks import short_name, token_cap
    from pipeline.checkpoints import check_model
    from pipeline.config import BACKENDS
    from pipeline.graphs import check_budget, check_one_prompt, plan_for
    from pipeline.prompts import known_roles
    from pipeline.runtime.assigning import assign
    from pipeline.runtime.placement import check_seats

    team, model, task = config.collaboration, config.model, config.data.task
    plan = plan_for(team)
    plan.graph.check_prompts(known_roles())
    backend = BACKENDS[model.backend]
    if backend.prompts_only:
        check_one_prompt(plan, backend.name)
    backend.check_installed()
    assignments = assign(questions, memory=team.memory, seed=config.decoding.seed, trace=team.trace)
    check_seats(tuple(role.name for role in plan.graph.roles), config.execution, model)
    roles = {role: {"model": check_model(values["model"])} for role, values in model.roles.items()}
    if config.decoding.max_new_tokens is None:
        config = replace(config, decoding=replace(config.decoding, max_new_tokens=token_cap(task)))
    check_budget(plan, config.decoding)
    if config.tracking.experiment is None and short_name(task) != task:  # a file: its path would name the experiment
        config = replace(config, tracking=replace(config.tracking, experiment=f"latentmas/{short_name(task)}"))
    config = replace(config, model=replace(model, model=check_model(model.model), roles=roles))
    return PlannedRun(config=config, plan=plan, assignments=assignments)


def located(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with absolute paths of data, under which every folder finds it and by which runs on it are paired.

    Args:
        flat: Some settings by name; what is not yet known to be right is left to be refused.
    """
    from pipeline.benchmarks import located as located_tasks

    found, task, data_dir = dict(flat), flat.get("task"), flat.get("data_dir")
    if isinstance(task, str):
        found["task"] = located_tasks(task)
    if isinstance(data_dir, str):
        found["data_dir"] = str(Path(data_dir).resolve())
    return found


def say_isolation(runs: Iterable[PlannedRun]) -> None:
    """Says on stderr, once, what programs will be locked in with, if some of the runs' questions want programs."""
    from pipeline.scoring import require_isolation

    wanting = [run for run in runs if any(one.question.kind == "code" for one in run.assignments)]
    for found in dict.fromkeys(require_isolation(run.config.scoring) for run in wanting):
        risk = (
            "" if found.complete else "; that is NO isolation: what a model writes can reach your files and processes"
        )
        sys.stderr.write(f"programs are locked in with {found.name} here{risk}\n")
