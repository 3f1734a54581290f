"""The run: questions to replicas, answers to rows, rows to the run folder and the tracker. Imports Ray lazily."""
