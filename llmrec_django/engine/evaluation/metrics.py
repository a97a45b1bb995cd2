"""How good ranked lists are. One definition for each name.

A list is a row of `ranked`, int [B, K]: resources best first, -1 where the list is short. Metrics of accuracy look at
`hits`, bool [B, K] (is the resource at this rank relevant to this learner?), and `n_relevant`, int [B]. They return one
number for each learner, float64 [B], NaN for a learner without relevant resources: such a learner says nothing about
a ranking and `mean` leaves them out. A list shorter than k is scored as if its missing places were misses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from llmrec_django.types import Float32Matrix

    PerLearner = NDArray[np.float64]
    Metric = Callable[[NDArray[np.bool_], NDArray[np.int64], int], PerLearner]


def relevance_hits(
    ranked: NDArray[np.integer], relevant: Sequence[NDArray[np.integer]]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Mark which ranks hold a relevant resource.

    Args:
        ranked: Resources, best first, -1 for none; int [B, K].
        relevant: The relevant resources of each learner; B arrays; repeats count once.

    Returns:
        hits bool [B, K] and n_relevant int64 [B].

    Raises:
        ValueError: the two differ in the number of learners, or a list names a resource twice (which would count one
            hit twice).
    """
    if len(ranked) != len(relevant):
        raise ValueError(f"Cannot score lists of {len(ranked)} learners against the truth of {len(relevant)}.")
    in_order = np.sort(ranked, axis=1)
    if ranked.shape[1] > 1 and bool(((in_order[:, 1:] == in_order[:, :-1]) & (in_order[:, 1:] >= 0)).any()):
        raise ValueError("Cannot score a list that names a resource twice.")
    distinct = [np.unique(np.asarray(rows, dtype=np.int64)) for rows in relevant]
    n_relevant = np.array([len(rows) for rows in distinct], dtype=np.int64)
    truth = np.concatenate(distinct) if distinct else np.zeros(0, dtype=np.int64)
    # (learner, resource) as one number, so that a single look-up answers for all learners.
    span = 1 + max(int(ranked.max(initial=0)), int(truth.max(initial=0)))
    wanted = np.repeat(np.arange(len(distinct)), n_relevant) * span + truth
    found = np.arange(len(ranked))[:, None] * span + ranked
    return np.isin(found, wanted) & (ranked >= 0), n_relevant


def precision(hits: NDArray[np.bool_], n_relevant: NDArray[np.int64], k: int) -> PerLearner:
    """Share of the first k places that are hits: hits in the top k / k, whatever the list's length."""
    return _known(np.asarray(hits[:, :k].sum(axis=1) / k), n_relevant)


def recall(hits: NDArray[np.bool_], n_relevant: NDArray[np.int64], k: int) -> PerLearner:
    """Share of the relevant resources that are in the top k: hits / relevant."""
    return _known(np.asarray(hits[:, :k].sum(axis=1) / np.maximum(n_relevant, 1)), n_relevant)


def f1(hits: NDArray[np.bool_], n_relevant: NDArray[np.int64], k: int) -> PerLearner:
    """Harmonic mean of precision@k and recall@k; 0 without a hit."""
    p, r = precision(hits, n_relevant, k), recall(hits, n_relevant, k)
    total = p + r
    return np.divide(2 * p * r, total, out=np.where(np.isnan(total), np.nan, 0.0), where=total > 0)


def hit_rate(hits: NDArray[np.bool_], n_relevant: NDArray[np.int64], k: int) -> PerLearner:
    """1 when any of the top k is relevant, else 0."""
    return _known(np.asarray(hits[:, :k].any(axis=1), dtype=np.float64), n_relevant)


def reciprocal_rank(hits: NDArray[np.bool_], n_relevant: NDArray[np.int64], k: int) -> PerLearner:
    """1 / rank of the first hit in the top k; 0 without one. Its mean is MRR@k."""
    top = hits[:, :k]
    if top.shape[1] == 0:
        return _known(np.zeros(len(hits)), n_relevant)
    return _known(np.where(top.any(axis=1), 1.0 / (top.argmax(axis=1) + 1), 0.0), n_relevant)


def average_precision(hits: NDArray[np.bool_], n_relevant: NDArray[np.int64], k: int) -> PerLearner:
    """Sum over the hits in the top k of precision at their rank, / relevant. Its mean is MAP@k.

    The denominator is the number of relevant resources, also where it is above k: as in trec_eval.
    """
    top = hits[:, :k]
    at_rank = np.cumsum(top, axis=1) / np.arange(1, top.shape[1] + 1)
    return _known((at_rank * top).sum(axis=1) / np.maximum(n_relevant, 1), n_relevant)


