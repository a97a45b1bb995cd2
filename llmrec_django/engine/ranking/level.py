"""How hard things should be for a learner, and lists that lean to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

OBSERVATION_DECAY = 0.7
"""Each earlier statement about a learner's level counts this much less."""


def estimate_level(statements: Sequence[tuple[float | None, int]], declared: float | None, top: float) -> float | None:
    """Return a learner's level from what they found too hard or too easy, and what they say themselves.

    Something too hard says that the learner stands one level below it, something too easy one above; the estimate is
    the mean of these, the last statement counting most and their own word as the oldest of all. Who never said
    anything was taken to fit what they were offered first; so one statement moves a list, and does not overturn it.

    Args:
        statements: (level of the resource or None, +1 for too easy or -1 for too hard), oldest first.
        declared: What the learner says; None: nothing.
        top: The highest level; the lowest is 0.

    Returns:
        In [0, top]; None when nothing is known.
    """
    observed = [] if declared is None else [declared]
    for level, direction in statements:
        if level is None:
            # Unknown how hard it was: then it speaks of where the learner stood so far, or of the middle.
            level = _mean(observed) if observed else top / 2
        if not observed:
            observed.append(level)
        observed.append(level + direction)
    return min(top, max(0.0, _mean(observed))) if observed else None


def _mean(observed: Sequence[float]) -> float:
    weights = OBSERVATION_DECAY ** np.arange(len(observed))[::-1]
    return float(np.average(observed, weights=weights))


def lean(
    scores: NDArray[np.floating], levels: NDArray[np.floating], level: float, weight: float, n: int
) -> NDArray[np.float64]:
    """Return scores lowered by how far each candidate is from a learner's level.

    Args:
        scores: Best first; [N].
        levels: Of the candidates, NaN where unknown; such a candidate is taken to be as far away as the mean. [N]
        level: Of the learner.
        weight: What one level costs, as a share of what lies between the first score and the `n`-th: so things of
            another level give way to the next ones, never to ones that are far from relevant.
        n: Places in the list.

    Returns:
        float64 [N], in the order given. Where the first `n` scores are equal, places count instead of scores.
    """
    values = np.asarray(scores, dtype=np.float64)
    if not len(values):
        return values
    spread = float(values[0] - values[min(n, len(values)) - 1])
    if spread <= 0:
        values, spread = values - np.arange(len(values)) / n, 1.0
    away = np.abs(np.asarray(levels, dtype=np.float64) - level)
    known = np.isfinite(away)
    if not known.any():
        return values
    away[~known] = away[known].mean()
    return values - weight * spread * away
