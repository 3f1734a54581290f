"""A dry run: what would be done and what it would take, instead of doing it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from jobs.checks import say_isolation
from pipeline.runtime.planned import PlannedRun


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """Runs that are to be shown and not to be carried out."""

    runs: Sequence[PlannedRun]
    """At least one; they differ in their task alone."""

    def show(self, result: TextIO) -> int:
        """Shows them on stderr.

        Args:
            result: Where the line of numbers goes.

        Returns:
            The exit code.

        Raises:
            ValueError: A model can't be loaded, or there is no place for so many replicas.
        """
        from pipeline.runtime.estimate import this_machine
        from pipeline.runtime.outline import outline

        shown = outline(self.runs, this_machine())
        say_isolation(self.runs)
        sys.stderr.write("\n".join(shown.lines) + "\n")
        result.write(json.dumps(shown.numbers) + "\n")
        return 0
