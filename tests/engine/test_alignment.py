import pytest
import torch

from pipeline.engine.alignment import RIDGE, build_alignment, random_orthogonal, ridge_matrix


def embeddings(vocabulary: int = 200, size: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    input_VD = torch.randn(vocabulary, size, generator=generator)
    return input_VD, torch.randn(vocabulary, size, generator=generator) * 0.3


def test_w_a_is_the_regularised_least_squares_solution():
    input_VD, output_VD = embeddings()
    # min |W_out X - W_in|^2 + lambda |X|^2, as one stacked least-squares problem in float64.
    size = output_VD.shape[1]
    stacked = torch.cat([output_VD.double(), RIDGE**0.5 * torch.eye(size, dtype=torch.float64)])
    target = torch.cat([input_VD.double(), torch.zeros(size, size, dtype=torch.float64)])
    expected = torch.linalg.lstsq(stacked, target, driver="gelsd").solution
    torch.testing.assert_close(ridge_matrix(input_VD, output_VD).double(), expected, atol=1e-5, rtol=1e-5)


def test_tied_embeddings_make_w_a_the_identity():
    input_VD, _ = embeddings()
    torch.testing.assert_close(ridge_matrix(input_VD, input_VD), torch.eye(16), atol=1e-5, rtol=0)


def test_the_random_control_is_orthogonal_and_seeded():
    rotation = random_orthogonal(16, seed=3)
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(16), atol=1e-5, rtol=0)
    assert torch.equal(rotation, random_orthogonal(16, seed=3))
    assert not torch.equal(rotation, random_orthogonal(16, seed=4))


@pytest.mark.parametrize("name", ["ridge", "identity", "random"])
def test_a_latent_input_has_the_mean_length_of_an_embedding(name):
    input_VD, output_VD = embeddings()
    alignment = build_alignment(name, input_VD=input_VD, output_VD=output_VD)
    latent_BD = alignment(torch.randn(5, 16))
    torch.testing.assert_close(latent_BD.norm(dim=-1), input_VD.norm(dim=-1).mean().expand(5))


def test_the_identity_only_rescales():
    input_VD, output_VD = embeddings()
    hidden_BD = torch.randn(3, 16)
    latent_BD = build_alignment("identity", input_VD=input_VD, output_VD=output_VD)(hidden_BD)
    torch.testing.assert_close(torch.nn.functional.cosine_similarity(latent_BD, hidden_BD), torch.ones(3))


def test_a_hidden_state_of_zeros_stays_finite():
    input_VD, output_VD = embeddings()
    assert build_alignment("ridge", input_VD=input_VD, output_VD=output_VD)(torch.zeros(1, 16)).isfinite().all()


def test_the_models_own_scaling_of_inputs_is_undone_once():
    input_VD, output_VD = embeddings()
    hidden_BD = torch.randn(2, 16)
    plain = build_alignment("ridge", input_VD=input_VD, output_VD=output_VD)
    scaled = build_alignment("ridge", input_VD=input_VD, output_VD=output_VD, input_scale=4.0)
    torch.testing.assert_close(scaled(hidden_BD) * 4.0, plain(hidden_BD))
