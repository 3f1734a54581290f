"""Steps of rows that all think or write, captured once as CUDA graphs and replayed: no Python between the kernels.

A step whose shape has come up a few times is captured, with the head, sampling and alignment in it; whatever is not
such a step, or can't be captured, goes the usual way, and both ways may alternate at any step. Rows come out as the
usual way would leave them. `LATENTMAS_GRAPHS=0` in the environment turns it off.

Shapes: B places, D hidden size, V vocabulary.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, ref

import torch
from torch import Tensor

from pipeline.engine.kernels import Split, split_for
from pipeline.engine.rotary import switch_of_frequencies
from pipeline.engine.rows import Row, Thinking, Writing
from pipeline.engine.sampling import draw_from_all
from pipeline.engine.staging import form_of, make_room, put_noise, upload
from pipeline.engine.static import Buffers, Form, static_step
from pipeline.memory import KVCache

if TYPE_CHECKING:
    from pipeline.engine.model import LanguageModel

log = logging.getLogger(__name__)

SWITCH = "LATENTMAS_GRAPHS"
"""Environment variable that turns captured steps off, if it is 0."""
PATIENCE = 3
"""Steps of a form before it is captured: capturing costs as much as many steps."""
MOST_GRAPHS = 24
"""Graphs that are kept, those captured last."""

Work = Callable[[], None]
Find = Callable[["LanguageModel"], Split | None]
"""Finds the kernel that attends; none is torch's."""
Recorder = Callable[[Work, Work], Work]
"""From what prepares the inputs, and a step, to what repeats the step."""


