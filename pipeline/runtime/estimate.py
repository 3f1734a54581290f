"""What a run would take: its plan, positions, memory handed over, and memory of each replica. No Ray, no weights.

Prompts are the real ones, rendered for some of the questions with the model's own tokenizer; texts are taken to run to
their cap; model sizes are measured on the meta device, and cache sizes follow what the engine allocates.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pipeline.agents.fitting import LIKELY, MOST, PROCESS, at_once
from pipeline.agents.lengths import Lengths, caps_of, lengths_of
from pipeline.agents.rehearsal import rehearse
from pipeline.agents.spare import spare_memory
from pipeline.checkpoints import ModelFiles, model_files
from pipeline.config import BACKENDS, RunConfig
from pipeline.engine.footprint import Footprint, measure
from pipeline.engine.loading import first_line
from pipeline.runtime.needs import ReplicaNeeds, StoreNeeds, Team, replica_needs, store_needs
from pipeline.runtime.placement import Capacity, Seat, seats, sharing
from pipeline.runtime.planned import PlannedRun
from pipeline.runtime.samples import sampled


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where replicas would be."""

    capacity: Capacity
    """GPUs, CPUs and nodes."""
    gpu_bytes: int | None = None
    """Memory of one GPU; none if none can be seen."""
    free_bytes: int | None = None
    """Memory of the machine that is free; none if that is not known."""

    def device(self, config: RunConfig) -> str:
        """What replicas would compute on: `cuda` or `cpu`."""
        asked = config.execution.gpus_per_replica
        return "cuda" if (self.capacity.gpus if asked is None else asked) else "cpu"

    def on_one_gpu(self, replica_bytes: int, config: RunConfig) -> int:
        """What one GPU holds of replicas of so many bytes, where several share one or one is spread over several."""
        each = config.execution.gpus_per_replica or 1.0
        return replica_bytes * sharing(each) if each < 1 else int(replica_bytes / each)


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A checkpoint that would be loaded."""

    files: ModelFiles
    """Where from."""
    footprint: Footprint
    """How large it is."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """A quantity that differs from question to question."""

    mean: float
    """Of the sampled questions."""
    max: int
    """The largest of them."""

    @classmethod
    def of(cls, values: Sequence[int]) -> Range:
        """Mean and maximum of at least one value."""
        return cls(mean=sum(values) / len(values), max=max(values))


@dataclass(frozen=True, kw_only=True)
class RoleForecast:
    """One role's turn on one question."""

    role: str
    """Whose."""
    memory_of: tuple[str, ...]
    """Roles whose memory it gets."""
    texts_of: tuple[str, ...]
    """Roles whose texts it gets."""
    latent_steps: int | None
    """Latent steps that it takes; none if it writes."""
    new_tokens: int
    """Tokens that it writes at most."""
    prompt_positions: Range
    """Its prompt, with others' texts at their cap."""
    inherited_positions: Range
    """Memory that reaches it."""
    handover_bytes: Range
    """What of it is handed over, as a run counts it."""
    needed_positions: int
    """Memory and prompt of the longest question, had the model's context no end."""
    added_positions: int
    """What it then thinks or writes at most."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What the questions of one task take."""

    sampled: int
    """Questions whose prompts were rendered."""
    batch_size: int
    """Questions that a replica works on at once: the number set, or the one that would be chosen here."""
    context: int
    """Positions that the model can use."""
    roles: tuple[RoleForecast, ...]
    """In working order."""
    memory_bytes: Range
    """Working memory that the thinking agents leave behind for a question."""
    handover_bytes: Range
    """Bytes handed over for a question, over all hops."""
    hops: int
    """How many turns get memory."""
    replicas: tuple[ReplicaNeeds, ...]
    """What replicas need; those with the same roles together."""
    store: StoreNeeds | None
    """What memory under way needs of the object store, if it travels through it."""


def this_machine() -> Machine:
    """The GPUs and CPUs that this process can use; a cluster's other nodes are not asked."""
    gpus = torch.cuda.device_count()
    gpu_bytes = torch.cuda.get_device_properties(0).total_memory if gpus else None
    capacity = Capacity(gpus=gpus, cpus=len(os.sched_getaffinity(0)))
    return Machine(capacity=capacity, gpu_bytes=gpu_bytes, free_bytes=spare_memory().free_bytes)


def models_of(run: PlannedRun, machine: Machine) -> dict[str, Loaded]:
    """What would be loaded, by checkpoint.

    Raises:
        ValueError: A model can't be loaded or can't hand over memory; one line.
    """
    model, device = run.config.model, machine.device(run.config)
    files = {name: model_files(name) for name in dict.fromkeys(map(model.of_role, run.roles))}
    return {name: Loaded(files=f, footprint=measure(model, f, device=device)) for name, f in files.items()}


def places(run: PlannedRun, machine: Machine) -> tuple[tuple[Seat, ...], bool]:
    """The replicas that a run would have, and whether their roles would be split anew by measured time.

    Raises:
        ValueError: The numbers don't fit the roles.
    """
    return seats(run.roles, run.config.execution, run.config.model, machine.capacity)


