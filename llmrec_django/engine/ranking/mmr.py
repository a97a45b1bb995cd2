"""Diversity: maximal marginal relevance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from llmrec_django.types import Float32Matrix


def mmr_order(scores: NDArray[np.floating], vectors: Float32Matrix, k: int, diversity: float) -> list[int]:
    """Choose `k` candidates that are relevant and unlike each other.

    Maximal marginal relevance (Carbonell & Goldstein, SIGIR 1998): each step takes the candidate with the highest
    (1 - diversity) · relevance - diversity · max similarity to those already chosen.

    Args:
        scores: Relevance, higher is better; float [C].
        vectors: Unit vectors of the candidates; float32 [C, D].
        k: How many to choose; fewer are returned when C < k.
        diversity: In [0, 1]; 0 returns the order of `scores`.

    Returns:
        Indices into the candidates, best first. Ties go to the earlier candidate. Empty when C is 0.

    Note:
        O(k·C·D) time. Relevance is scaled to [0, 1] over the candidates, so that `diversity` means the same for
        every learner however close their candidates lie.
    """
    n = len(scores)
    if n == 0:
        return []
    raw = np.asarray(scores, dtype=np.float64)
    if diversity <= 0:
        return [int(i) for i in np.argsort(-raw, kind="stable")[:k]]
    spread = raw.max() - raw.min()
    relevance = (raw - raw.min()) / spread if spread > 0 else np.ones(n)
    closest = np.zeros(n)  # [C], largest similarity to anything chosen
    chosen: list[int] = []
    free = np.ones(n, dtype=bool)
    for _ in range(min(k, n)):
        # The first has nothing to be unlike: relevance alone decides, also where diversity is 1.
        gain = (1 - diversity) * relevance - diversity * closest if chosen else raw
        gain = np.where(free, gain, -np.inf)
        best = int(np.argmax(gain))
        chosen.append(best)
        free[best] = False
        closest = np.maximum(closest, vectors @ vectors[best])
    return chosen
