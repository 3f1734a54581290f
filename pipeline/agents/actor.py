"""A model replica as an actor: a thin Ray shell around a team. Importing this is cheap: torch is loaded with the model.

Every method is a pure function of its arguments, so a turn that was lost with its replica can be taken again on any
other one. The actor returns its parcels; it never puts them into the store itself, because then they would die with it.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import ray

from pipeline.config import CARRIERS, RunConfig
from pipeline.graphs import CollaborationPlan
from pipeline.records import LegOrder

if TYPE_CHECKING:
    from pipeline.memory.transport import Parcel

LOST_DEVICE = 70
"""Exit code of a replica whose GPU does not answer any more; Ray starts it again."""
TIED = "the model ties its input and output embeddings, so the ridge alignment W_a is the identity up to lambda"
"""What users should know of such a model."""


@dataclass(frozen=True, kw_only=True)
class ReplicaStatus:
    """A loaded replica, or why it could not be loaded."""

    failure: str = ""
    """Why it can't work; empty if it can."""
    notice: str = ""
    """What users should know of its model."""
    load_seconds: float = 0.0
    """How long loading took."""
    fingerprint: str = ""
    """What its working memory is valid for."""
    memory_form: tuple[tuple[str, str], ...] = ()
    """What the working memory of two models must have in common to be handed on, by name."""
    pid: int = 0
    """Its process."""
    node: str = ""
    """The id of its node."""


class Replica:
    """One model replica that can play all roles of a plan."""

    def __init__(
        self, settings: dict[str, Any], plan: CollaborationPlan, name: str, model: str, threads: int, gpus: float
    ) -> None:
        """Loads the model.

        Args:
            settings: The run's settings, flat.
            plan: Who works together.
            name: What the replica is called.
            model: The checkpoint.
            threads: Compute threads on a CPU; no more than the node has cores.
            gpus: What it has of the GPUs; with none it computes on the CPU, whatever it can see.
        """
        began = time.perf_counter()
        self._config, self._plan, self._name = RunConfig.from_flat(settings), plan, name
        self._threads = min(threads, len(os.sched_getaffinity(0)))
        self._kept: dict[str, Parcel] = {}
        try:
            self._status = self._load(model, gpus)
        except ValueError as error:  # told to the driver as a status: an exception would drown in Ray's own words
            self._status = ReplicaStatus(failure=str(error))
        here = ray.get_runtime_context().get_node_id()
        loading = time.perf_counter() - began
        self._status = replace(self._status, load_seconds=loading, pid=os.getpid(), node=here)

    def status(self) -> ReplicaStatus:
        """What there is to know before work begins."""
        return self._status

    @ray.method(concurrency_group="io")  # type: ignore[untyped-decorator]
    def prefetch(self, *_: Parcel) -> None:
        """Brings parcels into this node's store while the replica works on something else."""

    @ray.method(concurrency_group="io")  # type: ignore[untyped-decorator]
    def hand_out(self, key: str) -> Parcel:
        """Gives away a parcel that `take_leg` kept because its transport allows one object a call."""
        return self._kept.pop(key)

    def take_leg(self, order: LegOrder, refs: Sequence[Any], *direct: Parcel) -> Any:
        """Plays a stretch of roles.

        Args:
            order: What to do.
            refs: References of the parcels that come through the object store.
            direct: The parcels that come past it, from device to device.

        Returns:
            The report, and after it a parcel for each role in `order.send`: none for one larger than the limit, and
            none for one that is kept for `hand_out`.
        """
        import torch

        from pipeline.agents.leg import play_leg

        torch.set_num_threads(self._threads)  # a setting of the thread, and this one is not the one that loaded
        began = time.perf_counter()
        arrived = [*ray.get(list(refs)), *direct]
        fetching = time.perf_counter() - began
        report, parcels = play_leg(self._team, self._name, self._carrier, order, arrived, fetching=fetching)
        if report.failed:
            self._check_device()
        report = replace(report, seconds=time.perf_counter() - began, peak_bytes=self._peak_bytes())
        if self._carrier.direct:
            self._kept.update({f"{order.key}/{role}": p for role, p in zip(order.send, parcels, strict=True) if p})
            return report
        return (report, *parcels) if parcels else report

    def _load(self, model: str, gpus: float) -> ReplicaStatus:
        import torch

        from pipeline.agents.team import build_team
        from pipeline.engine import load_model

        torch.set_num_threads(self._threads)
        config = self._config
        place: dict[str, Any] = {"gpus": max(1, int(gpus))} if gpus else {"device": "cpu"}
        lm = load_model(replace(config.model, model=model), **place)
        self._carrier = CARRIERS[config.execution.transport]
        self._team = build_team(lm, config, self._plan, keep_inputs=self._carrier.inputs)
        self._lm = lm
        tied = self._plan.thinkers and config.collaboration.alignment == "ridge" and lm.tied
        return ReplicaStatus(
            notice=TIED if tied else "",
            fingerprint=lm.fingerprint,
            memory_form=lm.memory_form,
        )

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
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
