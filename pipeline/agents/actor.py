"""A model replica as an actor: a thin Ray shell around a team. Importing this is cheap: torch is loaded with the model.

A replica loads its model once and is briefed for each run: then every method is a pure function of its arguments, so a
turn that was lost with its replica can be taken again on any other one. The actor returns its parcels; it never puts
them into the store itself, because then they would die with it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import ray

from pipeline.agents.resident import forget_peak, peak_resident_bytes
from pipeline.config import CARRIERS, ModelConfig, RunConfig
from pipeline.graphs import CollaborationPlan
from pipeline.records import Assignment, LegOrder

if TYPE_CHECKING:
    from pipeline.agents.agent import Agent
    from pipeline.engine.served import Server
    from pipeline.memory.transport import Parcel

LOST_DEVICE = 70
"""Exit code of a replica whose GPU does not answer any more; Ray starts it again."""
TIED = "the model ties its input and output embeddings, so the ridge alignment W_a is the identity up to lambda"
"""What users should know of such a model."""


class UnbriefedError(Exception):
    """A replica was given an order of a run that it was not briefed for."""


@dataclass(frozen=True, kw_only=True)
class Briefing:
    """What a replica has to know of a run before its first order."""

    config: RunConfig
    """The run's settings."""
    plan: CollaborationPlan
    """Who works together."""
    questions: int = 0
    """How many there are to ask."""
    sample: tuple[Assignment, ...] = ()
    """Some of them, by which replicas find out how many they have memory for where no number is set."""
    most: int = 1
    """Where no number is set, a replica works on so many at once at most."""
    sharing: int = 1
    """How many replicas share the memory of a machine or a GPU."""
    key: str = field(default_factory=lambda: uuid4().hex)
    """Goes with every order, so that a replica that was started anew unseen does not take one in ignorance."""


@dataclass(frozen=True, kw_only=True)
class ReplicaStatus:
    """A loaded replica, or why it could not be loaded."""

    failure: str = ""
    """Why it can't work; empty if it can."""
    notice: str = ""
    """What users should know of its model."""
    load_seconds: float = 0.0
    """How long it took to get ready: to load the model, unless an earlier run did, and to build the team."""
    fingerprint: str = ""
    """What its working memory is valid for."""
    memory_form: tuple[tuple[str, str], ...] = ()
    """What the working memory of two models must have in common to be handed on, by name."""
    pid: int = 0
    """Its process."""
    node: str = ""
    """The id of its node."""
    at_once: int = 0
    """Questions that it works on at once in the run, once it is briefed; 0 where nothing limits them."""
    foretold_bytes: int = 0
    """What its peak memory in the run is expected to be; 0 where it has no questions to tell by."""


