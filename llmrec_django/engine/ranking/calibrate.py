"""Making scores of different models comparable.

A calibration maps each score by itself, with constants fixed when the model was trained. It never looks at the other
scores of a list: the same resource gets the same number whether a request scores a hundred candidates or a nightly
run the whole catalogue, so both give the same order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from llmrec_django.types import Float32Matrix

KNEES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, np.inf)
"""Knees tried, as multiples of the median score (in absolute value) of what learners went on to."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """calibrated = (bend(score) − centre) / spread, where bend is linear below the knee and logarithmic above it.

    bend(s) = sign(s) · log(1 + |s| / knee). Counts and shares want logarithms, cosines and logits want none; the knee
    says which, and everything between.
    """

    knee: float = float("inf")
    """Score at which the bend sets in; infinity: bend(s) = s."""
    centre: float = 0.0
    """Mean of the bent scores over candidates."""
    spread: float = 1.0
    """Their standard deviation."""

    def __call__(self, scores: Float32Matrix) -> Float32Matrix:
        """Calibrate scores of any shape; float32. "Cannot say" (NaN) becomes 0, the score of an average candidate."""
        calibrated = bend(scores, self.knee)
        calibrated -= np.float32(self.centre)
        calibrated /= np.float32(self.spread)
        np.copyto(calibrated, 0.0, where=np.isnan(calibrated))
        return calibrated

    def to_dict(self) -> dict[str, float | None]:
        """Return it as JSON can hold it: an infinite knee is None."""
        knee = self.knee if np.isfinite(self.knee) else None
        return {"knee": knee, "centre": self.centre, "spread": self.spread}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild from `to_dict`."""
        knee = float("inf") if values["knee"] is None else float(values["knee"])
        return cls(knee, float(values["centre"]), float(values["spread"]))


def bend(scores: Float32Matrix, knee: float) -> Float32Matrix:
    """Compress what lies above the knee; odd, increasing; a new float32 array."""
    if not np.isfinite(knee):
        return np.array(scores, dtype=np.float32)
    bent: Float32Matrix = np.copysign(np.log1p(np.abs(scores) / np.float32(knee)), scores).astype(np.float32)
    return bent


def fit_calibration(scores: Float32Matrix, is_candidate: NDArray[np.bool_], target: NDArray[np.integer]) -> Calibration:
    """Choose the knee under which softmax(weight · calibrated score) best predicts what learners went on to.

    Args:
        scores: Of one source, for the candidates of each learner; float32 [n, C], NaN where it cannot say.
        is_candidate: False for padding; bool [n, C].
        target: Column of what the learner went on to; int [n].

    Returns:
        The identity when there is nothing to fit or all scores are equal.
    """
    known = is_candidate & ~np.isnan(scores)
    at_target = np.abs(scores[np.arange(len(scores)), target])
    at_target = at_target[at_target > 0]  # NaN is not above 0 either
    if not known.any() or not len(at_target):
        return Calibration()
    best, best_loss = Calibration(), np.inf
    for knee in float(np.median(at_target)) * np.array(KNEES):
        bent = bend(scores[known], knee)
        spread = float(bent.std(dtype=np.float64))
        if not spread > 1e-6 * float(np.abs(bent).max()):  # all alike but for rounding
            continue
        candidate = Calibration(float(knee), float(bent.mean(dtype=np.float64)), spread)
        features = candidate(scores)[:, :, None]
        _, loss = fit_softmax(features, is_candidate, target)
        if loss < best_loss:
            best, best_loss = candidate, loss
    return best


def fit_softmax(
    features: NDArray[np.float32],
    is_candidate: NDArray[np.bool_],
    target: NDArray[np.integer],
    *,
    start: NDArray[np.floating] | None = None,
    pull: float = 0.0,
    may_correct: Sequence[int] = (),
) -> tuple[NDArray[np.float64], float]:
    """Find weights, all or most ≥ 0, that make softmax(features · weights) likeliest to give the targets.

    Minimises the mean of −log p(target) + pull / (2n) · ‖weights − start‖²: convex, so there is one answer.

    Args:
        features: float32 [n, C, S]; what is no candidate may hold anything finite.
        is_candidate: bool [n, C].
        target: Column of the target, a candidate; int [n].
        start: Where the weights are pulled to, [S]; zeros when None.
        pull: How many learners' worth of evidence `start` is.
        may_correct: Columns whose weight may be below 0.

    Returns:
        Weights float64 [S] and the mean of −log p(target) alone. `start` and NaN when n is 0.
    """
    from scipy.optimize import minimize

    n, _, n_features = features.shape
    origin = np.zeros(n_features) if start is None else np.asarray(start, dtype=np.float64)
    if n == 0:
        return origin, float("nan")
    rows = np.arange(n)
    at_target = features[rows, target].astype(np.float64)  # [n, S]
    log_loss = 0.0

    def objective(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        nonlocal log_loss
        logits = features @ weights.astype(np.float32)  # [n, C]
        logits[~is_candidate] = -np.inf
        logits -= logits.max(axis=1, keepdims=True)
        at = logits[rows, target].astype(np.float64)
        p = np.exp(logits, out=logits)
        totals = p.sum(axis=1, dtype=np.float64)
        p /= totals[:, None].astype(np.float32)
        expected = (p[:, None, :] @ features)[:, 0]  # [n, S]
        log_loss = float((np.log(totals) - at).mean())
        away = weights - origin
        gradient = (expected - at_target).mean(axis=0) + pull / n * away
        return log_loss + pull / (2 * n) * float(away @ away), gradient

    first = np.maximum(origin, 0.1)
    bounds = [(None if column in may_correct else 0.0, None) for column in range(n_features)]
    found = minimize(objective, first, jac=True, method="L-BFGS-B", bounds=bounds)
    objective(found.x)
    return np.asarray(found.x, dtype=np.float64), log_loss
