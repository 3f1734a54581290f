"""Working memory: what an agent added for a question, and how rows of it become a padded batch."""

from pipeline.memory.packing import KVBatch, open_batch
from pipeline.memory.segment import KVShape, Memory, Segment

__all__ = ["KVBatch", "KVShape", "Memory", "Segment", "open_batch"]