class Replica:
    """One model replica that can play all roles of any plan, of one run at a time."""

    _server: Server | None = None  # what writes its texts, if that is another engine

    def __init__(self, model: ModelConfig, name: str, threads: int, gpus: float) -> None:
        """Loads the model.

        Args:
            model: The checkpoint, and how to load it.
            name: What the replica is called.
            threads: Compute threads on a CPU; no more than the node has cores.
            gpus: What it has of the GPUs; with none it computes on the CPU, whatever it can see.
        """
        began = time.perf_counter()
        self._name, self._threads = name, min(threads, len(os.sched_getaffinity(0)))
        self._kept: dict[str, Parcel] = {}
        self._team: dict[str, Agent] = {}
        self._briefed_for = ""
        try:
            self._status = self._load(model, gpus)
        except ValueError as error:  # told to the driver as a status: an exception would drown in Ray's own words
            self._status = ReplicaStatus(failure=str(error))
        here = ray.get_runtime_context().get_node_id()
        self._loading = time.perf_counter() - began
        self._status = replace(self._status, load_seconds=self._loading, pid=os.getpid(), node=here)

    def status(self) -> ReplicaStatus:
        """What there is to know of the model once it is loaded, or why it is not."""
        return self._status

    def brief(self, briefing: Briefing) -> ReplicaStatus:
        """Gets ready for a run: the model stays, the team is built anew.

        Returns:
            The status; its failure says why the run can't be on this model, its notice what users should know.
        """
        began = time.perf_counter()
        self._briefed_for, self._team, self._kept = "", {}, {}
        if self._status.failure:
            return self._status
        try:
            notice = self._gather(briefing)
        except ValueError as error:
            return replace(self._status, failure=str(error))
        self._briefed_for = briefing.key
        seconds, self._loading = self._loading + time.perf_counter() - began, 0.0
        told = replace(self._status, at_once=self._crowd.at_once or 0, foretold_bytes=self._foretold)
        return replace(told, notice=notice, load_seconds=seconds)

    @ray.method(concurrency_group="io")  # type: ignore[untyped-decorator]
    def prefetch(self, *_: Parcel) -> None:
        """Brings parcels into this node's store while the replica works on something else.

        Were calls taken strictly in order, Ray would let all later ones wait until these parcels are there.
        """

    @ray.method(concurrency_group="io")  # type: ignore[untyped-decorator]
    def hand_out(self, key: str) -> Parcel:
        """Gives away a parcel that `take_leg` kept because its transport allows one object a call."""
        return self._kept.pop(key)

    def take_leg(self, briefing: str, order: LegOrder, refs: Sequence[Any], *direct: Parcel) -> Any:
        """Plays a stretch of roles; several at once go through one running batch, each in a thread of its own.

        Args:
            briefing: The key of the briefing that the order goes with.
            order: What to do.
            refs: References of the parcels that come through the object store.
            direct: The parcels that come past it, from device to device.

        Returns:
            The report, and after it a parcel for each role in `order.send`: none for one larger than the limit, and
            none for one that is kept for `hand_out`.

        Raises:
            UnbriefedError: The replica has not had that briefing.
        """
        if briefing != self._briefed_for:
            raise UnbriefedError(f"replica {self._name} was started anew and knows nothing of the run")
        import torch

        from pipeline.agents.leg import play_leg

        torch.set_num_threads(self._threads)  # a setting of the thread, and this one is not the one that loaded
        began = time.perf_counter()
        arrived = [*ray.get(list(refs)), *direct]
        fetching = time.perf_counter() - began
        report, parcels = play_leg(
            self._team,
            self._name,
            self._carrier,
            order,
            arrived,
            fetching=fetching,
            crowd=self._crowd,
            staging=self._staging,
        )
        if report.failed:
            self._check_device()
        report = replace(report, seconds=time.perf_counter() - began, peak_bytes=self._peak_bytes())
        if self._carrier.direct:
            self._kept.update({f"{order.key}/{role}": p for role, p in zip(order.send, parcels, strict=True) if p})
            return report
        return (report, *parcels) if parcels else report

    def _load(self, model: ModelConfig, gpus: float) -> ReplicaStatus:
        import torch

        from pipeline.agents.team import Alignments
        from pipeline.engine import load_model, start_server
        from pipeline.memory import Staging

        torch.set_num_threads(self._threads)
        place: dict[str, Any] = {"gpus": max(1, int(gpus))} if gpus else {"device": "cpu"}
        self._lm = load_model(model, **place)
        self._server = start_server(model, self._lm, gpus=gpus)
        self._alignments, self._staging = Alignments(self._lm), Staging()
        return ReplicaStatus(fingerprint=self._lm.fingerprint, memory_form=self._lm.memory_form)

    def _gather(self, briefing: Briefing) -> str:
        """Builds the team of a run; returns what users should know of the model in it."""
        import torch

        from pipeline.agents.crowd import Crowd
        from pipeline.agents.team import build_team
        from pipeline.engine import running_batch

        torch.set_num_threads(self._threads)
        config, plan, lm = briefing.config, briefing.plan, self._lm
        self._carrier = CARRIERS[config.execution.transport]
        batch = running_batch(lm, self._server, guesses=config.execution.lookup_tokens)
        keep = self._carrier.inputs or batch.served
        self._team = build_team(lm, config, plan, keep_inputs=keep, alignments=self._alignments)
        self._crowd = Crowd(batch)  # in place of the last run's, whose memory is free from here on
        self._foretold = self._size(briefing)
        forget_peak()
        for device in lm.devices:
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
        return TIED if plan.thinkers and config.collaboration.alignment == "ridge" and lm.tied else ""

    def _size(self, briefing: Briefing) -> int:
        """Finds out how many questions it works on at once; returns what its peak memory is expected to be."""
        from pipeline.agents.sizing import size_of

        self._crowd.at_once = briefing.config.execution.batch_size
        if not briefing.sample:
            return 0
        config, plan, sample = briefing.config, briefing.plan, briefing.sample
        more = {"most": briefing.most, "sharing": briefing.sharing}
        size = size_of(self._lm, config, plan, sample, served=self._crowd.batch.served, **more)
        self._crowd.at_once = size.at_once
        if size.fits:  # all at once, so that nothing moves later
            self._crowd.batch.cache.reserve(rows=size.held.slots, columns=size.held.columns)
        return 0 if self._crowd.batch.served else size.peak_bytes  # of the other engine's nothing is foretold

    def _check_device(self) -> None:
        """Ends the process if a fault has left the GPU unusable: else this replica would fail all questions to come."""
        import torch

        try:
            self._lm.synchronize()
            torch.zeros(1, device=self._lm.device).add_(1).item()
        except RuntimeError:
            os._exit(LOST_DEVICE)

    def _peak_bytes(self) -> int:
        import torch

        if self._lm.device.type == "cuda":
            return sum(int(torch.cuda.max_memory_allocated(device)) for device in self._lm.devices)
        return peak_resident_bytes()
