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
    return bootstrap_means(np.asarray(values)[:, None], confidence=confidence, draws=draws, seed=seed)[0]


def bootstrap_means(
    values: NDArray[np.floating], *, confidence: float = 0.95, draws: int = 1000, seed: int = 0
) -> list[Estimate]:
    """Estimate the means of several measures of the same learners, from the same resamples of them.

    Args:
        values: One row for each learner, one column for each measure; float [n, M]; NaN is left out.
        confidence: See `bootstrap_mean`; so `draws` and `seed`.

    Returns:
        One estimate for each column.

    Note:
        O(draws · n · (1 + M)) time; 32 MB beside the values.
    """
    values = np.asarray(values, dtype=np.float64)
    n, n_measures = values.shape
    known = ~np.isnan(values)
    counts = known.sum(axis=0)
    filled = np.where(known, values, 0.0)
    rng = np.random.default_rng(seed)
    means = np.full((draws, n_measures), np.nan)
    step = max(1, 2**21 // max(1, n))  # a part of the draws at a time
    for start in range(0, draws if n else 0, step):
        n_draws = min(step, draws - start)
        picked = rng.integers(0, n, size=(n_draws, n)) + n * np.arange(n_draws)[:, None]
        # How often each learner is in each resample; float64 [n_draws, n].
        times = np.bincount(picked.ravel(), minlength=n_draws * n).reshape(n_draws, n).astype(np.float64)
        weights = n if known.all() else times @ known
        with np.errstate(invalid="ignore"):  # a resample may hold no learner with a value
            means[start : start + n_draws] = (times @ filled) / weights
    tail = (1 - confidence) / 2
    estimates = []
    for column in range(n_measures):
        if not counts[column]:
            estimates.append(Estimate(float("nan"), float("nan"), float("nan"), 0))
            continue
        low, high = np.nanquantile(means[:, column], [tail, 1 - tail])
        mean = float(filled[:, column].sum() / counts[column])
        estimates.append(Estimate(mean, float(low), float(high), int(counts[column])))
    return estimates


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
