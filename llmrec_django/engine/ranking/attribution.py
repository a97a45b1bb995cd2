"""Which parts of a learner's history a score rests on: what is missing from it without each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from llmrec_django.types import Float32Matrix


def occluded(scores: Float32Matrix) -> Float32Matrix:
    """Return how much each resource lacks without each part of the history.

    Args:
        scores: Row 0 with everything, then without each part; float32 [m + 1, k].

    Returns:
        float32 [m, k]; above 0 where the part lifts the resource, below 0 where it holds it down.
    """
    missing: Float32Matrix = scores[0] - scores[1:]
    return missing


def strongest(effects: Float32Matrix, *, most: int, least_share: float) -> list[list[tuple[int, float]]]:
    """Return for each resource the parts that lift it most, with their shares of all that lifts it.

    Args:
        effects: float32 [m, k], as `occluded` gives them.
        most: So many at most.
        least_share: Parts with a smaller share are not worth naming; in [0, 1].

    Returns:
        k lists of (row of `effects`, share in (0, 1]), largest first. Empty where nothing lifts a resource.
    """
    lifts = np.maximum(effects, 0.0)
    shares = lifts / np.maximum(lifts.sum(axis=0), np.finfo(np.float32).tiny)
    order = np.argsort(-shares, axis=0, kind="stable")[:most]
    largest = np.take_along_axis(shares, order, axis=0)
    return [
        [(row, share) for row, share in zip(rows, found, strict=True) if share > 0 and share >= least_share]
        for rows, found in zip(order.T.tolist(), largest.T.tolist(), strict=True)
    ]
