"""EASE: which resources go together, in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec_django.engine.cf.item_to_item import ItemToItemModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmrec_django.engine.interactions import InteractionLog

MAX_RESOURCES = 10_000
"""Above so many resources `fit` refuses: the matrix is dense. Item-kNN and factorisation take over."""


@dataclass(frozen=True, slots=True)
class EaseConfig:
    """How the linear model is held down."""

    reg: float = 100.0
    """λ: added to the diagonal, in interactions. Small catalogues with many learners bear more."""
    dropout: float = 0.0
    """As if each interaction were dropped with this probability, in [0, 1): popular resources are held down more."""
    length_power: float = 0.5
    """A learner with n resources counts 1/n^power: 0 lets the busiest decide, 1 makes all equal."""
    decay: float = 0.9
    """In scoring: weight of a resource of the history against the one met after it; 1 makes the history a set."""
    max_history: int = 200
    """In scoring: how many of the latest resources count."""


SCORING_FIELDS = ("decay", "max_history")
"""Fields that change scores only, not the fit."""
SEARCH_SPACE: Mapping[str, tuple[Any, ...]] = {
    "reg": (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0),
    "dropout": (0.0, 0.1, 0.3, 0.5),
    "length_power": (0.0, 0.5, 1.0),
    "decay": (0.5, 0.7, 0.8, 0.9, 0.95, 1.0),
}
"""Values `choose` tries."""


def fit(log: InteractionLog, config: EaseConfig, *, max_resources: int = MAX_RESOURCES) -> ItemToItemModel:
    """Predict each resource of a learner from their others, by ridge regression without a self-loop.

    Embarrassingly Shallow Autoencoders (Steck, WWW 2019), with the dropout term of Steck, NeurIPS 2020:
    matrix = I − P / diag(P), P = (XᵀX + λI + diagonal of the dropout)⁻¹, X learners × resources.

    Args:
        log: Positive interactions; their order does not matter.
        config: See the fields.
        max_resources: Refuse larger catalogues.

    Raises:
        ValueError: the catalogue is too large.
        LinAlgError: `reg` is too small for the data.

    Note:
        O(N³) time, 4·N² bytes for the matrix and as much again while fitting: 0.8 GB at 10,000 resources. float32 is
        enough: entries differ from those in float64 by less than 1e-3 of the largest at λ ≥ 1.
    """
    from scipy.linalg import lapack

    n = log.n_resources
    if n > max_resources:
        raise ValueError(
            f"Cannot fit EASE on {n} resources: its matrix would be dense. At most {max_resources} are allowed; "
            "use item-kNN or matrix factorisation."
        )
    if n == 0:
        return ItemToItemModel(np.zeros((0, 0), np.float32), decay=config.decay, max_history=config.max_history)
    gram = _gram(log, config)  # [N, N]
    diagonal = np.diag_indices(n)
    gram[diagonal] += config.reg + config.dropout / (1 - config.dropout) * gram[diagonal]
    factor, failed = lapack.spotrf(gram, lower=False, overwrite_a=True)
    if failed:
        raise np.linalg.LinAlgError(f"Cannot fit EASE: no inverse exists at reg={config.reg!r}. Use a larger one.")
    inverse, _ = lapack.spotri(factor, lower=False, overwrite_c=True)  # upper triangle only
    inverse = np.triu(inverse)
    matrix = inverse + np.triu(inverse, 1).T
    del inverse, factor, gram
    matrix /= -np.diag(matrix).copy()  # column j over P[j, j]
    matrix[diagonal] = 0.0
    return ItemToItemModel(
        np.ascontiguousarray(matrix, dtype=np.float32), decay=config.decay, max_history=config.max_history
    )


def _gram(log: InteractionLog, config: EaseConfig) -> Any:
    from scipy.sparse import diags_array

    matrix = log.positive().matrix()
    lengths = np.asarray((matrix > 0).sum(axis=1)).ravel()
    weights = np.power(np.maximum(lengths, 1.0), -config.length_power)
    if lengths.sum():
        weights /= (weights * lengths).sum() / lengths.sum()  # so that reg means the same at every power
    gram = (matrix.T @ (diags_array(weights.astype(np.float32)) @ matrix)).toarray(order="F")
    return np.asarray(gram, dtype=np.float32, order="F")
