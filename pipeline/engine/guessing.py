"""Speculative decoding by looking texts up: several tokens a step where what comes next has been written before.

A step may carry, after a text's next input, tokens that are guessed to follow it; the model computes what follows each
of them in the same forward, and the text takes the tokens that it would have taken one by one. The noise of a draw is a
function of the step (`sampling.py`), so a guess changes when a token is computed and never which one it is. Guesses
come from the text's own past, its prompt included ("prompt lookup decoding", A. Saxena 2023), and from what the model
has written for other questions of the run, who are answered in much the same words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

GUESSES = {"cpu": 8, "cuda": 0}
"""Tokens that are guessed after a text's next input at most, by device: captured steps have one input a question."""
ROOM = {"cpu": 128, "cuda": 256}
"""Positions of a step beyond which another one costs as much as those that must be computed, so none is guessed."""
LONGEST = 5
"""Tokens before a guess that are compared with what is known, at most."""
SHORTEST = 2
"""And at least."""
PLACES = 4
"""Places of a text's own past that are compared, those that came last."""
WORTH = 0.4
"""A guess goes on while it is right with at least this probability: what a position costs of a question's step."""
FORGET = 0.995
"""Weight of what a source's guesses came to, for each that came after."""
RETRY = 0.99
"""The same for each time that it was not asked, so that every source is tried again some day."""
SUREST = 4
"""Times that a continuation was seen in a row, told apart up to here."""
ENTRIES = 400_000
"""Continuations that are kept, some 100 bytes each; the oldest half makes room."""
REMEMBERED = 8192
"""Tokens of a prompt that guesses come from, the last ones."""

Source = tuple[str, int, int]
"""Where a guess comes from: own or others' text, tokens compared, times seen."""


def most_drawn(rows: int, device: str, guesses: int | None = None) -> int:
    """Positions of one step that tokens are drawn after, at most: those of guesses as well.

    Args:
        rows: Questions that write.
        device: cuda or cpu.
        guesses: Tokens that are guessed after a text's next input at most; by default what suits the device.
    """
    ahead = GUESSES[device] if guesses is None else guesses
    return max(rows, min(rows * (1 + ahead), ROOM[device]))


@dataclass(eq=False)
class Past:
    """A text's own past: its prompt and what it has written."""

    ids: list[int] = field(default_factory=list)
    """Its tokens."""
    written: int = 0
    """How many of them are not the prompt's."""
    guessed: list[tuple[int, Source]] = field(default_factory=list)
    """The last guesses, and where each came from."""
    _after: dict[tuple[int, int], list[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, prompt: Sequence[int]) -> Past:
        """The past of a text that is about to be written."""
        past = cls()
        for token in prompt[-REMEMBERED:]:
            past.add(token)
        return past

    def add(self, token: int) -> None:
        """Adds a token."""
        if len(self.ids) >= SHORTEST:
            self._after.setdefault((self.ids[-2], self.ids[-1]), []).append(len(self.ids))
        self.ids.append(token)

    def find(self, tail: Sequence[int]) -> tuple[int, int] | None:
        """What followed the longest match of the last tokens, and how many matched; the latest of equals."""
        best, matched = 0, 0
        for place in reversed(self._after.get((tail[-2], tail[-1]), ())[-PLACES:]):
            count = SHORTEST
            while count < min(len(tail), place, LONGEST) and self.ids[place - count - 1] == tail[-count - 1]:
                count += 1
            if count > matched:
                best, matched = self.ids[place], count
        return (best, matched) if matched else None


@dataclass(eq=False)
class _Record:
    """How often a source was right, by weight: what it said lately counts most."""

    right: float = 0.0
    asked: float = 0.0

    @property
    def chance(self) -> float:
        return (self.right + 1) / (self.asked + 2)

    def note(self, right: bool) -> None:
        self.right, self.asked = self.right * FORGET + right, self.asked * FORGET + 1

    def fade(self) -> None:
        self.right, self.asked = self.right * RETRY, self.asked * RETRY


class Guesser:
    """Guesses how texts go on, and learns from what they turn out to be."""

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}  # from a hash of some tokens to what followed and how often in a row
        self._records: dict[Source, _Record] = {}

    def guess(self, past: Past, most: int) -> list[int]:
        """How a text may go on.

        Args:
            past: The text so far.
            most: Tokens at most.
        """
        tokens, chance, past.guessed = list[int](), 1.0, []
        tail = past.ids[-LONGEST:]
        while len(tokens) < most and len(tail) >= SHORTEST:
            found = self._next(past, tail)
            if found is None:
                break
            token, source = found
            record = self._records.setdefault(source, _Record())
            chance *= record.chance
            if chance < WORTH:
                if not tokens:
                    record.fade()
                break
            tokens.append(token)
            past.guessed.append(found)
            tail = [*tail, token][-LONGEST:]
        return tokens

    def learn(self, past: Past, tokens: Sequence[int]) -> None:
        """Adds what was written to a text's past, and to what is known for others; learns how good its guesses were.

        Args:
            past: The text before.
            tokens: What was written; nothing of what was guessed after a wrong guess, or after the text's end.
        """
        for (guess, source), token in zip(past.guessed, tokens, strict=False):  # what follows a wrong one tells nothing
            self._records[source].note(guess == token)
        past.guessed = []
        for token in tokens:
            tail = past.ids[-LONGEST:]
            for count in range(SHORTEST, len(tail) + 1):
                self._note(hash(tuple(tail[-count:])), token)
            past.add(token)
            past.written += 1

    def _note(self, key: int, token: int) -> None:
        known, times = divmod(self._seen.get(key, 0), SUREST + 1)
        if times and known == token:
            times = min(times + 1, SUREST)
        elif times > 1:
            token, times = known, times // 2
        else:
            times = 1
        if key not in self._seen and len(self._seen) >= ENTRIES:
            self._seen = dict(list(self._seen.items())[ENTRIES // 2 :])
        self._seen[key] = token * (SUREST + 1) + times

    def _next(self, past: Past, tail: Sequence[int]) -> tuple[int, Source] | None:
        """The most likely next token, and where it comes from."""
        candidates = list[tuple[int, Source]]()
        own = past.find(tail)
        if own is not None:
            candidates.append((own[0], ("own", own[1], 0)))
        for count in range(len(tail), SHORTEST - 1, -1):
            entry = self._seen.get(hash(tuple(tail[-count:])))
            if entry is not None:
                token, times = divmod(entry, SUREST + 1)
                candidates.append((token, ("others", count, times)))
        return max(candidates, key=lambda one: self._chance(one[1]), default=None)

    def _chance(self, source: Source) -> float:
        record = self._records.get(source)
        return record.chance if record is not None else 0.5
