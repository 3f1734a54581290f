"""The crew from run to run: models that are loaded stay loaded as long as the next run needs the same ones.

Runs may differ in everything that a briefing tells replicas: method, graph, controls, decoding, questions. A run that
needs other models, another placement, another number of replicas or another cluster ends the crew, and gets its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from ray.exceptions import RayError

from pipeline.agents.actor import Briefing, Replica
from pipeline.config import RunConfig, Transport
from pipeline.runtime.cluster import connected, joined_cluster
from pipeline.runtime.crew import Crew, Say, briefed, cluster_capacity, started_crew
from pipeline.runtime.placement import Capacity, Seat, seats


@dataclass(frozen=True, kw_only=True)
class Need:
    """What a crew is started with: runs that agree in it can share one."""

    models: tuple[tuple[str, str], ...]
    """The replicas by name, and the checkpoint of each."""
    dtype: str
    """Number format of weights and cache."""
    serving: tuple[str, float, int]
    """What writes texts, with its share of the GPUs' memory, over how many of them."""
    trust_remote_code: bool
    """Whether checkpoints may bring code."""
    placement: str
    """Spread replicas are in a placement group."""
    gpus_per_replica: float | None
    """As the setting has it."""
    transport: Transport
    """Direct ones connect the replicas' devices."""

    @classmethod
    def of(cls, config: RunConfig, places: Sequence[Seat]) -> Self:
        """What a run needs."""
        return cls(
            models=tuple((seat.name, seat.model) for seat in places),
            dtype=config.model.dtype,
            serving=(config.model.backend, config.model.gpu_memory_utilization, config.model.tensor_parallel_size),
            trust_remote_code=config.model.trust_remote_code,
            placement=config.execution.placement,
            gpus_per_replica=config.execution.gpus_per_replica,
            transport=config.execution.transport,
        )


class Crews:
    """One crew after another, in a block that ends the last one and the connection to its cluster."""

    def __init__(self, replica: type = Replica) -> None:
        """Nothing is started before a run needs it.

        Args:
            replica: The class of the replicas' actors.
        """
        self._replica = replica
        self._connection, self._work = ExitStack(), ExitStack()
        self._address: tuple[str | None] | None = None  # of the cluster, once there is a connection
        self._crew: Crew | None = None
        self._need: Need | None = None
        self._refused: dict[Need, str] = {}  # crews that could not be started, with the reason

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._leave()

    @contextmanager
    def at_work(self, briefing: Briefing, say: Say, meanwhile: Callable[[], None] = lambda: None) -> Iterator[Crew]:
        """The crew for a run, briefed. A block that fails ends it: what it was in the middle of is not the next run's.

        Args:
            briefing: What the run is about.
            say: Told what is being waited for.
            meanwhile: Done once, while replicas load where some have to; what it raises goes on.

        Raises:
            ValueError: The cluster does not answer or can't hold the replicas, a model can't be loaded, or the run
                can't be on it.
            RayError: A replica was lost while it was being briefed.
        """
        crew = self._ready(briefing, say, meanwhile)
        try:
            yield crew
        except BaseException:
            self._dismiss()
            raise

    def _ready(self, briefing: Briefing, say: Say, meanwhile: Callable[[], None]) -> Crew:
        config, roles = briefing.config, tuple(role.name for role in briefing.plan.graph.roles)
        self._connect(config.execution.address)
        capacity = cluster_capacity()
        places, automatic = seats(roles, config.execution, config.model, capacity)
        need = Need.of(config, places)
        crew = self._again(need, places, briefing, say)
        if crew is None:
            crew = briefed(self._started(need, places, config, capacity, say, meanwhile), places, briefing)
        else:
            meanwhile()
        return replace(crew, automatic=automatic)

    def _again(self, need: Need, places: Sequence[Seat], briefing: Briefing, say: Say) -> Crew | None:
        """The crew of the last run, if it will do and is whole."""
        if self._crew is None or self._need != need:
            return None
        try:
            return briefed(self._crew, places, briefing)
        except RayError:
            say("note: a replica has died since the last run; all of them are started anew")
            return None

    def _started(
        self,
        need: Need,
        places: Sequence[Seat],
        config: RunConfig,
        capacity: Capacity,
        say: Say,
        meanwhile: Callable[[], None],
    ) -> Crew:
        """A new crew in place of the one that there is."""
        self._dismiss()
        if need in self._refused:  # it would load the model again only to end the same way
            raise ValueError(self._refused[need])
        if not capacity.gpus and config.execution.gpus_per_replica is None and joined_cluster(config.execution.address):
            say("note: the cluster has no GPU now, so CPUs compute; --gpus-per-replica 1 waits for GPUs")
        try:
            with self._refusals(need):
                loaded = self._work.enter_context(started_crew(places, config, say, self._replica))
            meanwhile()
            with self._refusals(need):
                self._crew = loaded()
        except BaseException:
            self._dismiss()
            raise
        self._need = need
        return self._crew

    @contextmanager
    def _refusals(self, need: Need) -> Iterator[None]:
        """Remembers why a crew could not be started."""
        try:
            yield
        except ValueError as error:
            self._refused[need] = str(error)
            raise

    def _connect(self, address: str | None) -> None:
        if self._address != (address,):
            self._leave()
            self._connection.enter_context(connected(address))
            self._address = (address,)

    def _dismiss(self) -> None:
        self._crew = self._need = None
        self._work.close()

    def _leave(self) -> None:
        self._dismiss()
        self._address = None
        self._refused.clear()  # another cluster may have what this one had not
        self._connection.close()
