"""The one place where scores become ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from llmrec_django.types import Float32Matrix

NO_RESOURCE = -1
"""Fills the places of a list for which no resource was left."""


def tie_keys(ids: NDArray[np.integer]) -> NDArray[np.uint64]:
    """Mix ids into numbers that carry no order of theirs (the finaliser of SplitMix64); uint64 [n].

    Row numbers and database ids tell when a resource was created, so an order among equal scores taken from them
    favours the old or the new, and on public data sets scores hits.
    """
    with np.errstate(over="ignore"):
        mixed = ids.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def rank_top_k(
    scores: NDArray[np.floating],
    k: int,
    seen: Sequence[NDArray[np.integer]] | None = None,
    *,
    allowed: NDArray[np.bool_] | None = None,
    keys: NDArray[np.uint64] | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Take the best `k` resources of each learner.

    Args:
        scores: Higher is better; float [B, N]. -inf and NaN mean "never recommend".
        k: Length of a list, at least 0.
        seen: For each learner the resources to leave out; B arrays of any length, repeats allowed.
        allowed: Resources that may be recommended at all; bool [N].
        keys: What orders equal scores, smallest first; uint64 [N]. A hash of the row number when None.

    Returns:
        Resources int32 [B, k], best first, and their scores float32 [B, k]. Places that cannot be filled hold -1
        and -inf, at the end.

    Note:
        O(B·N) time; one copy of `scores`.
    """
    scores = np.array(scores, dtype=np.float32)  # [B, N], a copy: it is written to
    n_lists, n_resources = scores.shape
    np.copyto(scores, -np.inf, where=np.isnan(scores))
    if allowed is not None:
        scores[:, ~allowed] = -np.inf
    if seen is not None:
        for row, resources in enumerate(seen):
            scores[row, np.asarray(resources, dtype=np.int64)] = -np.inf
    taken = min(k, n_resources)
    ranked = np.full((n_lists, k), NO_RESOURCE, dtype=np.int32)
    best = np.full((n_lists, k), -np.inf, dtype=np.float32)
    if taken == 0 or n_lists == 0:
        return ranked, best

    threshold = np.partition(scores, n_resources - taken, axis=1)[:, n_resources - taken, None]  # [B, 1]
    chosen = scores >= threshold
    order_of_keys = np.argsort(tie_keys(np.arange(n_resources)) if keys is None else keys, kind="stable")
    crowded = np.nonzero(chosen.sum(axis=1) > taken)[0]  # more equals at the last place than places
    if len(crowded):
        chosen[crowded] = _first_by_key(scores[crowded], threshold[crowded], taken, order_of_keys)
    columns = np.nonzero(chosen)[1].reshape(n_lists, taken)
    values = np.take_along_axis(scores, columns, axis=1)
    place = np.empty(n_resources, dtype=np.int64)
    place[order_of_keys] = np.arange(n_resources)
    order = np.lexsort((place[columns], -values), axis=1)
    values = np.take_along_axis(values, order, axis=1)
    ranked[:, :taken] = np.where(np.isneginf(values), NO_RESOURCE, np.take_along_axis(columns, order, axis=1))
    best[:, :taken] = values
    return ranked, best


def _first_by_key(
    scores: Float32Matrix, threshold: Float32Matrix, taken: int, order_of_keys: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Mark what is above the threshold and, of what equals it, the first by key that still fit; bool [B, N]."""
    by_key = scores[:, order_of_keys]
    above, equal = by_key > threshold, by_key == threshold
    places_left = taken - above.sum(axis=1, keepdims=True)
    marked = above | (equal & (np.cumsum(equal, axis=1, dtype=np.int32) <= places_left))
    chosen = np.empty(marked.shape, dtype=bool)
    chosen[:, order_of_keys] = marked
    return chosen
