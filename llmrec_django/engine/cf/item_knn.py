"""Item-kNN: resources met by the same learners."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec_django.engine.cf.item_to_item import ItemToItemModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmrec_django.engine.interactions import InteractionLog


@dataclass(frozen=True, slots=True)
class ItemKnnConfig:
    """How likeness is measured and how much of it is kept."""

    neighbours: int = 200
    """Neighbours kept for each resource."""
    shrinkage: float = 10.0
    """Added to the denominator of the cosine: likeness that rests on few learners is held down."""
    length_power: float = 0.5
    """A learner with n resources counts 1/n^power: 0 lets the busiest decide, 1 makes all equal."""
    decay: float = 0.9
    """In scoring: weight of a resource of the history against the one met after it; 1 makes the history a set."""
    max_history: int = 200
    """In scoring: how many of the latest resources count."""


SCORING_FIELDS = ("decay", "max_history")
"""Fields that change scores only, not the fit."""
SEARCH_SPACE: Mapping[str, tuple[Any, ...]] = {
    "shrinkage": (0.0, 3.0, 10.0, 30.0, 100.0),
    "length_power": (0.0, 0.5, 1.0),
    "decay": (0.5, 0.7, 0.8, 0.9, 0.95, 1.0),
    "neighbours": (20, 50, 100, 200),
}
"""Values `choose` tries."""


def fit(log: InteractionLog, config: ItemKnnConfig) -> ItemToItemModel:
    """Compute the cosine between resources as columns of learners × resources; keep the nearest.

    matrix[i, j] = Σ_u w_u x_ui x_uj / (‖x_i‖ ‖x_j‖ + shrinkage), norms with the same learner weights w_u = 1/n_u^power.

    Args:
        log: Positive interactions; their order does not matter.
        config: See the fields.

    Note:
        O(Σ over learners of n_u²) time; sparse: a block of rows at a time, at most 2²⁴ entries, is multiplied out.
    """
    from scipy.sparse import csr_array, diags_array, vstack

    matrix = log.positive().matrix()
    n = log.n_resources
    lengths = np.asarray((matrix > 0).sum(axis=1)).ravel()
    weights = np.power(np.maximum(lengths, 1.0), -config.length_power)
    weighted = (diags_array(np.sqrt(weights).astype(np.float32)) @ matrix).tocsc()
    norms = np.sqrt(np.asarray(weighted.power(2).sum(axis=0)).ravel())
    transposed, weighted = weighted.T.tocsr(), weighted.tocsr()
    blocks = []
    step = max(1, 2**24 // max(1, n))
    for start in range(0, n, step):
        block = (transposed[start : start + step] @ weighted).tocoo()
        rows, columns = block.row, block.col
        likeness = block.data / (norms[rows + start] * norms[columns] + config.shrinkage + 1e-9)
        likeness[rows + start == columns] = 0.0
        blocks.append(keep_largest(csr_array((likeness, (rows, columns)), shape=block.shape), config.neighbours))
    kept = vstack(blocks, format="csr") if blocks else csr_array((n, n))
    return ItemToItemModel(kept.astype(np.float32), decay=config.decay, max_history=config.max_history)


def keep_largest(matrix: Any, k: int) -> Any:
    """Keep the `k` largest entries of each row of a csr_array."""
    counts = np.diff(matrix.indptr)
    rows = np.repeat(np.arange(matrix.shape[0]), counts)
    order = np.lexsort((-matrix.data, rows))
    place = np.arange(len(rows)) - np.repeat(matrix.indptr[:-1], counts)
    matrix.data[order[place >= k]] = 0.0
    matrix.eliminate_zeros()
    return matrix
