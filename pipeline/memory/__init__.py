"""Working memory: what an agent added for a question, and the cache where questions are worked on side by side."""

from pipeline.memory.memory import Memory
from pipeline.memory.payloads import Staging
from pipeline.memory.rope import Rotary, immovable, layer_kinds
from pipeline.memory.segment import Inputs, KVShape, Part, Segment, Stage
from pipeline.memory.slots import KVCache, Move, Slot
from pipeline.memory.transport import Parcel, pack, unpack_inputs, unpack_segments

__all__ = [
    "Inputs",
    "KVCache",
    "KVShape",
    "Memory",
    "Move",
    "Parcel",
    "Part",
    "Rotary",
    "Segment",
    "Slot",
    "Stage",
    "Staging",
    "immovable",
    "layer_kinds",
    "pack",
    "unpack_inputs",
    "unpack_segments",
]
