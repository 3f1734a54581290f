"""Events as lines for people: in a terminal text appears as it is written, elsewhere line by line. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import singledispatchmethod

from rich.text import Text

from jobs.asks.events import (
    AgentEnds,
    AgentLeftOut,
    AgentReads,
    Event,
    Held,
    MethodBegins,
    ModelLoaded,
    Outcome,
    StepTaken,
    TextWritten,
)
from jobs.asks.harmless import harmless
from pipeline.reports.tables import LABELS

COLOURS = ("cyan", "magenta", "yellow", "blue", "green")
"""Of the agents, in working order."""
MARGIN = "  │ "
"""What stands before all that an agent thinks or writes."""
ALL_STEPS = 20
"""Latent steps of a turn that are all shown; of more, the first ones and the last ones are."""
FIRST, LAST = 8, 4
TOKENS = 3
"""Tokens shown of a latent step."""
BAR = 40
"""Cells of the longest bar of memory."""
CELL = 32
"""Positions of memory in one of them."""
EIGHTHS = " ▏▎▍▌▋▊▉"
ENDS = {
    "stop": "done",
    "length": "cut off at its budget",
    "context": "cut off at the model's context",
    "latent": "done",
}
"""How turns end, in words."""


def megabytes(nbytes: int) -> str:
    """Bytes as the show tells them."""
    return f"{nbytes / 1e6:.1f} MB"


class Show:
    """Makes lines of events; a piece of a line that goes on has no line end in `end`."""

    def __init__(self, *, live: bool) -> None:
        """Nothing has been shown.

        Args:
            live: Whether text is shown word by word, and memory as a bar; if not, whole lines without bars.
        """
        self._live = live
        self._roles: tuple[str, ...] = ()
        self._colour = COLOURS[0]
        self._begun = False  # whether some of an agent's text is shown
        self._open = False  # whether a line of it goes on
        self._waiting = ""  # what of it is not shown yet

    @singledispatchmethod
    def lines(self, event: Event) -> Iterator[Text]:
        """What is to be printed for an event, each text with the `end` that it has."""
        raise AssertionError(f"nobody shows {event}")

    @lines.register
    def _(self, event: ModelLoaded) -> Iterator[Text]:
        about = f"{event.parameters:,} parameters, {event.dtype} on {event.device}, loaded in {event.seconds:.1f} s"
        yield Text(f"{harmless(event.model)}: {about}", style="dim")

    @lines.register
    def _(self, event: MethodBegins) -> Iterator[Text]:
        self._roles = event.roles
        team = f", {event.graph}: {' → '.join(event.roles)}" if len(event.roles) > 1 else ": one agent"
        yield Text()
        yield Text(f"━━ {LABELS[event.method]}{harmless(team)} ━━", style="bold")

    @lines.register
    def _(self, event: AgentReads) -> Iterator[Text]:
        place = self._roles.index(event.role)
        self._colour = COLOURS[place % (len(COLOURS) - 1)] if place + 1 < len(self._roles) else COLOURS[-1]
        does = "writes" if event.latent_steps is None else f"thinks {event.latent_steps} latent steps"
        sources = (("memory", event.memory_of), ("text", event.texts_of))
        reads = " and ".join(f"the {what} of {', '.join(of)}" for what, of in sources if of) or "the question alone"
        line = Text(f"▶ {place + 1}/{len(self._roles)} {harmless(event.role)}", style=f"bold {self._colour}")
        yield line.append(harmless(f"  {does}, reads {reads}"), style="not bold")
        before = f" on top of {event.inherited} positions of memory" if event.inherited else ""
        yield self._within(Text(f"prompt: {event.prompt} tokens{before}", style="dim"))

    @lines.register
    def _(self, event: StepTaken) -> Iterator[Text]:
        number, hidden = event.thought.step + 1, event.of - FIRST - LAST
        if event.of > ALL_STEPS and FIRST < number <= event.of - LAST:
            if number == FIRST + 1:
                yield self._within(Text(f"... {hidden} more steps ...", style="dim"))
            return
        thought = event.thought
        pairs = list(zip(thought.tokens, thought.probabilities, strict=True))[:TOKENS]
        line = Text(f"step {number:>{len(str(event.of))}}  ")
        line.append(" · ".join(f"{_quoted(token)} {share:.2f}" for token, share in pairs), style="bold")
        line.append(f"  nearest {_quoted(thought.nearest)} (cos {thought.cosine:.2f})  |h| {thought.norm:.1f}", "dim")
        yield self._within(line)

    @lines.register
    def _(self, event: TextWritten) -> Iterator[Text]:
        self._waiting += harmless(event.text)
        if not self._begun:
            self._waiting = self._waiting.lstrip()
        shown = self._waiting.rstrip()  # what is empty may be the end, which is not shown
        cut = len(shown) if self._live else shown.rfind("\n") + 1
        ready, self._waiting = self._waiting[:cut], self._waiting[cut:]
        yield from self._written(ready)

    @lines.register
    def _(self, event: AgentEnds) -> Iterator[Text]:
        yield from self._written(self._waiting.rstrip())
        if self._open:
            yield Text()
        self._waiting, self._begun, self._open = "", False, False
        wrote = f"{event.output_tokens} tokens, " if event.finish != "latent" else ""
        yield self._within(Text(f"{ENDS[event.finish]}: {wrote}{event.seconds:.1f} s", style="dim"))
        yield self._within(self._memory(event.held))

    @lines.register
    def _(self, event: AgentLeftOut) -> Iterator[Text]:
        yield Text(
            harmless(f"▶ {event.role} has no turn: what it gets of others fills the model's context"), style="bold"
        )

    @lines.register
    def _(self, event: Outcome) -> Iterator[Text]:
        verdict = f" ({verdict_of(event)})" if event.graded else ""
        yield Text(f"{LABELS[event.method]} answers: {in_a_line(event)}{verdict}", style="bold")

    def _within(self, line: Text) -> Text:
        return Text.assemble((MARGIN, self._colour), line)

    def _written(self, text: str) -> Iterator[Text]:
        """An agent's text as far as it can be shown; in a terminal its last line stays open."""
        if not text:
            return
        *whole, last = text.split("\n")
        for line in whole:
            yield self._piece(line, end="\n")
        if last:
            yield self._piece(last, end="" if self._live else "\n")

    def _piece(self, text: str, *, end: str) -> Text:
        margin = "" if self._open else MARGIN
        self._begun, self._open = True, end == ""
        return Text.assemble((margin, self._colour), text, end=end)

    def _memory(self, held: Held) -> Text:
        told = f"{held.positions} positions, {megabytes(held.nbytes)}"
        if not self._live:
            return Text(f"memory {told}", style="dim")
        return Text.assemble(("memory ", "dim"), (_bar(held), self._colour), (f" {told}", "dim"))


def in_a_line(outcome: Outcome) -> str:
    """An answer where there is one line for it."""
    if outcome.kind == "code" and outcome.text:
        count = len(outcome.text.splitlines())
        return f"a program of {count} line{'s' if count > 1 else ''}"
    return " ".join(outcome.text.split()) or "nothing"


def verdict_of(outcome: Outcome) -> str:
    """Right, or why not."""
    score = outcome.score
    if score.correct:
        return "right"
    why = "" if score.reason == "wrong" else f": {score.reason}"
    return "right if read leniently" if score.correct_lenient else f"wrong{why}"


def _quoted(token: str) -> str:
    return harmless(json.dumps(token, ensure_ascii=False))


def _bar(held: Held) -> str:
    """As many cells as the memory has places for `CELL` positions; one that is longer than the bar ends in `…`."""
    if held.positions > CELL * BAR:
        return "█" * (BAR - 1) + "…"
    full, part = divmod(max(8 * held.positions // CELL, min(held.positions, 1)), 8)
    return "█" * full + EIGHTHS[part].strip()
