"""Groups of learners by how much is known about them, and of resources by how many chose them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SEGMENT_STARTS = (0, 1, 3, 10)
"""Shortest history of each segment, increasing from 0."""
CHOSEN_STARTS = (0, 1, 10)
"""The same for resources: how many learners had chosen one. The first segment holds what is new."""


def segment_names(starts: Sequence[int] = SEGMENT_STARTS) -> tuple[str, ...]:
    """Name the segments: "0", "1-2", "3-9", "10+" for the starts 0, 1, 3, 10."""
    ends = [start - 1 for start in starts[1:]]
    closed = [f"{a}" if a == b else f"{a}-{b}" for a, b in zip(starts[:-1], ends, strict=True)]
    return (*closed, f"{starts[-1]}+")


def history_segments(lengths: NDArray[np.integer], starts: Sequence[int] = SEGMENT_STARTS) -> NDArray[np.int64]:
    """Number the segment of each history; int64 [B], 0 the shortest.

    Args:
        lengths: Interactions in each history; int [B].
        starts: See `SEGMENT_STARTS`.
    """
    return np.searchsorted(np.asarray(starts), lengths, side="right") - 1


def segment_means(
    per_learner: NDArray[np.floating], segments: NDArray[np.integer], n_segments: int
) -> list[tuple[float, int]]:
    """Average a metric within each segment.

    Returns:
        (mean, learners that have a value) of each segment; the mean is NaN where there are none.
    """
    known = ~np.isnan(per_learner)
    counts = np.bincount(segments[known], minlength=n_segments)
    sums = np.bincount(segments[known], weights=per_learner[known], minlength=n_segments)
    return [(float(s / n) if n else float("nan"), int(n)) for s, n in zip(sums, counts, strict=True)]