def forecast(run: PlannedRun, models: Mapping[str, Loaded], machine: Machine) -> Forecast:
    """Foretells what the questions of a run take.

    Args:
        run: The run.
        models: What `models_of` found.
        machine: Where.

    Raises:
        ValueError: The tokenizer can't be loaded, or the numbers of replicas don't fit the roles.
    """
    config, seated = run.config, places(run, machine)[0]
    sample = sampled(run.assignments)
    loaded = models[config.model.of_role(run.plan.graph.answering.name)]
    parts = rehearse(sample, run.plan, tokenizer_of(loaded.files, config), config.model.chat_options)
    caps, size = caps_of(run.plan, config.decoding), loaded.footprint
    lengths = lengths_of(parts, handover=config.collaboration.handover, caps=caps, context=size.context)
    short = {role: min(cap, LIKELY) for role, cap in caps.items()}
    likely = lengths_of(parts, handover=config.collaboration.handover, caps=short, context=size.context)
    likely = likely.thinking() if BACKENDS[config.model.backend].prompts_only else likely
    count = config.execution.batch_size or _chosen(run, likely, size, len(seated), machine)
    team = Team(
        config=config,
        plan=run.plan,
        rows=lengths.rows(min(count, len(run.assignments))),
        sizes={name: one.footprint for name, one in models.items()},
        device=machine.device(config),
    )
    handed = {role: _handed(role, lengths, seated, loaded.footprint, team) for role in run.roles}
    thought = [turn.handed for turn in lengths.turns if turn.latent_steps is not None]
    unit = loaded.footprint.shape.bytes_per_position
    return Forecast(
        sampled=len(sample),
        batch_size=count,
        context=loaded.footprint.context,
        roles=tuple(_role_forecast(role, lengths, handed[role]) for role in run.roles),
        memory_bytes=Range.of([unit * sum(row) for row in zip(*thought, strict=True)] or [0]),
        handover_bytes=Range.of([sum(row) for row in zip(*handed.values(), strict=True)]),
        hops=sum(bool(turn.inherits) for turn in lengths.turns),
        replicas=replica_needs(seated, team),
        store=store_needs(seated, team),
    )


def _chosen(run: PlannedRun, likely: Lengths, size: Footprint, replicas: int, machine: Machine) -> int:
    """The number that replicas on this machine would choose."""
    device, each = machine.device(run.config), run.config.execution.gpus_per_replica or 1.0
    most = -(-len(run.assignments) // replicas)
    memory = machine.gpu_bytes if device == "cuda" else machine.free_bytes
    if memory is None:
        return min(most, MOST[device])
    sharers = replicas if device == "cpu" else sharing(each) if each < 1 else 1
    alignment = sum(size.alignment_bytes(run.config.collaboration.alignment)[:1]) if run.plan.thinkers else 0
    free = int(memory * max(each, 1.0) * run.config.own_share) if device == "cuda" else memory
    free = free // sharers - size.weight_bytes - alignment - PROCESS[device]
    ahead = run.config.execution.lookup_tokens
    return at_once(likely, size, device, free_bytes=max(free, 0), most=most, guesses=ahead)


def tokenizer_of(files: ModelFiles, config: RunConfig) -> Any:
    """A model's tokenizer.

    Raises:
        ValueError: It can't be loaded.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(**files.source, trust_remote_code=config.model.trust_remote_code)
    except Exception as error:  # transformers and the formats under it raise all kinds; for the user it is one thing
        raise ValueError(f"--model {files.name!r} can't be loaded: {first_line(error)}") from error


def _handed(role: str, lengths: Lengths, seated: Sequence[Seat], size: Footprint, team: Team) -> list[int]:
    """Bytes of memory that reach a role, question by question."""
    turn, unit = lengths.of(role), size.shape.bytes_per_position
    totals = [0] * len(turn.prompts)
    for maker in map(lengths.of, turn.inherits):
        near = any({role, maker.role} <= set(seat.roles) for seat in seated)
        as_inputs = team.itinerary.carrier.inputs and not near
        sizes = (
            size.input_bytes(maker.prompts, maker.latent_steps or 0) if as_inputs else [unit * n for n in maker.handed]
        )
        totals = [total + more for total, more in zip(totals, sizes, strict=True)]
    return totals


def _role_forecast(role: str, lengths: Lengths, handed: Sequence[int]) -> RoleForecast:
    turn = lengths.of(role)
    return RoleForecast(
        role=role,
        memory_of=turn.inherits,
        texts_of=lengths.notes[role],
        latent_steps=turn.latent_steps,
        new_tokens=turn.new_tokens,
        prompt_positions=Range.of(turn.prompts),
        inherited_positions=Range.of(lengths.inherited(role)),
        handover_bytes=Range.of(handed),
        needed_positions=lengths.needed[role],
        added_positions=lengths.added[role],
    )
