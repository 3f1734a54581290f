"""The three methods as a user of Hugging Face transformers writes them: `generate`, DynamicCache, static batches.

Batches are taken in the order of the questions and padded on the left. Prompts, alignment, stop tokens and budgets are
the project's, so that both sides compute the same answers; nothing of its engine is used. Prompts and texts have to fit
the model's context, and thinking agents have to read all before them, as in the sequential graph. Where layers have a
sliding window, the library counts padding between two agents' prompts as part of it, and answers differ.

Shapes: B rows, T positions, C columns, D hidden size.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from pipeline.agents.agent import Agent
from pipeline.agents.conduct import Thinking, TurnResult, Writing
from pipeline.agents.walk import collect
from pipeline.engine import LanguageModel
from pipeline.engine.attention import NAME as ATTENTION
from pipeline.records import Answer, Assignment, Finish, Turn, Usage

Prompts = Sequence[list[int]]
Play = Callable[[Agent, Prompts], list[list[int]]]
"""Lets an agent think or write after its prompts; returns the token ids it writes for each, none if it thinks."""


@dataclass(kw_only=True)
class Computed:
    """What static batches compute, padding and finished rows included."""

    prefill_positions: int = 0
    """Rows times the longest prompt, summed over batches."""
    row_steps: int = 0
    """Rows times decode steps, summed over batches."""


@dataclass(kw_only=True, eq=False)
class Past:
    """What a batch has in its cache."""

    cache: DynamicCache
    mask_BC: Tensor
    """1 for a position, 0 for padding."""

    def extended(self, mask_BT: Tensor) -> Past:
        """The same cache, about to get T more columns."""
        return Past(cache=self.cache, mask_BC=torch.cat([self.mask_BC, mask_BT], dim=1))


@dataclass(kw_only=True, eq=False)
class StaticBatch:
    """A batch of questions on its way from agent to agent."""

    lm: LanguageModel
    """Whose tokens and texts these are."""
    model: Any
    """The library's model."""
    rows: int
    """Questions."""
    computed: Computed = field(default_factory=Computed)
    """Where is counted what is computed."""

    def __post_init__(self) -> None:
        empty_B0 = torch.zeros(self.rows, 0, dtype=torch.int64, device=self.lm.device)
        self.past = Past(cache=DynamicCache(config=self.model.config), mask_BC=empty_B0)

    def play(self, agent: Agent, prompts: Prompts) -> list[list[int]]:
        """One agent's turn: what it thinks stays in the cache for the next one, what it writes does not."""
        ids_BT, mask_BT = left_padded(prompts, pad_id(self.lm), self.lm.device)
        self.computed.prefill_positions += ids_BT.numel()
        if isinstance(agent.conduct, Thinking):
            self._think(ids_BT, mask_BT, agent.conduct)
            return [[] for _ in prompts]
        assert isinstance(agent.conduct, Writing), "an agent thinks or writes"
        texts = self._write(ids_BT, mask_BT, agent.conduct.decoding.most_tokens)
        empty_B0 = self.past.mask_BC[:, :0]
        self.past = Past(cache=DynamicCache(config=self.model.config), mask_BC=empty_B0)
        return texts

    def _think(self, ids_BT: Tensor, mask_BT: Tensor, conduct: Thinking) -> None:
        embeds_BTD = self.model.get_input_embeddings()(ids_BT)
        hidden_BD = self._forward(embeds_BTD, mask_BT)
        for _ in range(conduct.latent_steps):
            hidden_BD = self._forward(conduct.alignment(hidden_BD)[:, None], mask_BT[:, -1:])

    def _forward(self, embeds_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """Adds columns to the cache; returns the last hidden states after the final norm, [B, D]."""
        self.past = self.past.extended(mask_BT)
        positions_BC = (self.past.mask_BC.cumsum(dim=1) - 1).clamp_min(0)
        hidden_BTD: Tensor = self.model.get_decoder()(
            inputs_embeds=embeds_BTD,
            attention_mask=self.past.mask_BC,
            position_ids=positions_BC[:, -mask_BT.shape[1] :],
            past_key_values=self.past.cache,
            use_cache=True,
        ).last_hidden_state
        return hidden_BTD[:, -1]

    def _write(self, ids_BT: Tensor, mask_BT: Tensor, budget: int) -> list[list[int]]:
        past = self.past.extended(mask_BT)
        written = self.model.generate(
            input_ids=ids_BT,
            attention_mask=past.mask_BC,
            past_key_values=past.cache,
            **greedy(self.lm, budget),
        )[:, ids_BT.shape[1] :]
        self.computed.row_steps += self.rows * (written.shape[1] - 1)
        return [until_stop(ids, self.lm.stop_ids) for ids in written.tolist()]


def library_model(lm: LanguageModel) -> Any:
    """A model as the library loads it, with the attention that it has there; the weights are shared."""
    shared = {id(tensor): tensor for tensor in (*lm.causal_lm.parameters(), *lm.causal_lm.buffers())}
    model = copy.deepcopy(lm.causal_lm, shared)
    config = model.config.get_text_config()
    if config._attn_implementation == ATTENTION:
        model.set_attn_implementation("eager" if getattr(config, "attn_logit_softcapping", None) else "sdpa")
    return model


@torch.inference_mode()
def answer_static(
    assignments: Sequence[Assignment], team: Mapping[str, Agent], model: Any, batch_size: int, computed: Computed
) -> list[Answer]:
    """Lets a team answer questions, batch by batch; one answer each, in their order.

    Args:
        assignments: The questions.
        team: The agents by role, in working order; what they do is read off them, and done without their engine.
        model: The library's model, as `library_model` makes it.
        batch_size: Questions in a batch.
        computed: Where is counted what is computed.
    """
    lm = next(iter(team.values())).lm
    answers = list[Answer]()
    for first in range(0, len(assignments), batch_size):
        chunk = assignments[first : first + batch_size]
        batch = StaticBatch(lm=lm, model=model, rows=len(chunk), computed=computed)
        answers += walked(chunk, team, batch.play)
    return answers


def walked(assignments: Sequence[Assignment], team: Mapping[str, Agent], play: Play) -> list[Answer]:
    """Goes through a team's roles; each gets the texts of those that it reads in its prompt."""
    work = dict[str, list[TurnResult]]()
    for name, agent in team.items():
        requests = [
            collect(assignment, agent, [work[read][row] for read in agent.role.reads])
            for row, assignment in enumerate(assignments)
        ]
        prompts = [agent.prompt(request) for request in requests]
        texts = play(agent, prompts)
        work[name] = [TurnResult(turn=_turn(agent, *pair)) for pair in zip(prompts, texts, strict=True)]
    return [
        Answer(question_id=assignment.question.id, turns=tuple(results[row].turn for results in work.values()))
        for row, assignment in enumerate(assignments)
    ]


def left_padded(prompts: Prompts, pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids [B, T] of prompts that end together, and 1 for what is no padding, [B, T]."""
    longest = max(map(len, prompts))
    ids = [[pad] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def greedy(lm: LanguageModel, budget: int) -> dict[str, Any]:
    """Settings of `generate` under which it writes what the project writes at temperature 0."""
    return {
        "max_new_tokens": budget,
        "do_sample": False,
        "repetition_penalty": 1.0,  # some models bring one of their own
        "eos_token_id": sorted(lm.stop_ids) or None,
        "pad_token_id": pad_id(lm),
    }


def pad_id(lm: LanguageModel) -> int:
    """A token id for padding, which is masked."""
    own = getattr(lm.tokenizer, "pad_token_id", None)
    return int(own) if own is not None else min(lm.stop_ids, default=0)


def until_stop(ids: list[int], stop_ids: frozenset[int]) -> list[int]:
    """A row up to its stop token, which is included; what follows is padding."""
    for index, token in enumerate(ids):
        if token in stop_ids:
            return ids[: index + 1]
    return ids


def _turn(agent: Agent, prompt: list[int], ids: list[int]) -> Turn:
    conduct = agent.conduct
    finish: Finish
    if isinstance(conduct, Thinking):
        usage = Usage(prefill_tokens=len(prompt), latent_steps=conduct.latent_steps)
        text, finish = "", "latent"
    else:
        usage = Usage(prefill_tokens=len(prompt), output_tokens=len(ids))
        text = agent.lm.tokenizer.decode(ids, skip_special_tokens=True).strip()
        finish = "stop" if ids and ids[-1] in agent.lm.stop_ids else "length"
    return Turn(role=agent.role.name, text=text, finish=finish, usage=usage, seconds=0.0)
