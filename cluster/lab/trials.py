"""Which evaluations are run on the two nodes, and what is read from each."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from cluster.lab.namespaces import LinkBytes, Node
from cluster.lab.programs import ROOT, last_line, started

RUN_SECONDS = 3600
"""After this long a run counts as stuck."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One evaluation."""

    graph: str
    placement: str
    """colocated: a replica plays all roles, and memory stays in it; spread: the roles are split over the replicas."""
    transport: str
    """How memory gets from one replica to another; `-` where it never has to."""
    settings: Mapping[str, str]
    """The flags of `jobs/eval.py` that make it so."""

    @property
    def name(self) -> str:
        """Its name, also that of its run folder."""
        return "-".join(part for part in (self.graph, self.placement, self.transport) if part != "-")


def _trials(graph: str, **settings: str) -> list[Trial]:
    common = {"graph": graph, "replicas": "2", **settings}
    colocated = Trial(graph=graph, placement="colocated", transport="-", settings=common)
    spread = [
        Trial(
            graph=graph,
            placement="spread",
            transport=transport,
            settings={**common, "placement": "spread", "transport": transport},
        )
        for transport in ("object_store", "reencode")
    ]
    return [colocated, *spread]


TRIALS = (*_trials("sequential"), *_trials("hierarchical", experts="parallel"))
"""The first of each graph is the reference whose answers the others must give."""


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What came of one trial."""

    name: str
    graph: str
    placement: str
    transport: str
    error: str = ""
    """Why it did not finish; then there are no numbers."""
    seconds: float = 0.0
    """First question in to last answer out."""
    questions: int = 0
    tokens_per_second: float = 0.0
    link_sent_bytes: int = 0
    """From the first node to the second while it ran, as the network device counted: memory and all else."""
    link_received_bytes: int = 0
    """The other way."""
    handover_bytes: int = 0
    """Working memory inherited, as the run itself counted."""
    handover_seconds: float = 0.0
    handover_hops: int = 0
    transports: dict[str, dict[str, float]] = field(default_factory=dict)
    """Bytes, seconds and hops by transport, as far as the run tells."""
    answers: dict[str, str] = field(default_factory=dict)
    """Question id -> the last agent's text."""

    @property
    def link_bytes(self) -> int:
        """Both directions together."""
        return self.link_sent_bytes + self.link_received_bytes

    def to_dict(self) -> dict[str, Any]:
        """The numbers, without the answers."""
        return {**{k: v for k, v in asdict(self).items() if k != "answers"}, "link_bytes": self.link_bytes}


def run_trial(trial: Trial, common: Mapping[str, str], *, node: Node, address: str, runs: Path) -> TrialResult:
    """Runs one evaluation from a node and reads what it reports.

    Args:
        trial: Which one.
        common: Settings that all trials share.
        node: Where its driver runs.
        address: The Ray cluster's.
        runs: Folder for its rows, its log and its tracker.

    Returns:
        Its numbers, or one line in `error`.
    """
    result = TrialResult(name=trial.name, graph=trial.graph, placement=trial.placement, transport=trial.transport)
    out, log = runs / trial.name, runs / f"{trial.name}.log"
    before = node.link_bytes()
    words = [sys.executable, str(ROOT / "jobs" / "eval.py"), *flags({**common, **trial.settings})]
    words += ["--method", "latent_mas", "--address", address, "--out", str(out)]
    try:
        with started(node, words, log=log, cwd=runs) as process:
            told, _ = process.communicate(timeout=RUN_SECONDS)
    except subprocess.TimeoutExpired:
        return replace(result, error=f"no end after {RUN_SECONDS} s")
    if process.returncode:
        return replace(result, error=f"exit code {process.returncode}: {last_line(log)}")
    return _filled(result, json.loads(told.splitlines()[-1]), node.link_bytes() - before, out)


def _filled(result: TrialResult, metrics: Mapping[str, Any], link: LinkBytes, out: Path) -> TrialResult:
    return replace(
        result,
        seconds=metrics["seconds"],
        questions=metrics["num_questions"],
        tokens_per_second=metrics["tokens_per_second"],
        link_sent_bytes=link.sent,
        link_received_bytes=link.received,
        handover_bytes=metrics["handover_bytes"],
        handover_seconds=metrics["handover_seconds"],
        handover_hops=metrics["handover_hops"],
        transports=metrics.get("transports", {}),
        answers=_answers(out / "predictions.parquet"),
    )


def flags(settings: Mapping[str, str]) -> list[str]:
    """Settings as a command line has them."""
    return [word for name, value in settings.items() for word in ("--" + name.replace("_", "-"), value)]


def differing(results: Sequence[TrialResult]) -> dict[str, int]:
    """How many questions' answers differ from the graph's reference, for each finished run but the references."""
    counts: dict[str, int] = {}
    references: dict[str, TrialResult] = {}
    for result in results:
        if result.error:
            continue
        reference = references.setdefault(result.graph, result)
        if reference is not result:
            ids = reference.answers.keys() | result.answers.keys()
            counts[result.name] = sum(reference.answers.get(i) != result.answers.get(i) for i in ids)
    return counts


def _answers(path: Path) -> dict[str, str]:
    rows = pq.read_table(path, columns=["question_id", "output_text"]).to_pylist()
    return {row["question_id"]: row["output_text"] for row in rows}
