"""Tracking of runs; the only package that imports MLflow."""

from pipeline.tracking.courier import attempt
from pipeline.tracking.files import log_files
from pipeline.tracking.opening import Opened, open_parent, open_record
from pipeline.tracking.record import (
    Ledger,
    NoLedger,
    Point,
    QuestionSet,
    RunRecord,
    Status,
    Table,
    flattened,
)
from pipeline.tracking.sending import send_record
from pipeline.tracking.store import Store, choose_store, is_busy, reason_of, without_secrets
from pipeline.tracking.traces import log_traces
from pipeline.tracking.tracker import BRIEF, NOTICE, TrackedRun

__all__ = [
    "BRIEF",
    "NOTICE",
    "Ledger",
    "NoLedger",
    "Opened",
    "Point",
    "QuestionSet",
    "RunRecord",
    "Status",
    "Store",
    "Table",
    "TrackedRun",
    "attempt",
    "choose_store",
    "flattened",
    "is_busy",
    "log_files",
    "log_traces",
    "open_parent",
    "open_record",
    "reason_of",
    "send_record",
    "without_secrets",
]
