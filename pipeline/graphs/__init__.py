"""Role graphs as data, which of them each method walks, and how a token budget is divided in them."""

from pipeline.graphs.budgets import allowance, check_budget, token_shares
from pipeline.graphs.graph import Graph, Role, load_graph, make_graph, parse_graph
from pipeline.graphs.methods import METHODS, CollaborationPlan, plan_for, plan_on, without_effect
from pipeline.graphs.prompts import check_one_prompt

__all__ = [
    "METHODS",
    "CollaborationPlan",
    "Graph",
    "Role",
    "allowance",
    "check_budget",
    "check_one_prompt",
    "load_graph",
    "make_graph",
    "parse_graph",
    "plan_for",
    "plan_on",
    "token_shares",
    "without_effect",
]
