"""A server of texts made of plain transformers: greedy, without a cache, a few texts at a time."""

from __future__ import annotations

from collections.abc import Collection

import torch

from jobs.benches.plain import library_model
from pipeline.engine import LanguageModel, Writing
from pipeline.engine.served import Piece, Prompt


class PlainServer:
    """Reads a prompt whole for every token; `at_once` texts go on together, the others wait.

    Attributes:
        prompts: What it was given, by text.
        dropped: What it had to give up.
    """

    def __init__(self, lm: LanguageModel, *, at_once: int = 2) -> None:
        self._lm, self._model, self._at_once = lm, library_model(lm), at_once
        self._texts: dict[str, tuple[torch.Tensor, Writing, list[int]]] = {}
        self.prompts: dict[str, Prompt] = {}
        self.dropped: list[str] = []

    def write(self, key: str, prompt: Prompt, goal: Writing) -> None:
        assert goal.config.temperature == 0, "it is greedy"
        self.prompts[key] = prompt
        is_ids = isinstance(prompt, list)
        # What transformers is given may be scaled inside its forward; what the server is given is not.
        embeds_TD = self._embedded(prompt) if is_ids else prompt / self._lm.input_scale
        self._texts[key] = (embeds_TD, goal, [])

    @torch.inference_mode()
    def step(self) -> list[Piece]:
        pieces = []
        for key, (embeds_TD, goal, written) in list(self._texts.items())[: self._at_once]:
            fed_TD = torch.cat([embeds_TD, self._embedded(written)]) if written else embeds_TD
            token = int(self._model(inputs_embeds=fed_TD[None]).logits[0, -1].argmax())
            written.append(token)
            done = token in self._lm.stop_ids or len(written) == goal.limit
            if done:
                del self._texts[key]
            if goal.watch or done:
                pieces.append(Piece(key=key, token_ids=[token] if goal.watch else list(written), done=done))
        return pieces

    def drop(self, keys: Collection[str]) -> None:
        for key in keys:
            self.dropped.append(key)
            del self._texts[key]

    def forget(self) -> None:
        """Keeps nothing anyway."""

    def _embedded(self, ids: list[int]) -> torch.Tensor:
        return self._model.get_input_embeddings()(torch.tensor(ids))
