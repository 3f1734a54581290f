"""Scoring: from the text of an answer to a `Score`; without a model, without Ray and without torch.

Numbers and choices are read (`grade`, pure), programs are run (`Grader`, in the sandbox). Bad model output is a score
with a reason, never an exception.
"""

from pipeline.scoring.extract import boxed, final_part, last_letter, last_number
from pipeline.scoring.fences import last_code_block, last_python_block
from pipeline.scoring.grade import grade
from pipeline.scoring.programs import Grader, require_isolation
from pipeline.scoring.sandbox import SandboxError

__all__ = [
    "Grader",
    "SandboxError",
    "boxed",
    "final_part",
    "grade",
    "last_code_block",
    "last_letter",
    "last_number",
    "last_python_block",
    "require_isolation",
]
