"""Where vectors lie beside the embeddings of tokens, in numbers: coverage, drift, and a plane to draw both in.

Pure: arrays in, numbers out; what is drawn by lot is the same each time. scikit-learn and scipy are slow to import, and
so they are imported where they are used.

Shapes: N, M vectors, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.floating[Any]]
"""Rows of length D."""
NEIGHBOURS = 5
"""k of the coverage."""
INSIDE = 0.95
"""Share of tokens within the radius of their cloud."""


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How much of a cloud of tokens other vectors reach, and how much others would, by which it can be read."""

    points: int
    """How many vectors there are of each kind."""
    thoughts: float
    """By the vectors in question."""
    tokens: float
    """By as many other tokens, which is what vectors of the same distribution reach: 0.97 if all are different."""
    random: float
    """By as many vectors of the same lengths in random directions."""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Where vectors lie beside a cloud of tokens; lengths and distances are in units of the embeddings."""

    norm: float
    """Mean length."""
    spread: float
    """Mean distance from their own centre: next to nothing if all are alike."""
    centre: float
    """Distance of their centre from the tokens' centre."""
    values: float
    """1-D Wasserstein distance of the distribution of all their components from that of the tokens' components."""
    beyond: float
    """Share that lies further from the tokens' centre than 95 % of the tokens do."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Plane:
    """A plane in the space of embeddings."""

    origin_D: Vectors
    """A point of it."""
    axes_2D: Vectors
    """Two directions at right angles, of length 1."""
    shares: tuple[float, float]
    """How much of the variance each of them holds."""

    def project(self, vectors_ND: Vectors) -> Vectors:
        """Vectors as points of the plane, [N, 2]."""
        points_N2: Vectors = (vectors_ND - self.origin_D) @ self.axes_2D.T
        return points_N2


def coverage(tokens_ND: Vectors, others_MD: Vectors) -> float:
    """Share of tokens whose ball, as wide as their k-th nearest neighbour is far (k = 5), holds one of the others.

    This is the coverage of Naeem et al. 2020 (Reliable Fidelity and Diversity Metrics for Generative Models) with
    tokens as the real samples.

    Args:
        tokens_ND: More than k of them, all different.
        others_MD: What is to reach them; about as many, as the number grows with their count.
    """
    from sklearn.neighbors import NearestNeighbors

    radius_N = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(tokens_ND).kneighbors()[0][:, -1]
    nearest_N = NearestNeighbors(n_neighbors=1).fit(others_MD).kneighbors(tokens_ND)[0][:, 0]
    return float((nearest_N <= radius_N).mean())


def drift(vectors_ND: Vectors, tokens_MD: Vectors) -> Drift:
    """Where vectors lie beside a cloud of tokens."""
    from scipy.stats import wasserstein_distance

    own_D, centre_D = vectors_ND.mean(axis=0), tokens_MD.mean(axis=0)
    radius = np.quantile(_distances(tokens_MD, centre_D), INSIDE)
    return Drift(
        norm=float(np.linalg.norm(vectors_ND, axis=1).mean()),
        spread=float(_distances(vectors_ND, own_D).mean()),
        centre=float(np.linalg.norm(own_D - centre_D)),
        values=float(wasserstein_distance(vectors_ND.ravel(), tokens_MD.ravel())),
        beyond=float((_distances(vectors_ND, centre_D) > radius).mean()),
    )


def fit_plane(clouds: Sequence[Vectors]) -> Plane:
    """The plane in which some clouds together spread most (joint PCA), each cloud counting alike."""
    from sklearn.decomposition import PCA

    count = min(len(cloud) for cloud in clouds)
    pca = PCA(n_components=2, svd_solver="full").fit(np.concatenate([some(cloud, count) for cloud in clouds]))
    first, second = pca.explained_variance_ratio_
    return Plane(origin_D=pca.mean_, axes_2D=pca.components_, shares=(float(first), float(second)))


def some(vectors_ND: Vectors, count: int) -> Vectors:
    """So many of the vectors, drawn by lot, the same each time; all of them if there are no more."""
    drawn: Vectors = vectors_ND[places(len(vectors_ND), count)]
    return drawn


def places(total: int, count: int) -> NDArray[np.int64]:
    """Which of `total` things `some` takes, in the order of the lot."""
    return np.random.default_rng(0).permutation(total)[:count]


def random_like(vectors_ND: Vectors) -> Vectors:
    """Vectors of the same lengths in random directions."""
    noise_ND = np.random.default_rng(1).normal(size=vectors_ND.shape)
    lengths_N1 = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    scaled_ND: Vectors = noise_ND * (lengths_N1 / np.linalg.norm(noise_ND, axis=1, keepdims=True))
    return scaled_ND


def _distances(vectors_ND: Vectors, centre_D: Vectors) -> Vectors:
    distances_N: Vectors = np.linalg.norm(vectors_ND - centre_D, axis=1)
    return distances_N
