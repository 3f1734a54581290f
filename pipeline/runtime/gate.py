"""A gate through which many pass at once, or one alone. For one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Gate:
    """Lets callers through side by side, and one who wants to be alone when nobody else is inside."""

    def __init__(self) -> None:
        self._inside = 0
        self._alone = False
        self._wanted = 0  # callers who wait to be alone; they come before those who don't mind company
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def passed(self, *, alone: bool) -> AsyncIterator[None]:
        """Waits until the caller may be inside, and holds its place for the block.

        Args:
            alone: Whether nobody else may be inside meanwhile.
        """
        async with self._changed:
            self._wanted += alone
            try:
                await self._changed.wait_for(lambda: self._open(alone=alone))
            finally:
                self._wanted -= alone
            self._inside += 1
            self._alone = alone
        try:
            yield
        finally:
            self._inside -= 1
            self._alone = False
            await asyncio.shield(self._tell())

    def _open(self, *, alone: bool) -> bool:
        return not self._inside if alone else not (self._alone or self._wanted)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()
