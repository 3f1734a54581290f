"""How questions flow to a replica, and who passes a gate."""

import asyncio

import pytest

from pipeline.runtime.flow import THREADS, Flow
from pipeline.runtime.gate import Gate


@pytest.mark.parametrize("at_once", [1, 2, 3, 4, 5, 8, 20, 64, 257])
def test_batches_at_work_hold_as_many_questions_as_a_replica_works_on_and_some_wait(at_once):
    flow = Flow(at_once=at_once)
    assert flow.batch * flow.depth > at_once
    assert flow.depth <= THREADS
    assert 1 <= flow.batch <= at_once


def test_a_replica_that_takes_one_batch_at_a_time_gets_whole_ones():
    flow = Flow(at_once=8, serial=True)
    assert (flow.batch, flow.depth) == (8, 2)


def test_many_pass_a_gate_at_once_and_one_who_wants_to_be_alone_is():
    inside, seen = [], []

    async def visit(gate, name, *, alone):
        async with gate.passed(alone=alone):
            inside.append(name)
            seen.append((name, tuple(inside)))
            await asyncio.sleep(0.01)
            inside.remove(name)

    async def all_of_them():
        gate = Gate()
        first = [asyncio.create_task(visit(gate, name, alone=False)) for name in "ab"]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        late = [asyncio.create_task(visit(gate, "X", alone=True)), asyncio.create_task(visit(gate, "c", alone=False))]
        await asyncio.gather(*first, *late)

    asyncio.run(all_of_them())
    assert dict(seen)["b"] == ("a", "b")
    assert dict(seen)["X"] == ("X",)
    assert [name for name, _ in seen] == ["a", "b", "X", "c"]  # who came later does not keep X waiting


def test_a_gate_opens_again_when_whoever_was_inside_or_waited_is_cancelled():
    async def scene():
        gate = Gate()

        async def stay(alone):
            async with gate.passed(alone=alone):
                await asyncio.sleep(60)

        inside = asyncio.create_task(stay(True))
        await asyncio.sleep(0.01)
        waiting = asyncio.create_task(stay(True))
        await asyncio.sleep(0.01)
        for task in (waiting, inside):
            task.cancel()
        await asyncio.gather(waiting, inside, return_exceptions=True)
        async with asyncio.timeout(1):
            async with gate.passed(alone=False):
                return True

    assert asyncio.run(scene())
