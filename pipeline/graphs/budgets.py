"""How one token budget for a whole system is divided among the agents that write. Needs no model.

An agent gets an equal part of what the agents that it reads have left: it divides that by the number of agents that
write and that it does not read, itself included. A chain of four with a total of T gets T/4, then a third of the rest,
a half of the rest, and all that is left; whoever writes less than its part leaves more for those after it.

If everybody reads all whose texts are behind what it reads, the parts never add up to more than the total: of N that
write, any k who read nobody but each other write at most k/N of it. So each part is at least 1/N of it, and the one
that answers, which reads all others, gets all that is left.
"""

from __future__ import annotations

from pipeline.config import DecodingConfig
from pipeline.graphs.methods import CollaborationPlan
from pipeline.validation import require


def allowance(total: int, *, spent: int, share: int) -> int:
    """Most tokens that an agent may write for one question.

    Args:
        total: Of the whole system.
        spent: Tokens that the agents that it reads have written for this question.
        share: Among how many agents, itself included, the rest is divided, as `token_shares` says.
    """
    return (total - spent) // share


def token_shares(plan: CollaborationPlan) -> dict[str, int]:
    """Among how many agents each role that writes divides what those that it reads have left.

    Raises:
        ValueError: A role does not read all who write before it, so the parts could add up to more than the total.
    """
    writers = set(plan.writers)
    before: dict[str, set[str]] = {}
    for role in plan.graph.roles:  # in working order: what a role reads has been there before
        before[role.name] = set(role.reads).union(*(before[read] for read in role.reads))
        unread = sorted((before[role.name] & writers) - set(role.reads))
        if role.name in writers and unread:
            raise ValueError(
                f"--budget system needs agents that read all who write before them, but in graph {plan.graph.name!r} "
                f"{role.name!r} does not read {unread[0]!r}, whose text is behind what it reads; add it to the `reads` "
                f"of {role.name!r} in --graph, or use --budget agent"
            )
    return {role.name: len(writers - set(role.reads)) for role in plan.graph.roles if role.name in writers}


def check_budget(plan: CollaborationPlan, decoding: DecodingConfig) -> None:
    """Refuses a system's budget that can't be divided among the plan's writing agents.

    Raises:
        ValueError: There are fewer tokens than agents that write, or the graph does not allow it; one line.
    """
    if decoding.budget == "system":
        count = len(token_shares(plan))
        allowed = f"{count} or more, with --budget system and {count} agents that write"
        require(decoding.most_tokens >= count, "max_new_tokens", decoding.most_tokens, allowed)
