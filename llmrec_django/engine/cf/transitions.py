"""What learners did next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from llmrec_django.engine.cf.item_to_item import ItemToItemModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmrec_django.engine.interactions import InteractionLog


@dataclass(frozen=True, slots=True)
class TransitionsConfig:
    """How steps from one resource to a later one are counted."""

    window: int = 5
    """A resource counts as following another when at most this many steps lie between them."""
    gap_decay: Literal["none", "sqrt", "linear"] = "linear"
    """How much less a step of gap g counts than one of gap 1: 1, 1/√g or 1/g of it."""
    smoothing: float = 10.0
    """Imagined steps from each resource to nowhere: shares of resources with few steps are held down."""
    reverse: float = 0.3
    """Weight of the same steps read backwards (what was done before), against forwards."""
    target_power: float = 0.0
    """Divides by (steps into the target)^power: above 0, resources everybody comes to count less."""
    decay: float = 0.6
    """In scoring: weight of a resource of the history against the one met after it."""
    max_history: int = 50
    """In scoring: how many of the latest resources count."""


SCORING_FIELDS = ("decay", "max_history")
"""Fields that change scores only, not the fit."""
SEARCH_SPACE: Mapping[str, tuple[Any, ...]] = {
    "window": (1, 2, 3, 5, 10, 20),
    "gap_decay": ("none", "sqrt", "linear"),
    "smoothing": (1.0, 3.0, 10.0, 30.0, 100.0),
    "reverse": (0.0, 0.1, 0.3, 0.6, 1.0),
    "target_power": (0.0, 0.1, 0.2, 0.4),
    "decay": (0.3, 0.5, 0.7, 0.8, 0.9, 1.0),
}
"""Values `choose` tries."""


def fit(log: InteractionLog, config: TransitionsConfig) -> ItemToItemModel:
    """Count, for each resource, what came within a few steps after it, and what came before.

    matrix = P + reverse · P', P[i, j] = steps(i → j) / (smoothing + steps from i), P' the same of the transposed
    counts. A step counts with the weight of the interaction it leads to, so that capped learners count little.

    Args:
        log: Positive interactions in each learner's own order.
        config: See the fields.

    Note:
        O(interactions · window) time and memory; sparse.
    """
    log = log.positive().without_pings()
    counts = count_steps(log, config)
    matrix = _shares(counts, config)
    if config.reverse > 0:
        matrix = matrix + config.reverse * _shares(counts.T.tocsr(), config)
    matrix = matrix.tocsr().astype(np.float32)
    matrix.sort_indices()
    return ItemToItemModel(matrix, decay=config.decay, max_history=config.max_history)


def count_steps(log: InteractionLog, config: TransitionsConfig) -> Any:
    """Weighted steps from resource to resource; scipy `csr_array` float32 [N, N], nothing on the diagonal."""
    from scipy.sparse import coo_array, csr_array

    n = log.n_resources
    counts = csr_array((n, n), dtype=np.float32)
    power = {"none": 0.0, "sqrt": 0.5, "linear": 1.0}[config.gap_decay]
    for gap in range(1, config.window + 1):
        same_learner = log.learners[gap:] == log.learners[:-gap]
        before, after = log.resources[:-gap][same_learner], log.resources[gap:][same_learner]
        weights = log.weights[gap:][same_learner] * np.float32(gap**-power)
        moved = before != after
        if not moved.any():
            continue
        steps = coo_array((weights[moved], (before[moved], after[moved])), shape=(n, n))
        counts = counts + steps.tocsr()
    return counts


def _shares(counts: Any, config: TransitionsConfig) -> Any:
    from scipy.sparse import diags_array

    outgoing = np.asarray(counts.sum(axis=1)).ravel()
    # Without smoothing a resource that leads nowhere would be divided by zero.
    shares = diags_array(1.0 / np.maximum(config.smoothing + outgoing, 1e-9)) @ counts
    if config.target_power > 0:
        incoming = np.asarray(counts.sum(axis=0)).ravel()
        shares = shares @ diags_array(np.maximum(incoming, 1.0) ** -config.target_power)
    return shares
