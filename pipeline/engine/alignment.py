"""From a hidden state to the next input embedding (LatentMAS, arXiv 2511.20639, section 3).

`W_a = (W_out' W_out + lambda I)^-1 W_out' W_in` maps the last hidden state, taken after the final norm, to where the
embedding of the token it points at lies; the result is then rescaled to the mean row norm of `W_in`.

Shapes: B rows, D hidden size, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.config import AlignmentName

RIDGE = 1e-5
"""lambda, the paper's ridge."""
SMALLEST_NORM = 1e-6
"""Below this a vector's norm does not count as a direction's length."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Alignment:
    """One way to turn hidden states into input embeddings.

    Calling it maps hidden_BD, the last hidden states after the final norm, to input embeddings [B, D] in the same
    dtype, ready to be given to the model as `inputs_embeds`.
    """

    name: AlignmentName
    """ridge, identity or random."""
    matrix_DD: Tensor | None
    """W_a in float32, applied from the right; none for the identity."""
    norm: float
    """Mean row norm of W_in: the length that every latent input gets."""
    input_scale: float = 1.0
    """Factor by which the model itself scales `inputs_embeds`; undone once, here."""

    def __call__(self, hidden_BD: Tensor) -> Tensor:
        """Maps last hidden states to the next input embeddings."""
        embeds_BD = hidden_BD.float()
        if self.matrix_DD is not None:
            embeds_BD = embeds_BD @ self.matrix_DD
        length_B1 = embeds_BD.norm(dim=-1, keepdim=True).clamp_min(SMALLEST_NORM)
        scaled_BD: Tensor = embeds_BD * (self.norm / self.input_scale / length_B1)
        return scaled_BD.to(hidden_BD.dtype)


def ridge_matrix(input_VD: Tensor, output_VD: Tensor) -> Tensor:
    """W_a [D, D] in float32, by the Cholesky factor of the regularised Gram matrix of W_out.

    Args:
        input_VD: W_in, the embeddings as they enter the first layer.
        output_VD: W_out, the rows of the language-model head.
    """
    inputs, outputs = input_VD.float(), output_VD.float()
    gram_DD = outputs.T @ outputs
    cross_DD = gram_DD.clone() if torch.equal(inputs, outputs) else outputs.T @ inputs  # tied: one product, not two
    gram_DD.diagonal().add_(RIDGE)
    return torch.cholesky_solve(cross_DD, torch.linalg.cholesky(gram_DD))


def random_orthogonal(size: int, seed: int) -> Tensor:
    """A seeded orthogonal [size, size] matrix in float32, uniform over rotations and reflections (the control)."""
    noise = torch.randn(size, size, generator=torch.Generator().manual_seed(seed))
    q_DD, r_DD = torch.linalg.qr(noise)
    rotation_DD: Tensor = q_DD * r_DD.diagonal().sign()
    return rotation_DD


def build_alignment(
    name: AlignmentName, *, input_VD: Tensor, output_VD: Tensor, input_scale: float = 1.0, seed: int = 0
) -> Alignment:
    """Builds the alignment of a model, once; the matrix lies beside the embeddings.

    Args:
        name: Which one.
        input_VD: W_in, the embeddings as they enter the first layer.
        output_VD: W_out, the rows of the language-model head.
        input_scale: Factor by which the model itself scales `inputs_embeds` (Gemma: sqrt(D)).
        seed: Of the random control.
    """
    matrix_DD: Tensor | None = None
    if name == "ridge":
        matrix_DD = ridge_matrix(input_VD, output_VD)
    elif name == "random":
        matrix_DD = random_orthogonal(input_VD.shape[1], seed).to(input_VD.device)
    norm = float(input_VD.float().norm(dim=-1).mean())
    return Alignment(name=name, matrix_DD=matrix_DD, norm=norm, input_scale=input_scale)
