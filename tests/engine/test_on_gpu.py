"""On a CUDA device: captured steps, prompts read without masks, handover through pinned memory, memory that runs out.

Needs neither Ray nor MLflow; jobs/gpu_check.sh runs it together with the benchmark.
"""

import copy

import pytest
import torch

from pipeline.agents.crowd import Crowd
from pipeline.config import CARRIERS, DecodingConfig
from pipeline.engine import Row, RunningBatch, Thinking, Writing, build_alignment, decode, prefill, think, wrap_model
from pipeline.engine.kernels import split_for
from pipeline.memory import Memory, pack, unpack_segments
from pipeline.memory.pinned import CHUNK, copies, to_device
from tiny import tiny_model

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

PROMPTS = [[5, 9, 11, 30, 31], [7, 8], [20, 21, 22, 23, 24, 25, 26, 27, 40], [33, 12, 12, 50]]
LENGTHS = [40, 9, 60, 23]
GREEDY = DecodingConfig(temperature=0, max_new_tokens=64)
SAMPLED = DecodingConfig(temperature=0.9, top_p=0.9, max_new_tokens=64, seed=3)


def on_gpu(family, dtype=torch.float32, **sizes):
    lm = tiny_model(family, **sizes)
    moved = wrap_model(copy.deepcopy(lm.causal_lm).to("cuda", dtype), lm.tokenizer, name=family)
    moved.stop_ids = frozenset()
    return moved


@pytest.fixture(scope="module", params=["qwen3", "llama", "mistral"])
def family(request):
    return request.param


@pytest.fixture(scope="module")
def fine(family):
    return on_gpu(family)


@pytest.fixture(scope="module")
def coarse(family):
    return on_gpu(family, torch.bfloat16)


class Uncaptured:
    """Within it, a model's steps go the usual way."""

    def __init__(self, lm):
        self.lm = lm

    def __enter__(self):
        self.graphs, self.lm.graphs = self.lm.graphs, None

    def __exit__(self, *_):
        self.lm.graphs = self.graphs


def rows_of(lm, batch, goals):
    return [
        Row(slot=batch.cache.open(Memory(), columns=len(prompt), move=lm.move), goal=goal, token_ids=prompt)
        for prompt, goal in zip(PROMPTS, goals, strict=True)
    ]


def written(lm, config=GREEDY):
    batch = RunningBatch(lm)
    goals = [
        Writing(config=config, noise_key=(f"q{i}", "solver"), budget=length, room=4000)
        for i, length in enumerate(LENGTHS)
    ]
    batch.run(rows_of(lm, batch, goals))
    return [goal.token_ids for goal in goals]


def alignment_of(lm):
    return build_alignment("ridge", input_VD=lm.input_vectors(), output_VD=lm.output_vectors())


def thought(lm, alignment, steps=20):
    batch = RunningBatch(lm)
    rows = rows_of(lm, batch, [Thinking(alignment=alignment, steps=steps) for _ in PROMPTS])
    batch.run(rows)
    cut = {"role": "r", "question_id": "q", "fingerprint": lm.fingerprint, "latent_steps": steps}
    return [row.slot.cut(0, **cut) for row in rows], torch.stack([row.hidden_D for row in rows])


def distance(one, other):
    return float((one.float() - other.float()).norm() / other.float().norm())


