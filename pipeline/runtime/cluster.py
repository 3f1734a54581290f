"""Joining a Ray cluster: the one named, the one of the surrounding job, or a new local one.

Importing this is cheap: Ray is imported when a cluster is joined, and jobs look here for folders without one.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

JOB_MARK = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set by Ray for the entrypoint of a submitted job."""


def inside_job() -> bool:
    """Whether this process is the entrypoint of `ray job submit`."""
    return JOB_MARK in os.environ


def joined_cluster(address: str | None) -> bool:
    """Whether a run is on a cluster that is there without it, rather than on one that it starts for itself."""
    return (address or os.environ.get("RAY_ADDRESS") or "local") != "local"


def base_dir() -> Path:
    """Where relative outputs go: the current folder, or in a submitted job (whose folder is thrown away) the home."""
    return Path.home() / "latentmas-ray" if inside_job() else Path.cwd()


@contextmanager
def connected(address: str | None, *, pretended_gpus: int = 0) -> Iterator[None]:
    """Joins a cluster for the time of a run.

    Args:
        address: A cluster's address; without one, $RAY_ADDRESS (set inside a job), else a new local cluster.
        pretended_gpus: GPUs that a new local cluster claims to have, for replicas that need none.

    Raises:
        ValueError: The cluster does not answer.
    """
    import ray

    _quiet()
    on_terminate = signal.getsignal(signal.SIGTERM)
    target = address or os.environ.get("RAY_ADDRESS") or "local"
    local = target == "local"
    try:
        ray.init(
            address=target,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **({"include_dashboard": False, "num_gpus": pretended_gpus or None} if local else {}),
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ValueError(f"--address {target!r} does not answer: {str(error).splitlines()[0]}") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_terminate)  # Ray puts its own in, which ends the process on the spot
    try:
        yield
    finally:
        ray.shutdown()


def _quiet() -> None:
    """Leaves the terminal to our own progress."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else every actor pool prints a line of Ray's own worries
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # the coming default; unset, Ray warns
    logging.getLogger("ray").setLevel(logging.CRITICAL)
