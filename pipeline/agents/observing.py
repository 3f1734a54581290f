"""Watching a team at work in this process: prompts, latent steps and tokens as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from pipeline.agents.conduct import Deed, Scene


class Observer:
    """Is told what agents do while they do it. This one looks away; others override what they want to see.

    Turns of several questions may be told of in turn; each has a scene of its own. Shapes: D hidden size.
    """

    def reads(self, scene: Scene) -> None:
        """An agent is about to read its prompt, on top of what it inherited."""

    def thinks(self, scene: Scene, step: int, hidden_D: Tensor, embeds_D: Tensor) -> None:
        """An agent takes a latent step.

        Args:
            scene: Its turn.
            step: Which step, from 0.
            hidden_D: The last hidden state, after the final norm.
            embeds_D: The input that it is turned into, which is fed next.
        """

    def writes(self, scene: Scene, token_id: int) -> None:
        """An agent has written one token."""

    def ends(self, scene: Scene, deed: Deed) -> None:
        """An agent has ended its turn."""


NOBODY = Observer()
"""Looks away."""
