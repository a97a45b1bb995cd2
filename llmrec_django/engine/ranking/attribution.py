"""Which of a learner's own resources a score rests on: score again without each of them, and see what is missing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from llmrec_django.engine.interactions import InteractionLog
    from llmrec_django.types import Float32Matrix


def without_each(
    log: InteractionLog, resources: NDArray[np.integer], *, copies: int = 0, newcomers: int = 0
) -> InteractionLog:
    """Return a learner's history as if they had never met this or that resource.

    Args:
        log: The history of one learner.
        resources: To be left out, one at a time; int [m].
        copies: So many learners more with the whole history.
        newcomers: Then so many without any.

    Returns:
        A log of all these learners: 0 is the learner as they are, n + 1 the learner without resource n.
    """
    kept = np.ones((1 + len(resources) + copies, len(log)), dtype=bool)
    kept[1 : 1 + len(resources)] = log.resources != np.asarray(resources)[:, None]
    learners, places = np.nonzero(kept)
    return replace(log.take(places), learners=learners.astype(np.int32), n_learners=len(kept) + newcomers)


def occluded(scores: Float32Matrix) -> Float32Matrix:
    """Return how much each resource lacks without each part of the history.

    Args:
        scores: Of `without_each`: row 0 with everything; float32 [m + 1, k].

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
