"""A planned run in words, and the same numbers for programs: what `--dry-run` shows."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from pipeline.benchmarks import BENCHMARKS
from pipeline.config import BACKENDS, DataConfig
from pipeline.runtime.cluster import joined_cluster
from pipeline.runtime.estimate import Forecast, Loaded, Machine, Range, RoleForecast, forecast, models_of, places
from pipeline.runtime.needs import ReplicaNeeds
from pipeline.runtime.placement import Seat, resources
from pipeline.runtime.planned import PlannedRun


@dataclass(frozen=True, kw_only=True)
class Outline:
    """What would be done, and what it would take."""

    lines: list[str]
    """For people."""
    numbers: dict[str, Any]
    """The same as one JSON object."""


def outline(runs: Sequence[PlannedRun], machine: Machine) -> Outline:
    """Tells what runs that differ in their task alone would do and take.

    Args:
        runs: At least one.
        machine: Where replicas would be.

    Raises:
        ValueError: A model can't be loaded, or there is no place for so many replicas; one line.
    """
    run = runs[0]
    seated, automatic = places(run, machine)
    if not joined_cluster(run.config.execution.address):
        resources(len(seated), run.config.execution, machine.capacity)
    models = models_of(run, machine)
    forecasts = [forecast(one, models, machine) for one in runs]
    team = ["dry run: nothing is started, loaded or written", *_plan(run, forecasts[0])]
    team += [*_placement(run, seated, machine, automatic), *_models(models)]
    cautions = [_cautions(*pair, machine) for pair in zip(runs, forecasts, strict=True)]
    tasks = [line for group in zip(runs, forecasts, cautions, strict=True) for line in _task(*group, machine)]
    collaboration = run.config.collaboration
    numbers = {
        "dry_run": True,
        "method": collaboration.method,
        "graph": run.plan.graph.name,
        "roles": list(run.roles),
        "device": machine.device(run.config),
        "placement": run.config.execution.placement,
        "batch_size": run.config.execution.batch_size,
        "replicas": [asdict(seat) for seat in seated],
        "models": [_model_numbers(name, loaded) for name, loaded in models.items()],
        "tasks": [
            {**_questions(one), **asdict(told), "warnings": list(words)}
            for one, told, words in zip(runs, forecasts, cautions, strict=True)
        ],
    }
    return Outline(lines=team + tasks, numbers=numbers)


def _plan(run: PlannedRun, told: Forecast) -> Iterator[str]:
    team = run.config.collaboration
    words = [f"method {team.method}", f"graph {run.plan.graph.name}"]
    if run.plan.thinkers:
        words += [f"alignment {team.alignment}", f"handover {team.handover}", f"memory {team.memory}"]
    yield f"plan: {', '.join(words)}"
    for role in told.roles:
        does = "writes" if role.latent_steps is None else f"thinks {role.latent_steps} steps"
        yield f"  {role.role}: {does}; gets {_channel(role)}"


def _channel(role: RoleForecast) -> str:
    parts = [
        f"the {what} of {', '.join(of)}" for what, of in (("memory", role.memory_of), ("text", role.texts_of)) if of
    ]
    return " and ".join(parts) or "the question alone"


def _placement(run: PlannedRun, seated: Sequence[Seat], machine: Machine, automatic: bool) -> Iterator[str]:
    execution, device = run.config.execution, machine.device(run.config)
    each = "a share of the CPUs" if device == "cpu" else f"--gpus-per-replica {execution.gpus_per_replica or 1:g}"
    way = f", memory by {execution.transport}" if execution.placement == "spread" and run.plan.thinkers else ""
    yield f"replicas: {len(seated)}, {execution.placement}, each with {each}{way}"
    for roles, group in groupby(seated, key=lambda seat: seat.roles):
        names = [seat.name for seat in group]
        span = names[0] if len(names) == 1 else f"{names[0]}..{names[-1]}"
        yield f"  {span}: {'all roles' if roles == run.roles else ', '.join(roles)}"
    if automatic:
        yield "  note: once it is known how long each role takes, the replicas are split anew"
    if joined_cluster(execution.address):
        where = execution.address or os.environ["RAY_ADDRESS"]
        has = f"{machine.capacity.gpus:g} GPUs and {machine.capacity.cpus:g} CPUs"
        yield f"  note: the cluster {where} is not asked; {has} are this machine's"


def _models(models: dict[str, Loaded]) -> Iterator[str]:
    for name, loaded in models.items():
        size, shape = loaded.footprint, loaded.footprint.shape
        on_disk = "unknown" if loaded.files.weight_bytes is None else in_words(loaded.files.weight_bytes)
        dtype = str(shape.dtype).removeprefix("torch.")
        yield f"model: {name} ({size.architecture}), {size.parameters:,} parameters, from {loaded.files.place}"
        yield f"  weights: {on_disk} on disk, {in_words(size.weight_bytes)} in memory as {dtype}"
        yield (
            f"  memory: {shape.bytes_per_position:,} bytes a position ({shape.layers} layers x {shape.heads} key/value "
            f"heads x {shape.key_size + shape.value_size} numbers x {shape.dtype.itemsize}); context {size.context}"
            f"{size.context_note}"
        )


def _task(run: PlannedRun, told: Forecast, cautions: Sequence[str], machine: Machine) -> Iterator[str]:
    about = _questions(run)
    kinds = ", ".join(f"{count} {kind}" for kind, count in about["kinds"].items())
    yield f"task {about['task']}: {about['num_questions']} questions ({kinds}) from {about['source']}"
    yield f"  positions, mean (longest) of {told.sampled} questions; texts at their cap:"
    for role in told.roles:
        adds = f"{role.new_tokens} tokens" if role.latent_steps is None else f"{role.latent_steps} latent"
        memory, prompt = _range(role.inherited_positions), _range(role.prompt_positions)
        yield f"    {role.role}: memory {memory} + prompt {prompt} + {adds}"
    if told.memory_bytes.max:
        left, handed = _bytes(told.memory_bytes), _bytes(told.handover_bytes)
        yield f"  memory of a question: {left} left behind, {handed} handed over in {told.hops} hops"
    device = "GPU" if machine.device(run.config) == "cuda" else "CPU"
    count = min(told.batch_size, len(run.assignments))
    why = "" if run.config.execution.batch_size else ", as many as there is memory for on this machine, or as there are"
    yield f"  a replica ({device}) with {count} of the longest at once{why}:"
    for needs in told.replicas:
        yield f"    {', '.join(needs.roles)}: {_needs(needs)}"
    if store := told.store:
        yield (
            f"  object store of a node: a batch claims {in_words(store.batch_bytes)} ({in_words(store.parcel_bytes)} a "
            f"role); {in_words(store.least_bytes)} take it whole, {in_words(store.full_bytes)} keep {store.under_way} "
            "batches under way"
        )
    for caution in cautions:
        yield f"  warning: {caution}"


def _needs(needs: ReplicaNeeds) -> str:
    load = f" (or {in_words(needs.loading_bytes)} while loading)" if needs.loading_bytes else ""
    return (
        f"{in_words(needs.peak_bytes)} = weights {in_words(needs.weight_bytes)} + alignment "
        f"{in_words(needs.alignment_bytes)} + cache {in_words(needs.cache_bytes)} + work "
        f"{in_words(needs.working_bytes)}{load} + {in_words(needs.process_bytes)} for the process and its libraries"
    )


def _cautions(run: PlannedRun, told: Forecast, machine: Machine) -> list[str]:
    """What can go wrong with these numbers."""
    found = []
    model = run.config.model
    if BACKENDS[model.backend].prompts_only:
        found.append(
            f"what {model.backend} takes for its own weights and cache comes on top, and is not foretold: of a GPU "
            f"{model.gpu_memory_utilization:.0%} (--gpu-memory-utilization)"
        )
    for role in told.roles:
        needed, all_of_it = role.needed_positions, role.needed_positions + role.added_positions
        if all_of_it > told.context:
            thinks, first = role.latent_steps is not None, not (role.memory_of or role.texts_of)
            lost = first and (thinks or needed > told.context)
            cut = "such turns are left out" if thinks else "texts are cut off there"
            ends = "such questions stay unscored" if lost else cut
            found.append(f"the {role.role} comes to {all_of_it} positions, and the context has {told.context}; {ends}")
    for needs in told.replicas:
        wanted = machine.on_one_gpu(needs.peak_bytes, run.config)
        if machine.device(run.config) == "cuda" and machine.gpu_bytes is not None and wanted > machine.gpu_bytes:
            found.append(
                f"a GPU's {in_words(machine.gpu_bytes)} are not enough for the {in_words(wanted)} that "
                f"{', '.join(needs.names)} need of it; lower --batch-size or --max-new-tokens"
            )
    return found


def _questions(run: PlannedRun) -> dict[str, Any]:
    kinds = Counter(assignment.question.kind for assignment in run.assignments)
    return {
        "task": run.config.data.task,
        "num_questions": len(run.assignments),
        "kinds": dict(kinds),
        "source": source_of(run.config.data),
    }


def source_of(data: DataConfig) -> str:
    """Where a task's questions come from, in words."""
    benchmark = BENCHMARKS.get(data.task)
    if benchmark is None:
        return data.task
    if benchmark.embedded:
        return "this package"
    if data.data_dir is not None:
        return f"{data.data_dir}/{benchmark.file}"
    return ", ".join(filter(None, (f"the Hub: {benchmark.hub_id}", benchmark.config, benchmark.split)))


def _model_numbers(name: str, loaded: Loaded) -> dict[str, Any]:
    size, shape = loaded.footprint, loaded.footprint.shape
    return {
        "name": name,
        "place": loaded.files.place,
        "disk_bytes": loaded.files.weight_bytes,
        "architecture": size.architecture,
        "parameters": size.parameters,
        "weight_bytes": size.weight_bytes,
        "dtype": str(shape.dtype).removeprefix("torch."),
        "layers": shape.layers,
        "key_value_heads": shape.heads,
        "key_size": shape.key_size,
        "value_size": shape.value_size,
        "bytes_per_position": shape.bytes_per_position,
        "context": size.context,
    }


def in_words(size: float) -> str:
    """Bytes as people read them."""
    unit, name = next(((10**p, n) for p, n in ((9, "GB"), (6, "MB"), (3, "kB")) if size >= 10**p), (1, "bytes"))
    return f"{size / unit:.{1 if unit > 1 else 0}f} {name}"


def _range(values: Range) -> str:
    return f"{values.mean:.0f} ({values.max})"


def _bytes(values: Range) -> str:
    return f"{in_words(values.mean)} ({in_words(values.max)})"
