"""Comparing the arms of an experiment: rates over many learners, with honest intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Z = 1.959963984540054
"""Of a two-sided 95 % interval."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of events, such as clicks by impressions, with a 95 % interval."""

    value: float | None
    """None: there were no chances."""
    low: float | None = None
    high: float | None = None
    hits: float = 0.0
    chances: float = 0.0
    variance: float = 0.0
    """Of `value`, learners being drawn at random."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Of two rates, with a 95 % interval and the share of the second that it is."""

    value: float
    low: float
    high: float
    relative: float | None
    """None: the rate compared with is 0."""

    @property
    def is_sure(self) -> bool:
        """The interval leaves 0 out."""
        return self.low > 0 or self.high < 0


def rate(hits: ArrayLike, chances: ArrayLike) -> Rate:
    """Return sum(hits) / sum(chances) with an interval that knows that one learner's events go together.

    Ten clicks of one learner say less than ten clicks of ten learners. The variance is that of a ratio of sums over
    learners (delta method); the interval is Wilson's for as many independent chances as have this variance, so it
    stays in [0, 1] and is not empty for a rate of 0.

    Args:
        hits: Of each learner, at most as many as their chances; [learners].
        chances: Of each learner; [learners].
    """
    y, n = np.asarray(hits, dtype=np.float64), np.asarray(chances, dtype=np.float64)
    y, n = y[n > 0], n[n > 0]
    return rate_of(
        Sums(len(n), float(y.sum()), float(n.sum()), float((y * y).sum()), float((y * n).sum()), float((n * n).sum()))
    )


@dataclass(frozen=True, slots=True)
class Sums:
    """What `rate` needs to know of all learners, so that a database can add it up."""

    learners: int
    """Who had any chances; the sums are over these."""
    hits: float
    chances: float
    hits_squared: float
    """Σ hits² over the learners."""
    hits_by_chances: float
    """Σ hits · chances."""
    chances_squared: float
    """Σ chances²."""


def rate_of(sums: Sums) -> Rate:
    """Return the rate and interval of `rate` from sums over learners."""
    if not sums.learners or sums.chances <= 0:
        return Rate(None)
    learners, total = sums.learners, sums.chances
    p = sums.hits / total
    # Σ (hits - p · chances)². What rounding leaves where every learner did the same is none.
    square = sums.hits_squared + p**2 * sums.chances_squared
    residual = square - 2 * p * sums.hits_by_chances
    variance = residual / total**2 if residual > 1e-12 * square else 0.0
    variance *= learners / (learners - 1) if learners > 1 else 1.0
    # Where every learner did the same there is no variance to see: then each learner counts as one chance.
    effective = p * (1 - p) / variance if variance > 0 and 0 < p < 1 else float(learners)
    effective = min(max(effective, 1.0), total)
    centre = (p + Z**2 / (2 * effective)) / (1 + Z**2 / effective)
    half = Z * math.sqrt(p * (1 - p) / effective + Z**2 / (4 * effective**2)) / (1 + Z**2 / effective)
    if variance == 0:
        variance = max(p * (1 - p), 0.25 / (effective + 1)) / effective
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return Rate(p, low if p > 0 else 0.0, high if p < 1 else 1.0, sums.hits, total, variance)


def difference(one: Rate, other: Rate) -> Difference | None:
    """Return by how much `one` is above `other`, whose learners are others; None where one of them says nothing."""
    if one.value is None or other.value is None:
        return None
    value = one.value - other.value
    half = Z * float(np.sqrt(one.variance + other.variance))
    return Difference(value, value - half, value + half, value / other.value if other.value else None)


def sample_ratio_p(counts: ArrayLike, shares: ArrayLike) -> float | None:
    """Return the probability of counts as uneven as these if learners were dealt by `shares` (chi-square test).

    A small one (below 0.001, say) means that the arms did not get the learners they should have: then what they
    show cannot be compared, however large the difference.

    Args:
        counts: Learners of each arm; [arms].
        shares: In any unit, at least 0; [arms].

    Returns:
        None with fewer than two arms of a share above 0, or fewer than 5 learners to be expected in one of them.
    """
    from scipy.special import gammaincc

    observed, weights = np.asarray(counts, dtype=np.float64), np.asarray(shares, dtype=np.float64)
    if ((weights <= 0) & (observed > 0)).any():
        return 0.0
    observed, weights = observed[weights > 0], weights[weights > 0]
    if len(weights) < 2:
        return None
    expected = observed.sum() * weights / weights.sum()
    if expected.min() < 5:
        return None
    statistic = float(((observed - expected) ** 2 / expected).sum())
    return float(gammaincc((len(weights) - 1) / 2, statistic / 2))
