"""Watching a team at work in this process: prompts, latent steps and tokens as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from pipeline.agents.conduct import Deed, Scene


class Observer:
    """Is told what agents do while they do it. This one looks away; others override what they want to see.

    Shapes: B rows of the batch, D hidden size.
    """

    def reads(self, scene: Scene) -> None:
        """An agent's prompts are in memory, on top of what it inherited."""

    def thinks(self, scene: Scene, step: int, hidden_BD: Tensor, embeds_BD: Tensor) -> None:
        """An agent takes a latent step.

        Args:
            scene: Its batch.
            step: Which step, from 0.
            hidden_BD: The last hidden states, after the final norm.
            embeds_BD: The inputs that they are turned into, which are fed next.
        """

    def writes(self, scene: Scene, row: int, token_id: int) -> None:
        """An agent has written one token for one row."""

    def ends(self, scene: Scene, deeds: list[Deed]) -> None:
        """An agent has ended its turn, with a deed a row."""


NOBODY = Observer()
"""Looks away."""
