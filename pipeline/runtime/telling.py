"""A run folder as the one record that the tracker gets: while the run goes on, at its end, or later."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.config import RunConfig
from pipeline.runtime.facts import BACKEND, began_at, read_facts
from pipeline.runtime.history import FILE as HISTORY
from pipeline.runtime.history import read_points
from pipeline.runtime.results import RunFolder
from pipeline.runtime.told_tables import agents_table, predictions_table
from pipeline.tracking import NOTICE, QuestionSet, RunRecord, Status, flattened, without_secrets

TAGS = ("method", "graph", "model", "task", "handover", "memory", "alignment", "placement", "transport")
CONTROLS = ("experts", "handover", "memory", "alignment", "budget")
"""Settings that a run's name tells where they are not the default."""
NOTICES = 4000
"""Characters of a run's notices that are told."""
SETTINGS = "config.yaml"
FILES = ("predictions.parquet", "graph.yaml", "metrics.json", "run.json", HISTORY)
"""What of a run folder is kept as it is; its settings are kept without passwords."""


def run_record(folder: RunFolder, config: RunConfig, *, whole: bool = True) -> RunRecord:
    """All that there is to tell of a run.

    Args:
        folder: Its folder.
        config: Its settings as they are now; a resumed run may have changed some.
        whole: Whether results are told too, or only what is known from the beginning.
    """
    facts = read_facts(folder)
    settings = config.flat()
    mark = facts.get("sweep")
    first = RunRecord(
        name=run_name(config),
        experiment=experiment_of(config),
        tags=_tags(settings, facts),
        text=description(config, facts, folder.path),
        params=_params(settings),
        started=began_at(folder),
        questions=QuestionSet(**facts["questions"]) if "questions" in facts else None,
        task=config.data.task,
        parent=sweep_record(mark, config) if mark else None,
    )
    return _with_results(first, folder, config, facts) if whole else first


def sweep_record(mark: Mapping[str, Any], config: RunConfig) -> RunRecord:
    """A sweep as its runs' parent in their experiment.

    Args:
        mark: What their folders hold of it: id, name, and the settings that all of them share.
        config: The settings of one of them.
    """
    settings = {name: value for name, value in config.flat().items() if name in mark["shared"]}
    return RunRecord(
        name=mark["name"],
        experiment=experiment_of(config),
        tags={"kind": "sweep", "sweep": mark["id"]},
        params=_params(settings),
    )


def experiment_of(config: RunConfig) -> str:
    """The MLflow experiment of a run: one a benchmark."""
    return config.tracking.experiment or f"latentmas/{config.data.task}"


def run_name(config: RunConfig) -> str:
    """A name that tells runs of one experiment apart: method, graph, model, m, controls and seed."""
    parts: list[str] = [config.collaboration.method]
    if config.collaboration.method != "single":
        parts.append(Path(config.collaboration.graph).stem)
    parts.append(config.model.model.rstrip("/").rsplit("/", 1)[-1])
    if config.collaboration.method == "latent_mas":
        parts.append(f"m{config.collaboration.latent_steps}")
    defaults = RunConfig().flat()
    parts += [str(value) for name, value in config.flat().items() if name in CONTROLS and value != defaults[name]]
    if config.decoding.seed != defaults["seed"]:
        parts.append(f"seed{config.decoding.seed}")
    return "-".join(parts)


def description(config: RunConfig, facts: Mapping[str, Any], path: Path, metrics: Mapping[str, Any] = {}) -> str:
    """A run in a few lines of Markdown, for those who open it in the MLflow UI."""
    count = facts.get("questions", {}).get("count")
    asked = f"{count} questions of {config.data.task}" if count else config.data.task
    lines = [f"**{run_name(config)}** answers {asked}."]
    if metrics:
        low, high = (100 * metrics[name] for name in ("accuracy_low", "accuracy_high"))
        lines.append(
            f"Accuracy **{100 * metrics['accuracy']:.1f} %** (95 % interval {low:.1f} to {high:.1f}), "
            f"lenient {100 * metrics['accuracy_lenient']:.1f} %; "
            f"{metrics['output_tokens_per_question']:.1f} tokens a question; "
            f"{metrics['seconds']:.1f} s; {metrics['num_unscored']} unscored."
        )
    if facts.get("command"):
        changed = " (with changes)" if facts["git_dirty"] else ""
        code = f", commit `{facts['git_commit'][:12]}`{changed}" if facts["git_commit"] else ""
        lines.append(f"`{facts['command']}`{code}")
    lines.append(f"Rows, settings and everything else: `{path}` on {facts.get('host') or 'the machine of the run'}.")
    return "\n\n".join(lines)


def _with_results(first: RunRecord, folder: RunFolder, config: RunConfig, facts: Mapping[str, Any]) -> RunRecord:
    rows, ended = folder.read(), facts.get("status", "FINISHED") == "FINISHED"
    metrics = folder.read_json("metrics.json") if ended else {}  # else they are those of an earlier attempt
    tables = {"tables/predictions.json": predictions_table(rows), "tables/agents.json": agents_table(rows)}
    return replace(
        first,
        text=description(config, facts, folder.path, metrics),
        ended=facts.get("ended") or max((row.finished for row in rows), default=first.started),
        status=status_of(facts, metrics),
        metrics=metrics,
        history=read_points(folder),
        tables=tables if rows else {},
        files=[folder.path / name for name in FILES if (folder.path / name).is_file()],
        made={SETTINGS: _settings_of(folder), **(figures_of(metrics) if metrics else {})},
        traced=[row for row in rows if any(turn.prompt for turn in row.turns)],
    )


def status_of(facts: Mapping[str, Any], metrics: Mapping[str, Any]) -> Status:
    """How a run is that nobody works on; what says that it is running was killed before it could say anything else."""
    status: Status = facts.get("status", "FINISHED" if metrics else "KILLED")
    return "KILLED" if status == "RUNNING" else status


def notices_of(facts: Mapping[str, Any]) -> str:
    """What readers of a run should know, a line each; of very much the last part."""
    return "\n".join(facts.get("notices", []))[-NOTICES:]


def figures_of(metrics: Mapping[str, Any]) -> dict[str, bytes]:
    """What is drawn of one run: seconds and tokens of each agent."""
    from pipeline.reports.figures import agents_figure

    drawing = agents_figure(metrics)
    files = {"png": drawing.png, "svg": drawing.svg.encode(), "csv": drawing.csv.encode()}
    return {f"figures/{drawing.name}.{ending}": content for ending, content in files.items()}


def _settings_of(folder: RunFolder) -> bytes:
    return without_secrets((folder.path / SETTINGS).read_text("utf-8")).encode()


def _tags(settings: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, str]:
    commit, command = facts.get("git_commit", ""), facts.get("command", "")
    own = {
        "mlflow.user": facts.get("user", ""),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": " ".join(shlex.split(command)[1:2]),
        "mlflow.source.git.commit": commit,
        "git_commit": commit,
        NOTICE: notices_of(facts),
    }
    told = {tag: str(settings[tag]) for tag in TAGS}
    return {**told, "backend": facts.get("backend", BACKEND), **{name: value for name, value in own.items() if value}}


def _params(settings: Mapping[str, Any]) -> dict[str, str]:
    return {name: without_secrets(value) for name, value in flattened(settings)}
