"""Agents: one role played on one loaded model."""

from pipeline.agents.agent import Agent
from pipeline.agents.conduct import TurnRequest, TurnResult
from pipeline.agents.recall import recall_work
from pipeline.agents.team import build_team

__all__ = ["Agent", "TurnRequest", "TurnResult", "build_team", "recall_work"]
