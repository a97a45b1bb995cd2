"""From a scorer and a split to ranked lists, a batch of learners at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llmrec_django.engine.evaluation.metrics import ndcg, relevance_hits
from llmrec_django.engine.ranking.topk import rank_top_k

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from llmrec_django.engine.cf.base import Scorer
    from llmrec_django.engine.evaluation.splits import Split

BATCH_FLOATS = 2**23
"""Scores held at once: 32 MB."""


def rank_split(scorer: Scorer, split: Split, k: int, *, allowed: NDArray[np.bool_] | None = None) -> NDArray[np.int32]:
    """Rank the full catalogue, without what each learner has met, for every learner a split asks about.

    Args:
        scorer: Fitted on `split.train` or less.
        split: Who is asked about.
        k: Length of the lists.
        allowed: Rank only among these resources; bool [N]. None: the full catalogue.

    Returns:
        int32 [B, k], best first, -1 where a list is short.
    """
    histories = split.histories()
    ranked = np.full((len(histories), k), -1, dtype=np.int32)
    step = batch_size(split.train.n_resources)
    for start in range(0, len(histories), step):
        batch = histories[start : start + step]
        ranked[start : start + step], _ = rank_top_k(scorer.score(batch), k, batch, allowed=allowed)
    return ranked


def ndcg_of(scorer: Scorer, split: Split, k: int = 10) -> NDArray[np.float64]:
    """NDCG@k of every learner a split asks about; float64 [B]."""
    hits, n_relevant = relevance_hits(rank_split(scorer, split, k), split.relevant)
    return ndcg(hits, n_relevant, k)


def batch_size(n_resources: int) -> int:
    """Learners to score at once so that their scores stay within `BATCH_FLOATS`."""
    return max(1, BATCH_FLOATS // max(1, n_resources))
