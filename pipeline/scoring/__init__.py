"""Scoring: from the text of an answer to a `Score`; pure, without a model, without Ray and without torch.

Bad model output is a score with a reason, never an exception.
"""

from pipeline.scoring.extract import boxed, last_code_block, last_letter, last_number, last_python_block
from pipeline.scoring.grade import SCORABLE_KINDS, grade

__all__ = ["SCORABLE_KINDS", "boxed", "grade", "last_code_block", "last_letter", "last_number", "last_python_block"]
