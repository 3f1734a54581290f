"""MLflow traces of the questions that a run has traced: what each agent was told, and what it thought or wrote.

A trace is sent in one piece, with times that have passed. No state of MLflow in this process is used or changed,
nothing is queued, and what goes wrong is raised. Its ids follow from run and question, so that one that is sent again
is there once.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from pipeline.records import Prediction
from pipeline.tracking.spans import Step, is_traced, steps_of

TOLD = ("method", "graph", "model", "memory")
"""Tags of the run that its traces have too, so that an experiment's traces can be filtered by them."""
PREVIEW = 1000
"""Characters of question and answer in a list of traces."""


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a trace goes."""

    experiment_id: str
    run_id: str
    task: str
    tags: Mapping[str, str]
    """Those of the run, as far as its traces have them too."""

    def trace_id(self, row: Prediction) -> str:
        """The id of a question's trace, MLflow's prefix left out: 32 hexadecimal digits."""
        return _digest(f"{self.run_id}/{row.question_id}", 16)

    def name(self, row: Prediction) -> str:
        """What a question's trace is called, such as `latent_mas gsm8k/12`."""
        question = row.question_id if row.question_id.startswith(f"{self.task}/") else f"{self.task}/{row.question_id}"
        return f"{self.tags.get('method', '')} {question}".strip()


def log_traces(*, tracking_uri: str, experiment_id: str, run_id: str, rows: Sequence[Prediction], task: str) -> int:
    """Writes a trace for each question that was traced, and links it to its run.

    Args:
        tracking_uri: MLflow server or store; its store must be a database, because files keep no spans.
        experiment_id: The run's experiment.
        run_id: The run, which is there.
        rows: Its rows; those without prompts are passed over.
        task: The run's task.

    Returns:
        How many were written.

    Raises:
        Exception: Whatever MLflow's client raises where a store does not answer or has no such run.
    """
    traced = [row for row in rows if is_traced(row)]
    if not traced:
        return 0
    from mlflow import MlflowClient
    from mlflow.tracing.client import TracingClient

    tags = MlflowClient(tracking_uri=tracking_uri).get_run(run_id).data.tags
    told = {name: tags[name] for name in TOLD if name in tags}
    place = _Place(experiment_id=experiment_id, run_id=run_id, task=task, tags=told)
    client = TracingClient(tracking_uri)
    for row in traced:
        trace_id = place.trace_id(row)
        steps = steps_of(row, place.name(row))
        client.log_spans(experiment_id, _spans(trace_id, steps))
        client.start_trace(_trace_info(place, row, steps[0]))
    return len(traced)


def _trace_info(place: _Place, row: Prediction, whole: Step) -> Any:
    """What a list of traces shows of a question, as MLflow's record."""
    from mlflow.entities import TraceInfo, TraceLocation, TraceState
    from mlflow.tracing.constant import TRACE_SCHEMA_VERSION, TRACE_SCHEMA_VERSION_KEY, TraceMetadataKey, TraceTagKey

    started, finished = (int(moment * 1000) for moment in (whole.started, whole.finished))
    return TraceInfo(
        trace_id=f"tr-{place.trace_id(row)}",
        trace_location=TraceLocation.from_experiment_id(place.experiment_id),
        request_time=started,
        execution_duration=finished - started,
        state=TraceState.OK,
        request_preview=row.question[:PREVIEW],
        response_preview=row.output_text[:PREVIEW],
        trace_metadata={
            TraceMetadataKey.SOURCE_RUN: place.run_id,
            TRACE_SCHEMA_VERSION_KEY: str(TRACE_SCHEMA_VERSION),
        },
        tags={
            TraceTagKey.TRACE_NAME: whole.name,
            **place.tags,
            "task": place.task,
            "question_id": row.question_id,
            "correct": "unscored" if row.correct is None else str(row.correct).lower(),
            "reason": row.reason,
        },
        assessments=_assessments(place, row),
    )


def _assessments(place: _Place, row: Prediction) -> list[Any]:
    """The right answer, and the score with its reason, as MLflow shows them beside an answer."""
    from mlflow.entities import AssessmentSource, Expectation, Feedback

    source = AssessmentSource(source_type="CODE", source_id="latentmas-ray")
    made = [Expectation(name="gold", value=row.gold, source=source)]
    if row.correct is not None:
        why = f"{row.reason}: {row.detail}" if row.detail else row.reason
        made.append(Feedback(name="correct", value=row.correct, rationale=why, source=source))
    for one in made:
        one.assessment_id = f"a-{_digest(f'{place.trace_id(row)}/{one.name}', 16)}"
    return made


def _spans(trace_id: str, steps: Sequence[Step]) -> list[Any]:
    """MLflow's spans: that of the whole question, and under it those of the agents."""
    from mlflow.entities import Span

    ids = [_digest(f"{trace_id}/{place}", 8) for place in range(len(steps))]
    parents = [None, *[ids[0]] * (len(steps) - 1)]
    return [
        Span.from_dict(
            {
                "trace_id": _packed(trace_id),
                "span_id": _packed(span_id),
                "parent_span_id": _packed(parent) if parent else None,
                "name": step.name,
                "start_time_unix_nano": int(step.started * 1e9),
                "end_time_unix_nano": int(step.finished * 1e9),
                "status": {"code": "STATUS_CODE_OK", "message": ""},
                "attributes": _attributes(trace_id, step),
            }
        )
        for step, span_id, parent in zip(steps, ids, parents, strict=True)
    ]


def _attributes(trace_id: str, step: Step) -> dict[str, str]:
    """A step's content under the names where MLflow looks for it, each value as JSON."""
    from mlflow.tracing.constant import SpanAttributeKey, TokenUsageKey

    values: dict[str, Any] = {
        SpanAttributeKey.REQUEST_ID: f"tr-{trace_id}",
        SpanAttributeKey.SPAN_TYPE: step.kind,
        SpanAttributeKey.INPUTS: step.inputs,
        SpanAttributeKey.OUTPUTS: step.outputs,
        **step.facts,
    }
    read, wrote = step.usage.prefill_tokens, step.usage.output_tokens
    if read + wrote:
        values[SpanAttributeKey.CHAT_USAGE] = {
            TokenUsageKey.INPUT_TOKENS: read,
            TokenUsageKey.OUTPUT_TOKENS: wrote,
            TokenUsageKey.TOTAL_TOKENS: read + wrote,
        }
    return {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}


def _digest(text: str, size: int) -> str:
    """Hexadecimal digits of so many bytes that follow from a text."""
    return blake2b(text.encode(), digest_size=size).hexdigest()


def _packed(digits: str) -> str:
    """Hexadecimal digits as MLflow writes them into JSON."""
    return b64encode(bytes.fromhex(digits)).decode()
