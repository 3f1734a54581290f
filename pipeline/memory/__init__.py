"""Working memory: what an agent added for a question, and how rows of it become a padded batch."""

from pipeline.memory.memory import Memory
from pipeline.memory.packing import KVBatch, Move, open_batch
from pipeline.memory.rope import Rotary, immovable, layer_kinds
from pipeline.memory.segment import KVShape, Part, Segment, Stage

__all__ = [
    "KVBatch",
    "KVShape",
    "Memory",
    "Move",
    "Part",
    "Rotary",
    "Segment",
    "Stage",
    "immovable",
    "layer_kinds",
    "open_batch",
]
