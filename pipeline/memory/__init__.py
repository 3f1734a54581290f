"""Working memory: what an agent added for a question, and how rows of it become a padded batch."""

from pipeline.memory.memory import Memory
from pipeline.memory.packing import KVBatch, Move, open_batch
from pipeline.memory.rope import Rotary, immovable, layer_kinds
from pipeline.memory.segment import Inputs, KVShape, Part, Segment, Stage
from pipeline.memory.transport import Parcel, pack, unpack_inputs, unpack_segments

__all__ = [
    "Inputs",
    "KVBatch",
    "KVShape",
    "Memory",
    "Move",
    "Parcel",
    "Part",
    "Rotary",
    "Segment",
    "Stage",
    "immovable",
    "layer_kinds",
    "open_batch",
    "pack",
    "unpack_inputs",
    "unpack_segments",
]
