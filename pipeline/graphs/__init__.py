"""Role graphs as data, and which of them each method walks."""

from pipeline.graphs.graph import Graph, Role, load_graph, make_graph, parse_graph
from pipeline.graphs.methods import METHODS, CollaborationPlan, plan_for

__all__ = ["METHODS", "CollaborationPlan", "Graph", "Role", "load_graph", "make_graph", "parse_graph", "plan_for"]
