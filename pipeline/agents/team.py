"""A team: one agent per role of a plan, all on one model."""

from __future__ import annotations

import torch

from pipeline.agents.agent import Agent
from pipeline.agents.conduct import Conduct, Thinking, Writing
from pipeline.agents.observing import NOBODY, Observer
from pipeline.config import AlignmentName, RunConfig
from pipeline.engine import Alignment, LanguageModel, build_alignment
from pipeline.graphs import CollaborationPlan, token_shares
from pipeline.memory import Part


class Alignments:
    """Keeps a model's alignment from one team to the next: W_a of a large model takes seconds, and teams share it."""

    def __init__(self, lm: LanguageModel) -> None:
        self._lm = lm
        self._last: tuple[AlignmentName, int, Alignment] | None = None

    def get(self, name: AlignmentName, seed: int) -> Alignment:
        """An alignment; built anew unless it is the one asked for last, because each lies in the device's memory.

        Args:
            name: Which one.
            seed: Of the random one; the others are the same for every seed.
        """
        seed = seed if name == "random" else 0
        if self._last is None or self._last[:2] != (name, seed):
            self._last = None  # frees its matrix before the next one is made
            self._last = (name, seed, self._built(name, seed))
        return self._last[2]

    def _built(self, name: AlignmentName, seed: int) -> Alignment:
        lm = self._lm
        return build_alignment(
            name,
            input_VD=lm.input_vectors(),
            output_VD=lm.output_vectors(),
            input_scale=lm.input_scale,
            seed=seed,
        )


def build_team(
    lm: LanguageModel,
    config: RunConfig,
    plan: CollaborationPlan,
    *,
    keep_inputs: bool = False,
    alignments: Alignments | None = None,
    observer: Observer = NOBODY,
) -> dict[str, Agent]:
    """The agents of a run by role name, in working order.

    Args:
        lm: The model that all of them share.
        config: Settings of the run.
        plan: Who works, and who of them thinks.
        keep_inputs: Whether memory segments carry what the model was fed, from which another replica rebuilds them.
        alignments: The model's, where it has had a team before.
        observer: Told what the agents do while they do it.

    Raises:
        ValueError: The plan has to move memory to other positions, and the model's can't be moved; or the system's
            budget can't be divided in its graph.
    """
    if plan.thinkers and moves_memory(plan, config.collaboration.handover):
        shape = lm.shape
        probe = torch.zeros(shape.layers, shape.heads, 1, shape.key_size, dtype=shape.dtype, device=shape.device)
        lm.move(probe, torch.ones(1, dtype=torch.int64))
    shares = token_shares(plan) if config.decoding.budget == "system" else {}
    conducts: dict[str, Conduct] = {
        name: Writing(decoding=config.decoding, share=shares.get(name), observer=observer) for name in plan.writers
    }
    if plan.thinkers:
        alignment = (alignments or Alignments(lm)).get(config.collaboration.alignment, config.decoding.seed)
        for name, steps in plan.thinkers.items():
            conducts[name] = Thinking(
                alignment=alignment,
                latent_steps=steps,
                handover=config.collaboration.handover,
                sign=config.collaboration.verify_memory,
                keep_inputs=keep_inputs,
                observer=observer,
            )
    return {
        role.name: Agent(
            role=role,
            lm=lm,
            conduct=conducts[role.name],
            chat_options=config.model.chat_options,
        )
        for role in plan.graph.roles
    }


def moves_memory(plan: CollaborationPlan, handover: Part) -> bool:
    """Whether some agent gets memory at other positions than it was made for."""
    made_after: dict[str, tuple[str, ...]] = {role.name: role.reads for role in plan.graph.roles}
    in_order = all(
        made_after[name] == role.reads[:index] for role in plan.graph.roles for index, name in enumerate(role.reads)
    )
    return handover != "full" or not in_order
