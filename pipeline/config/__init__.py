"""A run's settings: frozen parts that validate themselves, one YAML file in and out.

`RunConfig` is composed of parts, one per consumer; a component is handed its own part and no more. A value that can't
be right raises a `ValueError` that says what was got, what is allowed and which flag to change. Nothing here imports
torch, Ray or a model.
"""

from pipeline.config.backends import BACKENDS, BackendKind
from pipeline.config.carriers import CARRIERS, Carrier
from pipeline.config.parts import (
    AlignmentName,
    Backend,
    Budget,
    CollaborationConfig,
    DataConfig,
    DecodingConfig,
    DType,
    ExecutionConfig,
    Experts,
    Handover,
    MemoryControl,
    Method,
    ModelConfig,
    Placement,
    SandboxMode,
    ScoringConfig,
    TrackingConfig,
    Transport,
    replica_counts,
)
from pipeline.config.run import RunConfig, Setting, field_docs, settings

__all__ = [
    "BACKENDS",
    "CARRIERS",
    "AlignmentName",
    "Backend",
    "BackendKind",
    "Budget",
    "Carrier",
    "CollaborationConfig",
    "DType",
    "DataConfig",
    "DecodingConfig",
    "ExecutionConfig",
    "Experts",
    "Handover",
    "MemoryControl",
    "Method",
    "ModelConfig",
    "Placement",
    "RunConfig",
    "SandboxMode",
    "ScoringConfig",
    "Setting",
    "TrackingConfig",
    "Transport",
    "field_docs",
    "replica_counts",
    "settings",
]
