"""A browser page that is watched: whatever goes wrong on it, and whatever it asks of anyone else, fails the test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHROMIUM = Path("/usr/bin/chromium")
SIZE = {"width": 1700, "height": 1000}
HARMLESS = ("ResizeObserver loop completed with undelivered notifications.",)
"""Console errors of MLflow's pages that tell of nothing: a browser that lays out once more than it wanted to."""
MISSING = ("/ajax-api/2.0/mlflow/users/current",)
"""What MLflow's pages ask of their own server and do not find: who is logged in, on a server without users."""


@dataclass
class Watched:
    """A page, and what was wrong with it so far."""

    page: Any
    allowed: str
    """How addresses begin that it may ask."""
    shots: Path
    """Where its pictures go."""
    faults: list[str] = field(default_factory=list)

    def shot(self, name: str) -> None:
        """Keeps a picture of what is seen."""
        self.page.screenshot(path=self.shots / f"{name}.png")

    def _listen(self) -> None:
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.faults.append(f"script failed: {error}"))
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._response)

    def _console(self, message: Any) -> None:
        # A request that was answered with an error is in the console too, and is judged by its answer.
        told = message.text
        known = "Failed to load resource" in told or any(words in told for words in HARMLESS)
        if message.type == "error" and not known:
            self.faults.append(f"console: {told}")

    def _failed(self, request: Any) -> None:
        if request.failure != "net::ERR_ABORTED":  # the page went on before the answer came
            self.faults.append(f"request failed: {request.url}: {request.failure}")

    def _response(self, response: Any) -> None:
        if response.status >= 400 and not response.url.endswith(MISSING):
            self.faults.append(f"answered {response.status}: {response.url}")

    def _route(self, route: Any) -> None:
        if route.request.url.startswith((self.allowed, "data:", "blob:")):
            route.continue_()
        else:
            self.faults.append(f"asked outside: {route.request.url}")
            route.abort()


@contextmanager
def watched(browser: Any, allowed: str, shots: Path, *, scheme: str = "light") -> Iterator[Watched]:
    """Opens a page and looks at its faults when it is done with.

    Args:
        browser: Playwright's.
        allowed: How addresses begin that it may ask; all others are refused.
        shots: Where its pictures go.
        scheme: Whether its reader likes it light or dark.
    """
    context = browser.new_context(viewport=SIZE, reduced_motion="reduce", color_scheme=scheme)
    found = Watched(context.new_page(), allowed, shots)
    found._listen()
    context.route("**/*", found._route)
    try:
        yield found
    finally:
        context.close()
    assert not found.faults, "\n".join(found.faults)


def shots_folder(default: Path) -> Path:
    """Where pictures go: $LATENTMAS_SCREENSHOTS, or a folder of the test's own."""
    folder = Path(os.environ.get("LATENTMAS_SCREENSHOTS", default)).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder
