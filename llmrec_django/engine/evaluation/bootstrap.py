"""How sure one can be of a mean over learners, and of a difference between two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over learners with its interval."""

    mean: float
    low: float
    high: float
    n: int
    """Learners that have a value."""

    @property
    def is_above_zero(self) -> bool:
        """The whole interval lies above 0: of a difference, that the first is the better one."""
        return self.low > 0


def bootstrap_mean(
    values: NDArray[np.floating], *, confidence: float = 0.95, draws: int = 1000, seed: int = 0
) -> Estimate:
    """Estimate the mean and its percentile bootstrap interval over learners.

    Args:
        values: One for each learner; NaN (nothing to say) is left out.
        confidence: In (0, 1).
        draws: Resamples.
        seed: The same seed gives the same interval.

    Returns:
        NaN for mean and bounds when no learner has a value; bounds equal to the mean for one learner.
    """
    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    n = len(known)
    if n == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    rng = np.random.default_rng(seed)
    means = np.empty(draws)
    step = max(1, 2**21 // n)  # a part of the draws at a time: 16 MB of indices
    for start in range(0, draws, step):
        picked = rng.integers(0, n, size=(min(step, draws - start), n))
        means[start : start + len(picked)] = known[picked].mean(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(float(known.mean()), float(low), float(high), n)


def paired_difference(
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    *,
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Estimate how much better `first` is than `second` on the same learners.

    Resampling learners, not scores, keeps what makes the comparison sharp: both face the same hard learners.

    Args:
        first: One value for each learner; NaN in either leaves the learner out.
        second: The same learners in the same order.
        confidence: See `bootstrap_mean`; so `draws` and `seed`.

    Raises:
        ValueError: the two differ in length.
    """
    if len(first) != len(second):
        raise ValueError(f"Cannot compare {len(first)} learners with {len(second)}: they must be the same ones.")
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    return bootstrap_mean(difference, confidence=confidence, draws=draws, seed=seed)
