"""Figures of finished runs."""

from pipeline.reports.figures.drawing import Drawing

__all__ = ["Drawing"]
