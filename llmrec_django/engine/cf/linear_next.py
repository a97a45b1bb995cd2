"""Linear next-step model: what comes next, from all that came before, in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec_django.engine.cf.ease import MAX_RESOURCES
from llmrec_django.engine.cf.item_to_item import ItemToItemModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmrec_django.engine.interactions import InteractionLog

NEGLIGIBLE = 0.03
"""Steps back or ahead that weigh less are left out of the fit: they cost as much and say nothing."""


@dataclass(frozen=True, slots=True)
class LinearNextConfig:
    """How past and future are weighed, and how the model is held down."""

    reg: float = 30.0
    """λ: added to the diagonal, in steps."""
    decay: float = 0.8
    """Weight of a resource of the past against the one met after it, in fitting and in scoring."""
    ahead_decay: float = 0.5
    """Weight of the step after next against the next one, and so on; 0 predicts the next step only."""
    length_power: float = 0.0
    """A learner with n steps counts 1/n^power: 0 lets the busiest decide, 1 makes all equal."""
    max_history: int = 50
    """How many of the latest resources count."""


SCORING_FIELDS = ()
"""Fields that change scores only: none, the decay is part of the fit."""
SEARCH_SPACE: Mapping[str, tuple[Any, ...]] = {
    "decay": (0.5, 0.7, 0.8, 0.9, 0.95),
    "reg": (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0),
    "ahead_decay": (0.0, 0.3, 0.5, 0.7),
    "length_power": (0.0, 0.5, 1.0),
}
"""Values `choose` tries."""


def fit(log: InteractionLog, config: LinearNextConfig, *, max_resources: int = MAX_RESOURCES) -> ItemToItemModel:
    """Predict what follows from the decayed sum of what came before, by ridge regression over every step.

    The transition model of SLIST (Choi et al., WWW 2021): matrix = (PᵀWP + λI)⁻¹ PᵀWF; row t of P holds what came
    before step t, row t of F what came from it on, W the weights of interactions and learners. Where `transitions`
    lets each resource of the past speak for itself, here they share the credit.

    Args:
        log: Positive interactions in each learner's own order.
        config: See the fields.
        max_resources: Refuse larger catalogues.

    Raises:
        ValueError: the catalogue is too large.

    Note:
        O(steps · reach² + N³) time, reach the steps back that are not negligible; 12·N² bytes while fitting, 4·N²
        for the model.
    """
    from scipy.linalg import cho_factor, cho_solve
    from scipy.sparse import diags_array

    n = log.n_resources
    if n > max_resources:
        raise ValueError(
            f"Cannot fit the linear next-step model on {n} resources: its matrix would be dense. At most "
            f"{max_resources} are allowed; use transitions."
        )
    log = log.positive().without_pings()
    past = _window(log, config.decay, config.max_history, ahead=False)
    steps = np.maximum(log.lengths - 1, 1)
    weights = log.weights * np.power(steps, -config.length_power)[log.learners]
    is_step = log.positions > 0
    if is_step.any():
        weights *= is_step.sum() / max(float(weights[is_step].sum()), 1e-12)  # reg means the same at every power
    weighted = (diags_array(weights.astype(np.float32)) @ past).T.tocsr()  # [N, steps]
    future = _window(log, config.ahead_decay, config.max_history, ahead=True)
    gram = np.asarray((weighted @ past).toarray(order="F"), dtype=np.float32)
    gram[np.diag_indices(n)] += config.reg
    target = np.asarray((weighted @ future).toarray(order="F"), dtype=np.float32)
    matrix = target
    if n:
        matrix = cho_solve(cho_factor(gram, overwrite_a=True, check_finite=False), target, overwrite_b=True)
        matrix[np.diag_indices(n)] = 0.0
    return ItemToItemModel(
        np.ascontiguousarray(matrix, dtype=np.float32), decay=config.decay, max_history=config.max_history
    )


def _window(log: InteractionLog, decay: float, reach: int, *, ahead: bool) -> Any:
    """Row t: what came before interaction t (decay^(d - 1), d ≥ 1 steps back), or from it on (decay^g, g ≥ 0)."""
    from scipy.sparse import csr_array

    after = log.lengths[log.learners] - 1 - log.positions
    rows, columns, weights = [], [], []
    for step in range(reach):
        weight = decay**step
        if weight < NEGLIGIBLE:
            break
        reached = np.nonzero(after >= step if ahead else log.positions > step)[0]
        rows.append(reached)
        columns.append(log.resources[reached + step] if ahead else log.resources[reached - step - 1])
        weights.append(np.full(len(reached), weight, dtype=np.float32))
    if not rows:
        return csr_array((len(log), log.n_resources), dtype=np.float32)
    entries = (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns)))
    return csr_array(entries, shape=(len(log), log.n_resources))
