"""What tells the methods apart, as data: the graph they walk and the channel between agents."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.config import CollaborationConfig, Method
from pipeline.graphs.graph import Graph, load_graph


@dataclass(frozen=True, kw_only=True)
class MethodKind:
    """One method of collaboration."""

    alone: bool
    """Whether one agent answers by itself, whatever the graph."""
    thinks: bool
    """Whether the agents before the last think instead of writing, and hand over memory instead of text."""


METHODS: dict[Method, MethodKind] = {
    "single": MethodKind(alone=True, thinks=False),
    "text_mas": MethodKind(alone=False, thinks=False),
    "latent_mas": MethodKind(alone=False, thinks=True),
}


@dataclass(frozen=True, kw_only=True)
class CollaborationPlan:
    """Who works in a run, and who of them thinks, for how long."""

    graph: Graph
    """The roles, in working order."""
    thinkers: dict[str, int]
    """Latent steps of the roles that think; the others write."""

    @property
    def writers(self) -> tuple[str, ...]:
        """The roles that write, in working order."""
        return tuple(role.name for role in self.graph.roles if role.name not in self.thinkers)


def plan_for(config: CollaborationConfig) -> CollaborationPlan:
    """Chooses the graph of a method, and who in it thinks.

    Raises:
        ValueError: There is no such graph, or it can't be.
    """
    kind = METHODS[config.method]
    graph = load_graph(config.graph)  # read in any case, so that a wrong one is found with every method
    if config.experts == "chained":
        graph = graph.chained()
    return plan_on(load_graph("single") if kind.alone else graph, config)


def plan_on(graph: Graph, config: CollaborationConfig) -> CollaborationPlan:
    """Who thinks in a graph that is already chosen, such as that of an earlier run."""
    thinking = [role for role in graph.roles if METHODS[config.method].thinks and not role.answers]
    steps = {r.name: config.latent_steps if r.latent_steps is None else r.latent_steps for r in thinking}
    return CollaborationPlan(graph=graph, thinkers=steps)
