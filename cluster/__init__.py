"""Clusters to run evaluations on: real ones, and ones that are made up on one machine."""
