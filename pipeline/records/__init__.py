"""What crosses a boundary: plain frozen records, without torch and without Ray.

A `Question` goes in as part of an `Assignment`, every agent's turn leaves a `Turn`, the turns of one question make an
`Answer`, grading an answer gives a `Score`, and all of it together is a `Prediction`, one row of a run's results.
Records travel between processes as JSON (`to_json`, `from_json`), so that a row of a Ray data set or of a Parquet file
can be read without this package.
"""

from pipeline.records.base import Record
from pipeline.records.legs import LegOrder, LegReport, RoleTurns
from pipeline.records.predictions import Prediction
from pipeline.records.questions import Assignment, Kind, Question
from pipeline.records.replicas import Whereabouts
from pipeline.records.turns import Answer, Finish, Score, Thought, Transfer, Turn, Usage

__all__ = [
    "Answer",
    "Assignment",
    "Finish",
    "Kind",
    "LegOrder",
    "LegReport",
    "Prediction",
    "Question",
    "Record",
    "RoleTurns",
    "Score",
    "Thought",
    "Transfer",
    "Turn",
    "Usage",
    "Whereabouts",
]
