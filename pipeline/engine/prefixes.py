"""Beginnings that prompts have in common - a system prompt, a role's words - are computed once and copied from then on.

Rows of one family (a role whose prompt comes first in memory) differ in the question; what comes before it is the same.
Its keys and values depend on nothing else, so they are what every row would have computed itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.engine.lanes import Lanes
from pipeline.engine.model import LanguageModel
from pipeline.engine.rows import Row

SHORTEST = 8
"""Tokens that a beginning has at least, to be worth a copy."""
FAMILIES = 32
"""Families whose beginnings are kept at most, those that came last."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Beginning:
    """What the prompts of a family begin with."""

    token_ids: tuple[int, ...]
    """Its tokens."""
    keys_LNTH: Tensor
    """Keys for positions from 0 on."""
    values_LNTH: Tensor
    """Values."""


class Prefixes:
    """The beginnings that one model has computed."""

    def __init__(self, lm: LanguageModel) -> None:
        self._lm = lm
        self._known: dict[str, Beginning] = {}
        self._last: dict[str, tuple[int, ...]] = {}  # a prompt of each family

    def place(self, rows: Sequence[Row]) -> int:
        """Puts what is known into the empty slots of new rows; returns how many positions need not be computed."""
        families: dict[str, list[Row]] = {}
        for row in rows:
            if row.family and row.slot.length == 0 and row.read == 0:
                families.setdefault(row.family, []).append(row)
        return sum(self._place(name, members) for name, members in families.items())

    def _place(self, family: str, rows: Sequence[Row]) -> int:
        known = self._known.get(family) or self._learn(family, [tuple(row.token_ids) for row in rows])
        if known is None:
            return 0
        placed = 0
        for row in rows:
            count = min(_common(known.token_ids, row.token_ids), len(row.token_ids) - 1)  # the last one is always read
            if count >= SHORTEST:
                row.slot.reserve(row.unread)
                row.slot.write(slice(0, count), known.keys_LNTH[:, :, :count], known.values_LNTH[:, :, :count])
                row.slot.length = row.read = count
                placed += count
        return placed

    def _learn(self, family: str, prompts: list[tuple[int, ...]]) -> Beginning | None:
        """Computes what prompts have in common, once there are two different ones."""
        if family in self._last:
            prompts = [self._last[family], *prompts]
        self._last[family] = prompts[-1]
        different = list(dict.fromkeys(prompts))
        if len(different) < 2:
            return None
        length = min(_common(different[0], other) for other in different[1:])
        if length < SHORTEST:
            return None
        token_ids = different[0][:length]
        cache = self._lm.cache(rows=1, columns=length)
        slot = cache.slot()
        self._lm.forward(Lanes([(slot, length)]), self._lm.embed(torch.tensor(token_ids, device=self._lm.device)))
        made = slot.cut(0, role="", question_id="", fingerprint=self._lm.fingerprint, latent_steps=0)
        while len(self._known) >= FAMILIES:
            self._known.pop(next(iter(self._known)))
        self._known[family] = Beginning(token_ids=token_ids, keys_LNTH=made.keys_LNTH, values_LNTH=made.values_LNTH)
        return self._known[family]


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two prompts begin with alike."""
    pairs = zip(one, other, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
