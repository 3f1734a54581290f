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
    """Who works in a run, and who of them thinks."""

    graph: Graph
    """The roles, in working order."""
    thinkers: frozenset[str]
    """Roles that think; the others write."""


def plan_for(config: CollaborationConfig) -> CollaborationPlan:
    """Chooses the graph of a method and who in it thinks."""
    kind = METHODS[config.method]
    graph = load_graph("single" if kind.alone else config.graph)
    thinkers = frozenset(role.name for role in graph.roles[:-1]) if kind.thinks else frozenset[str]()
    return CollaborationPlan(graph=graph, thinkers=thinkers)
