"""Role graphs as data, which of them each method walks, and how a token budget is divided in them."""

from pipeline.graphs.budgets import allowance, check_budget, token_shares
from pipeline.graphs.graph import Graph, Role, load_graph, make_graph, parse_graph
from pipeline.graphs.methods import METHODS, CollaborationPlan, plan_for, plan_on

__all__ = [
    "METHODS",
    "CollaborationPlan",
    "Graph",
    "Role",
    "allowance",
    "check_budget",
    "load_graph",
    "make_graph",
    "parse_graph",
    "plan_for",
    "plan_on",
    "token_shares",
]
