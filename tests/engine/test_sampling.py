import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.engine.sampling import noise_stream, sample


def test_noise_depends_on_seed_question_agent_and_step_only():
    stream = noise_stream(1, "q1", "solver", 100)
    assert torch.equal(stream[:10], noise_stream(1, "q1", "solver", 10))
    others = [
        noise_stream(2, "q1", "solver", 100),
        noise_stream(1, "q2", "solver", 100),
        noise_stream(1, "q1", "critic", 100),
    ]
    assert not any(torch.equal(stream, other) for other in others)
    assert stream.min() >= 0
    assert stream.max() < 1


def test_temperature_zero_takes_the_largest_logit():
    logits_BV = torch.tensor([[0.0, 3.0, 1.0], [5.0, 4.9, 4.8]])
    assert sample(logits_BV, torch.tensor([0.9, 0.9]).double(), temperature=0, top_p=0.1).tolist() == [1, 0]


def test_samples_follow_the_distribution_of_the_nucleus():
    logits_V = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05]))
    draws = 40_000
    uniform = torch.from_numpy(np.random.default_rng(0).random(draws))
    ids = sample(logits_V.expand(draws, 4), uniform, temperature=1.0, top_p=0.9)
    share = torch.bincount(ids, minlength=4) / draws
    # 0.5 + 0.3 < 0.9, so the nucleus has three tokens; the fourth is never drawn.
    expected = torch.tensor([0.5, 0.3, 0.15, 0.0]) / 0.95
    torch.testing.assert_close(share, expected, atol=0.01, rtol=0)
    assert share[3] == 0


def test_temperature_sharpens_and_flattens():
    logits_V = torch.log(torch.tensor([0.6, 0.4]))
    uniform = torch.linspace(0, 0.999, 1000).double()
    for temperature in (0.5, 2.0):
        ids = sample(logits_V.expand(1000, 2), uniform, temperature=temperature, top_p=1.0)
        expected = torch.softmax(logits_V / temperature, -1)[0]
        assert abs((ids == 0).float().mean() - expected) < 0.01


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000), top_p=st.sampled_from([0.01, 0.5, 0.95, 1.0]), spread=st.sampled_from([0.0, 0.1, 5.0])
)
def test_looking_at_the_best_candidates_first_changes_no_draw(seed, top_p, spread):
    generator = torch.Generator().manual_seed(seed)
    logits_BV = spread * torch.randn(
        3, 700, generator=generator
    )  # flat rows need the whole vocabulary, peaked ones do not
    uniform_B = torch.rand(3, generator=generator, dtype=torch.float64)
    together = sample(logits_BV, uniform_B, temperature=1.0, top_p=top_p)
    alone = torch.cat(
        [sample(logits_BV[i : i + 1], uniform_B[i : i + 1], temperature=1.0, top_p=top_p) for i in range(3)]
    )
    assert torch.equal(together, alone)
    assert ((together >= 0) & (together < 700)).all()


def test_ties_are_drawn_the_same_beside_any_neighbour():
    """Half precision makes many logits equal; whether a neighbour needs the whole vocabulary must not matter."""
    generator = torch.Generator().manual_seed(0)
    flat_V = torch.zeros(700)
    for _ in range(40):
        row_V = torch.randn(700, generator=generator).mul(3).bfloat16().float()
        uniform = torch.rand(1, generator=generator, dtype=torch.float64)
        alone = sample(row_V[None], uniform, temperature=0.6, top_p=0.95)
        beside = sample(torch.stack([flat_V, row_V]), uniform.expand(2), temperature=0.6, top_p=0.95)
        assert int(alone) == int(beside[1])


def test_a_row_that_needs_the_whole_vocabulary_gets_it():
    logits_V = torch.zeros(700)
    ids = {
        int(sample(logits_V[None], torch.tensor([u]).double(), temperature=1.0, top_p=1.0)) for u in (0.0, 0.5, 0.999)
    }
    assert ids == {0, 350, 699}
