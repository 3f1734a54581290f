"""Between rows and the buffers of captured steps: what form a step has, and its inputs' way to the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pipeline.engine.alignment import Alignment
from pipeline.engine.rows import Row, Thinking, Writing
from pipeline.engine.static import Buffers, Form
from pipeline.memory import KVCache
from pipeline.memory.slots import BUCKET

ROOM = 0.5
"""Share of the free memory that the room for texts under way may take at most."""


def form_of(rows: Sequence[Row], *, whole: bool = False) -> Form | None:
    """The form of a step; none if it is not one for a graph.

    Args:
        rows: All rows of the step.
        whole: Whether attention gets all columns of the cache, because it reads no more than it must.
    """
    alignments, samplings = set[Alignment](), set[tuple[float, float]]()
    for row in rows:
        goal = row.goal
        if row.unread or row.guesses or (row.latent_D if isinstance(goal, Thinking) else row.token) is None:
            return None
        if isinstance(goal, Thinking):
            alignments.add(goal.alignment)
        elif isinstance(goal, Writing):
            samplings.add((goal.config.temperature, goal.config.top_p))
        else:
            return None
    if len(alignments) > 1 or len(samplings) > 1:
        return None
    cache, longest = rows[0].slot.cache, max(row.slot.length for row in rows) + 1
    places = 1 << max(row.slot.row for row in rows).bit_length()
    return Form(
        places=min(places, cache.rows),
        # With a mask what is not read has weight 0, and 0 * NaN would still be NaN: the spare columns stay out.
        columns=cache.allocated if whole else min(-(-longest // BUCKET) * BUCKET, cache.columns),
        alignment=next(iter(alignments), None),
        sampling=next(iter(samplings), None),
    )


def upload(buffers: Buffers, rows: Sequence[Row], idle: int) -> None:
    """Puts the rows' next inputs into the buffers.

    Args:
        buffers: Where they go; each row's place is its slot's row.
        rows: The rows.
        idle: The column that places without a row write to.
    """
    state = torch.zeros(buffers.state.shape, dtype=torch.int64)
    state[2] = idle
    for row in rows:
        thinks, length = isinstance(row.goal, Thinking), row.slot.length
        state[:, row.slot.row] = torch.tensor([row.token or 0, length, length, 1, thinks])
    buffers.state.copy_(state, non_blocking=True)  # pageable memory: it has been read when this returns
    latents = {row.slot.row: row.latent_D for row in rows if row.latent_D is not None}
    if latents:
        buffers.latent_BD[list(latents)] = torch.stack(list(latents.values())).to(buffers.latent_BD)


def make_room(cache: KVCache, rows: Sequence[Row]) -> bool:
    """Reserves columns for all that the rows may yet write, if memory is plentiful; returns whether the cache moved.

    Growing later would mean to capture anew each time.
    """
    ends = [row.slot.length + _left(row) for row in rows]
    wanted = max(ends) - cache.columns
    if wanted <= 0 or cache.shape.device.type != "cuda":
        return False
    device = cache.shape.device
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = torch.cuda.mem_get_info(device)[0] + unused
    # While keys or values move, both their old and their new storage are there.
    needed = cache.nbytes // 2 + cache.rows * (wanted + BUCKET) * cache.shape.bytes_per_position
    if needed > ROOM * free:
        return False
    cache.reserve(columns=max(ends))
    return True


def _left(row: Row) -> int:
    """Positions that a row may yet take."""
    goal = row.goal
    if isinstance(goal, Thinking):
        return goal.steps - goal.taken + 1
    return goal.limit - len(goal.token_ids) + 1 if isinstance(goal, Writing) else 1


def put_noise(buffers: Buffers, rows: Sequence[Row]) -> None:
    """Puts the noise of the rows' next tokens into the buffers."""
    uniform_B = torch.zeros(len(buffers.uniform_B), dtype=torch.float64)
    for row in rows:
        if isinstance(row.goal, Writing):
            uniform_B[row.slot.row] = row.goal.draw
    buffers.uniform_B.copy_(uniform_B, non_blocking=True)
