"""A team: one agent per role of a plan, all on one model."""

from __future__ import annotations

from pipeline.agents.agent import Agent, Conduct, Thinking, Writing
from pipeline.config import RunConfig
from pipeline.engine import LanguageModel, build_alignment
from pipeline.graphs import plan_for


def build_team(lm: LanguageModel, config: RunConfig) -> dict[str, Agent]:
    """The agents of a run by role name, in working order."""
    plan = plan_for(config.collaboration)
    writing: Conduct = Writing(decoding=config.decoding)
    thinking = _thinking(lm, config) if plan.thinkers else writing
    return {
        role.name: Agent(
            role=role,
            lm=lm,
            conduct=thinking if role.name in plan.thinkers else writing,
            answers=role == plan.graph.answering,
            chat_options=config.model.chat_options,
        )
        for role in plan.graph.roles
    }


def _thinking(lm: LanguageModel, config: RunConfig) -> Conduct:
    alignment = build_alignment(
        config.collaboration.alignment,
        input_VD=lm.input_vectors(),
        output_VD=lm.output_vectors(),
        input_scale=lm.input_scale,
        seed=config.decoding.seed,
    )
    return Thinking(alignment=alignment, latent_steps=config.collaboration.latent_steps)
