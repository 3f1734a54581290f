"""Reads a data set from the Hugging Face Hub: the only module that imports `datasets` and `huggingface_hub`.

Where the Hub can't be reached, `datasets` asks again and again for half a minute, with a line of its own each time,
before it looks into its cache. So the Hub is asked once beforehand, by a call that does not repeat itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from pipeline.benchmarks.base import Benchmark, one_line

_PAUSE_S = 1.0


def load_table(benchmark: Benchmark) -> Any:
    """The rows of a benchmark's split, from the Hub or from what an earlier run left in the cache.

    Args:
        benchmark: The benchmark; it must have a `hub_id`.

    Returns:
        The split as a `datasets.Dataset`.

    Raises:
        ValueError: If it can't be had; one line that says why and what to do.
    """
    import datasets

    fault = _obstacle(benchmark.hub_id)
    try:
        with _cache_only(datasets.config) if fault else nullcontext():
            return datasets.load_dataset(benchmark.hub_id, benchmark.config, split=benchmark.split)
    except Exception as error:  # the Hub's clients': four libraries' exceptions, no common base, and they change
        raise ValueError(_complaint(benchmark, fault or error)) from error


def _obstacle(hub_id: str) -> BaseException | None:
    """Why only the cache can have the data: no connection, or no right to it. None if the Hub may be asked."""
    from huggingface_hub import auth_check
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled

    fault: BaseException | None = None
    for attempt in range(2):
        time.sleep(attempt * _PAUSE_S)  # a network that has only just come up deserves a second try
        try:
            auth_check(hub_id, repo_type="dataset")
        except (GatedRepoError, OfflineModeIsEnabled) as error:
            return error
        except HfHubHTTPError:
            return None  # it is there; what it has against this data set, `datasets` will say
        except Exception as error:  # of whichever HTTP client this version has; no common base
            if "ReadTimeout" in type(error).__name__:
                return None
            fault = error
        else:
            return None
    return fault


@contextmanager
def _cache_only(settings: Any) -> Iterator[None]:
    """Keeps `datasets` off the network. It has no argument for that, and reads HF_HUB_OFFLINE only when imported."""
    before, settings.HF_HUB_OFFLINE = settings.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        settings.HF_HUB_OFFLINE = before


def _complaint(benchmark: Benchmark, error: BaseException) -> str:
    from huggingface_hub.errors import GatedRepoError

    if isinstance(error, GatedRepoError):
        return (
            f"{benchmark.hub_id} is gated: accept its terms at https://huggingface.co/datasets/{benchmark.hub_id} and "
            f"run hf auth login, or give --data-dir with {benchmark.file}"
        )
    return (
        f"{benchmark.hub_id} can't be loaded from the Hugging Face Hub: {one_line(error)}; offline, give "
        f"--data-dir with {benchmark.file} or point HF_HOME at a filled cache"
    )
