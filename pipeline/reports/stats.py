"""Statistics of a run's accuracy."""

from __future__ import annotations

from math import sqrt


def wilson_interval(correct: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Confidence interval of a share, after Wilson (1927): sensible for few questions and for shares near 0 and 1.

    Args:
        correct: How many answers are right, 0 to `total`.
        total: How many were graded.
        z: Standard normal quantile of the level; 1.96 is 95 %.

    Returns:
        Lower and upper bound, both within [0, 1]; (0.0, 1.0) if nothing was graded, since nothing is known then.

    Raises:
        ValueError: If `correct` is not within 0 to `total`.
    """
    if not 0 <= correct <= total:
        raise ValueError(f"correct must be within 0 to total, got {correct} of {total}")
    if total == 0:
        return 0.0, 1.0
    share, spread = correct / total, z * z / total
    centre = (share + spread / 2) / (1 + spread)
    half = z * sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    # Rounding may leave a bound a hair outside; at the ends the bounds are exactly 0 and 1.
    low = 0.0 if correct == 0 else max(0.0, centre - half)
    high = 1.0 if correct == total else min(1.0, centre + half)
    return low, high