def record(prepare: Work, step: Work) -> Work:
    """Captures a step as a CUDA graph, after two rounds on a side stream in which libraries set themselves up."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            prepare()
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    # Other threads may go on using the device; and as nothing outlives a step but buffers, graphs share their memory.
    pool: Any = _pool()
    with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
        step()
    replay: Work = graph.replay
    return replay


@cache
def _pool() -> Any:
    return torch.cuda.graph_pool_handle()


def graphs_of(lm: LanguageModel) -> StepGraphs | None:
    """A model's captured steps, still none of them captured; none where they can't be."""
    reason = why_not(lm)
    if reason:
        log.debug("steps are not captured: %s", reason)
    return None if reason else StepGraphs()


def why_not(lm: LanguageModel) -> str:
    """Why a model's steps can't be captured; empty if they can, as far as can be seen beforehand."""
    if os.environ.get(SWITCH, "1") == "0":
        return f"{SWITCH}=0"
    if lm.device.type != "cuda":
        return f"the model is on a {lm.device.type}"
    return unsuited(lm)


def unsuited(lm: LanguageModel) -> str:
    """What in a model keeps its steps from being captured, on whatever device; empty if nothing."""
    config = lm.config
    if not lm.packs:
        return "its attention can't be on many questions at once"
    if lm.shape.spread or any(hasattr(module, "_hf_hook") for module in lm.causal_lm.modules()):
        return "it is spread over devices"
    if getattr(config, "attn_logit_softcapping", None):
        return "its attention scores are capped"
    if any(getattr(config, name, None) for name in ("num_experts", "num_local_experts", "n_routed_experts")):
        return "which of its experts compute depends on the input"
    if switch_of_frequencies(config) is not None:
        return "its rotary frequencies depend on the length"
    return ""


class StepGraphs:
    """The captured steps of one model, on the cache that was used last.

    Attributes:
        captured: How many steps were captured so far.
        replayed: How many steps were computed by replaying one.
    """

    def __init__(self, recorder: Recorder = record, *, patience: int = PATIENCE, find: Find = split_for) -> None:
        """Begins with none.

        Args:
            recorder: What captures a step.
            patience: Steps of a form before it is captured.
            find: What finds the kernel that attends.
        """
        self.captured = self.replayed = 0
        self._recorder, self._patience = recorder, patience
        self._find, self._looked = find, False
        self._split: Split | None = None
        self._broken = False
        self._storage: tuple[int, ...] = ()
        self._buffers: dict[int, Buffers] = {}
        self._graphs: dict[Form, Work] = {}
        self._asked: dict[Form, int] = {}
        self._resident: list[tuple[ReferenceType[Row], int]] = []  # whose inputs the buffers hold, at which length

    @torch.inference_mode()
    def step(self, lm: LanguageModel, rows: Sequence[Row]) -> bool:
        """Computes one step of rows, if it is one for a graph.

        Args:
            lm: The model.
            rows: All rows of the step, each with a column of room.

        Returns:
            Whether it was computed; if not, nothing has changed.
        """
        cache = rows[0].slot.cache
        form = None if self._broken or not cache.spare else form_of(rows, whole=self._split_of(lm) is not None)
        if form is None:
            return False
        self._follow(cache)
        self._asked[form] = self._asked.get(form, 0) + 1
        if form not in self._graphs and not (self._asked[form] > self._patience and self._capture(lm, form, rows)):
            return False
        buffers = self._buffers[form.places]
        if not self._holds(rows):
            upload(buffers, rows, cache.columns)
        if form.sampling and form.sampling[0]:
            put_noise(buffers, rows)
        self._graphs[form]()
        self.replayed += 1
        self._collect(lm, buffers, form, rows)
        return True

    def _split_of(self, lm: LanguageModel) -> Split | None:
        """The kernel that attends; looked for once."""
        if not self._looked:
            self._looked, self._split = True, self._find(lm)
        return self._split

    def _follow(self, cache: KVCache) -> None:
        """Forgets graphs of another storage: they hold its addresses."""
        storage = (cache.rows, cache.columns, *(stage.keys_LRNCH.data_ptr() for stage in cache.caches))
        storage += tuple(stage.values_LRNCH.data_ptr() for stage in cache.caches)
        if storage != self._storage:
            self._graphs, self._asked, self._resident = {}, {}, []
            self._storage = storage

    def _holds(self, rows: Sequence[Row]) -> bool:
        held = [(row(), length) for row, length in self._resident]
        return len(held) == len(rows) and all(
            one is row and length == row.slot.length for (one, length), row in zip(held, rows, strict=True)
        )

    def _capture(self, lm: LanguageModel, form: Form, rows: Sequence[Row]) -> bool:
        cache = rows[0].slot.cache
        if make_room(cache, rows):  # a graph would be of the old storage
            return False
        try:
            if form.places not in self._buffers:
                self._buffers[form.places] = Buffers(lm, form.places)
            buffers = self._buffers[form.places]
            self._resident = []
            while len(self._graphs) >= MOST_GRAPHS:
                self._graphs.pop(next(iter(self._graphs)))
            self._graphs[form] = self._recorder(
                partial(upload, buffers, rows, cache.columns),
                partial(static_step, lm, cache, buffers, form, self._split_of(lm)),
            )
        except Exception as error:  # of CUDA, of the model's own code or of memory: the usual way needs none of it
            self._broken = True
            self._graphs, self._buffers = {}, {}
            log.warning("steps are computed without CUDA graphs: %s", (str(error).splitlines() or [repr(error)])[0])
            return False
        self.captured += 1
        return True

    def _collect(self, lm: LanguageModel, buffers: Buffers, form: Form, rows: Sequence[Row]) -> None:
        """Leaves the rows as the usual way would, and waits for the device only if a text or a row ends."""
        hidden_BD = buffers.hidden_BD.clone()  # the next step overwrites the buffers
        latent_BD = buffers.latent_BD.clone() if form.alignment is not None else hidden_BD
        told = buffers.told_B.tolist() if form.sampling is not None else []
        redrawn = False
        for row in rows:
            place, goal = row.slot.row, row.goal
            row.slot.length += 1
            if isinstance(goal, Thinking):
                goal.take(row, hidden_BD[place], latent_BD[place])
            elif isinstance(goal, Writing):
                token, redrawn = told[place], redrawn or told[place] < 0
                goal.take(row, token if token >= 0 else _redraw(buffers, form, place), lm.stop_ids)
            row.hidden_D = hidden_BD[place] if row.done else None
        self._resident = [] if redrawn else [(ref(row), row.slot.length) for row in rows]
        if form.sampling is None and any(row.done for row in rows):
            lm.synchronize()  # so that the time of steps that nobody waited for is theirs


def _redraw(buffers: Buffers, form: Form, place: int) -> int:
    """A token drawn from the whole vocabulary, for a row whose nucleus is wider than the candidates."""
    assert form.sampling is not None, "a row that writes"
    temperature, top_p = form.sampling
    here = slice(place, place + 1)
    drawn_B: Tensor = draw_from_all(
        buffers.logits_BV[here], buffers.uniform_B[here], temperature=temperature, top_p=top_p
    )
    return int(drawn_B)
