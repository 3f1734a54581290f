"""Which memory a prompt can reproduce: an engine that reads prompts alone gets it as the inputs that it was made of."""

from __future__ import annotations

from pipeline.graphs.graph import Graph
from pipeline.graphs.methods import CollaborationPlan


def check_one_prompt(plan: CollaborationPlan, backend: str) -> None:
    """Refuses a plan in which an agent that writes gets memory that no single prompt can reproduce.

    Args:
        plan: Who works together.
        backend: What is to write from prompts, for the message.

    Raises:
        ValueError: One line that says whose memory it is, and what can be done instead.
    """
    for writer in plan.writers:
        stranger = _stranger(plan.graph, writer, plan.thinkers)
        if stranger:
            chained = plan.graph.chained() if plan.graph.experts else plan.graph
            helps = chained is not plan.graph and not _stranger(chained, writer, plan.thinkers)
            way = "use --experts chained, " if helps else "use "
            raise ValueError(
                f"--backend {backend} with --graph {plan.graph.name!r}: {writer!r} gets the memory of {stranger!r}, "
                f"which was not made on top of the memory placed before it, so no single prompt can reproduce it; "
                f"{way}--backend hf, or a graph whose agents read all before them, such as sequential"
            )


def _stranger(graph: Graph, writer: str, thinkers: dict[str, int]) -> str:
    """Whose memory a role gets that was not made on top of exactly what is placed before it; empty if nobody's."""
    reads = {role.name: tuple(read for read in role.reads if read in thinkers) for role in graph.roles}
    made = reads[writer]
    return next((name for place, name in enumerate(made) if reads[name] != made[:place]), "")