@pytest.mark.parametrize("config", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_captured_texts_are_those_of_the_usual_way(fine, config):
    with Uncaptured(fine):
        expected = written(fine, config)
    before = fine.graphs.replayed
    assert written(fine, config) == expected
    assert fine.graphs.replayed > before, "nothing was captured"


def test_captured_thoughts_are_those_of_the_usual_way(fine):
    alignment = alignment_of(fine)
    with Uncaptured(fine):
        expected, hidden = thought(fine, alignment)
    before = fine.graphs.replayed
    found, own = thought(fine, alignment)
    assert fine.graphs.replayed > before, "nothing was captured"
    assert distance(own, hidden) < 1e-4
    for ours, theirs in zip(found, expected, strict=True):
        assert distance(ours.keys_LNTH, theirs.keys_LNTH) < 1e-4
        assert distance(ours.values_LNTH, theirs.values_LNTH) < 1e-4


def test_in_bfloat16_captured_thoughts_are_close(coarse):
    alignment = alignment_of(coarse)
    with Uncaptured(coarse):
        _, expected = thought(coarse, alignment, steps=6)
    before = coarse.graphs.replayed
    _, found = thought(coarse, alignment, steps=6)
    assert coarse.graphs.replayed > before, "nothing was captured"
    assert distance(found, expected) < 0.1


def test_a_text_on_a_gpu_is_that_of_the_cpu(family, fine):
    lm = tiny_model(family)
    lm.stop_ids = frozenset()
    assert [ids[:12] for ids in written(fine)] == [ids[:12] for ids in written(lm)]


def test_what_a_row_computes_depends_on_its_neighbours_by_rounding_alone(fine, coarse):
    for lm, tolerance in ((fine, 1e-4), (coarse, 0.05)):
        together = prefill(lm, lm.open([Memory()] * len(PROMPTS), columns=16), PROMPTS)
        for prompt, hidden_D in zip(PROMPTS, together, strict=True):
            alone = prefill(lm, lm.open([Memory()], columns=16), [prompt])[0]
            assert distance(hidden_D, alone) < tolerance


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("family", ["qwen3", "mistral"])
def test_captured_steps_of_heads_of_a_usual_size_attend_with_our_kernel(family, dtype):
    lm = on_gpu(family, dtype, head_dim=64, num_attention_heads=10, num_key_value_heads=2)
    assert split_for(lm) is not None
    with Uncaptured(lm):
        expected = written(lm)
    found = written(lm)
    assert lm.graphs.replayed > 0
    if dtype == torch.float32:
        assert found == expected


def test_memory_handed_over_in_place_and_packed_leads_to_the_same_text(fine):
    alignment, carrier = alignment_of(fine), CARRIERS["object_store"]
    slots = fine.open([Memory()] * len(PROMPTS), columns=64)
    think(fine, slots, prefill(fine, slots, PROMPTS), alignment, 8)
    cut = {"role": "planner", "fingerprint": fine.fingerprint, "latent_steps": 8}
    segments = [slot.cut(0, question_id=f"q{i}", **cut) for i, slot in enumerate(slots)]
    parcel = pack(carrier, [(segment.question_id, segment) for segment in segments])
    arrived = unpack_segments(carrier, parcel, fine.device, 0.0)

    def answers(memories):
        opened = fine.open(memories, columns=16)
        keys = [(f"q{i}", "solver") for i in range(len(PROMPTS))]
        hidden = prefill(fine, opened, PROMPTS[::-1])
        goals = decode(fine, opened, hidden, noise_keys=keys, budgets=[12] * len(PROMPTS), config=GREEDY)
        return [goal.token_ids for goal in goals]

    for segment in segments:
        assert torch.equal(arrived[segment.question_id].keys_LNTH, segment.keys_LNTH)
        assert torch.equal(arrived[segment.question_id].values_LNTH, segment.values_LNTH)
    elsewhere = answers([Memory.of([arrived[segment.question_id]]) for segment in segments])
    assert elsewhere == answers([Memory.of([segment]) for segment in segments])


def test_bytes_that_go_through_pinned_buffers_are_whole_when_they_are_read():
    flat = torch.randint(0, 255, (2 * CHUNK + 12345,), dtype=torch.uint8)
    busy = torch.randn(4096, 4096, device="cuda")
    for _ in range(3):
        for _ in range(20):
            busy = torch.tanh(busy @ busy)
        given = flat.clone()
        found = to_device(given, torch.device("cuda"))
        given.zero_()  # the caller may do so once it has returned
        assert torch.equal(found.cpu(), flat)


def test_copies_to_the_host_are_whole_when_they_are_left():
    source = torch.randn(1 << 22, device="cuda")
    for _ in range(20):
        source = torch.sin(source * 3)
    target = torch.empty(source.shape, pin_memory=True)
    with copies(source.device):
        target.copy_(source, non_blocking=True)
    assert torch.equal(target, source.cpu())


class Text:
    """A question that writes one long text."""

    def __init__(self, lm, number):
        self.lm, self.number = lm, number
        self.restart()

    done = property(lambda self: self.error is not None or (self.row is not None and self.row.done))

    def restart(self):
        self.row, self.error = None, None

    def fail(self, error):
        self.error = error

    def go_on(self, batch):
        if self.row is None:
            goal = Writing(config=GREEDY, noise_key=(str(self.number), ""), budget=600, room=4000)
            slot = batch.cache.open(Memory(), columns=8, move=self.lm.move)
            self.row = Row(slot=slot, goal=goal, token_ids=[5 + self.number % 40, 9, 11])
            batch.add(self.row)


def test_memory_that_runs_out_halves_the_questions_at_once_and_all_are_answered():
    lm = on_gpu("llama", head_dim=128, num_key_value_heads=4, num_hidden_layers=8)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    limit = torch.cuda.memory_reserved() + int(1.6e9)
    texts = [Text(lm, number) for number in range(60)]
    crowd = Crowd(RunningBatch(lm))
    torch.cuda.set_per_process_memory_fraction(limit / total)
    try:
        crowd.answer(texts)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert [text.error for text in texts] == [None] * 60
    assert {len(text.row.goal.token_ids) for text in texts} == {600}
    assert crowd.at_once is not None
    assert crowd.at_once < 60
    assert "memory ran out" in crowd.notices[0]