def ndcg(hits: NDArray[np.bool_], n_relevant: NDArray[np.int64], k: int) -> PerLearner:
    """Discounted gain of the hits in the top k, over the best that can be reached.

    Gains are 0 or 1, the discount is 1 / log2(rank + 1), the best has min(k, relevant) hits at the top.
    """
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    top = hits[:, :k]
    best = np.concatenate([[0.0], np.cumsum(discounts)])[np.minimum(n_relevant, k)]
    gained: PerLearner = (top * discounts[: top.shape[1]]).sum(axis=1)
    return _known(gained / np.where(best > 0, best, 1.0), n_relevant)


METRICS: dict[str, Metric] = {
    "NDCG": ndcg,
    "recall": recall,
    "precision": precision,
    "F1": f1,
    "hit rate": hit_rate,
    "MRR": reciprocal_rank,
    "MAP": average_precision,
}
"""Metrics of accuracy by the name they are printed under; "@k" is appended."""


def accuracy(
    ranked: NDArray[np.integer], relevant: Sequence[NDArray[np.integer]], ks: Sequence[int] = (10,)
) -> dict[str, PerLearner]:
    """Compute every metric of accuracy at every k.

    Returns:
        Metric name with its k ("NDCG@10") → one value for each learner, float64 [B].

    Raises:
        ValueError: some k is below 1; or see `relevance_hits`.
    """
    if any(k < 1 for k in ks):
        raise ValueError(f"Cannot score the top k of lists for k in {tuple(ks)!r}: each k must be at least 1.")
    hits, n_relevant = relevance_hits(ranked, relevant)
    return {f"{name}@{k}": metric(hits, n_relevant, k) for k in ks for name, metric in METRICS.items()}


def mean(per_learner: PerLearner) -> float:
    """Average over the learners that have a value; NaN when none has."""
    known = per_learner[~np.isnan(per_learner)]
    return float(known.mean()) if len(known) else float("nan")


def catalogue_coverage(ranked: NDArray[np.integer], n_resources: int) -> float:
    """Share of the catalogue that stands in at least one list; in [0, 1]; 0 for an empty catalogue."""
    shown = np.unique(ranked[ranked >= 0])
    return len(shown) / n_resources if n_resources else 0.0


def gini(ranked: NDArray[np.integer], n_resources: int) -> float:
    """Inequality of exposure over the whole catalogue: 0 all resources stand in equally many lists, towards 1 few do.

    The Gini coefficient of the number of lists each resource stands in; NaN when nothing is shown.
    """
    exposure = np.sort(np.bincount(ranked[ranked >= 0], minlength=n_resources)).astype(np.float64)
    total = exposure.sum()
    if total == 0:
        return float("nan")
    ranks = np.arange(1, n_resources + 1)
    return float(((2 * ranks - n_resources - 1) * exposure).sum() / (n_resources * total))


def novelty(ranked: NDArray[np.integer], learners_per_resource: NDArray[np.integer], n_learners: int) -> PerLearner:
    """Mean self-information of a list's resources in bits: −log2 of the share of learners who met the resource.

    Args:
        ranked: int [B, K].
        learners_per_resource: Distinct learners in training for each resource; int [N].
        n_learners: Learners in training. One imagined learner who met everything is added, so that a resource nobody
            has met has a finite value.

    Returns:
        float64 [B]; NaN for an empty list.
    """
    bits = -np.log2((learners_per_resource + 1) / (n_learners + 1))
    shown = ranked >= 0
    total = np.where(shown, bits[np.where(shown, ranked, 0)], 0.0).sum(axis=1) if len(bits) else np.zeros(len(ranked))
    count = shown.sum(axis=1)
    result: PerLearner = np.divide(total, count, out=np.full(len(ranked), np.nan), where=count > 0)
    return result


def intra_list_diversity(ranked: NDArray[np.integer], vectors: Float32Matrix) -> PerLearner:
    """Mean of 1 − cosine over all pairs in a list; 0 all alike, larger is more varied, at most 2.

    Args:
        ranked: int [B, K].
        vectors: Unit vectors; float32 [N, D]. Rows of zeros (no vector known) are left out of the lists.

    Returns:
        float64 [B]; NaN for lists with fewer than two vectors.
    """
    has_vector = np.linalg.norm(vectors, axis=1) > 0
    known = (ranked >= 0) & has_vector[np.where(ranked >= 0, ranked, 0)]
    count = known.sum(axis=1).astype(np.float64)
    totals = np.zeros(len(ranked))
    for row in range(len(ranked)):  # a list at a time: [B, K, D] would not fit for a large test
        total = vectors[ranked[row][known[row]]].sum(axis=0, dtype=np.float64)
        totals[row] = total @ total
    pairs = count * (count - 1)
    # ‖Σv‖² = Σ‖v‖² + Σ over ordered pairs of cosines, and ‖v‖² = 1.
    result: PerLearner = np.divide(pairs - (totals - count), pairs, out=np.full(len(ranked), np.nan), where=pairs > 0)
    return result


def _known(values: NDArray[np.float64], n_relevant: NDArray[np.int64]) -> PerLearner:
    return np.where(n_relevant > 0, values, np.nan)
