"""Agents: one role played on one loaded model, alone or in an actor.

agent, conduct       one agent's turn on a batch of questions: thinking or writing
team, walk           all agents of a plan on one model, and who gets whose work
recall, leg          work that was done on another replica, and a stretch of roles between two replicas
observing, capturing watching a team at work, and keeping what its latent steps are fed
actor                the Ray shell around a team; importing it loads no torch, so this package imports nothing by itself
"""
