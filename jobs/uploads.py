"""Sends finished and broken-off runs to an MLflow server or store; what it has already is not sent twice.

A folder that holds several run folders stands for all of them. A line a run goes to stdout: name, store, run id.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from jobs.cli import STOPPED, complain, result_stream

SECONDS = "60"
"""How long a server may take to answer: longer than in a run, because somebody is waiting for just that."""


def main(argv: Sequence[str], prog: str) -> int:
    """Sends runs; returns the exit code."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument("--upload", nargs="+", type=Path, required=True, metavar="RUN_DIR", help="run folder")
    parser.add_argument(
        "--tracking-uri",
        metavar="URI",
        help="MLflow server or store; by default the run's own, $MLFLOW_TRACKING_URI, or mlflow.db beside the runs",
    )
    options = parser.parse_args(argv)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", SECONDS)
    from pipeline.runtime.cluster import base_dir
    from pipeline.runtime.upload import upload_all

    try:
        for sent in upload_all(options.upload, tracking_uri=options.tracking_uri, store=base_dir()):
            result_stream().write(f"{sent.name} {sent.uri} {sent.run_id}\n")
    except ValueError as error:
        return complain(prog, error)
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped\n")
        return STOPPED
    return 0
