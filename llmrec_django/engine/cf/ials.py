"""Matrix factorisation for catalogues too large for a dense item matrix."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from llmrec_django.engine.cf.item_to_item import latest_steps
from llmrec_django.exceptions import MissingDependency

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from llmrec_django.engine.interactions import InteractionLog
    from llmrec_django.types import Float32Matrix


@dataclass(frozen=True, slots=True)
class IalsConfig:
    """How the factors are fitted."""

    factors: int = 128
    """Length of a resource's vector."""
    reg: float = 3.0
    """λ on both sides; the confidences add up to about alpha for each interaction, so it grows with alpha."""
    alpha: float = 10.0
    """Confidence in an interaction of weight 1, where none has confidence 1."""
    iterations: int = 15
    """Alternations between learners and resources."""
    decay: float = 0.9
    """In scoring: weight of a resource of the history against the one met after it."""
    max_history: int = 100
    """In scoring: how many of the latest resources count."""
    seed: int = 0
    """Start of the factors."""


SCORING_FIELDS = ("decay", "max_history")
"""Fields that change scores only, not the fit."""
SEARCH_SPACE: Mapping[str, tuple[Any, ...]] = {
    "reg": (0.1, 1.0, 3.0, 10.0, 30.0, 100.0),
    "alpha": (3.0, 10.0, 30.0),
    "decay": (0.7, 0.8, 0.9, 1.0),
    "factors": (64, 128, 256),
}
"""Values `choose` tries."""


@dataclass(frozen=True, eq=False)
class IalsModel:
    """Resource vectors; a learner's vector is computed from their history when asked, so new learners are no case."""

    item_factors: Float32Matrix
    """float32 [N, F]"""
    config: IalsConfig

    @property
    def n_resources(self) -> int:
        """Size of the catalogue, N."""
        return len(self.item_factors)

    @cached_property
    def _gram(self) -> Float32Matrix:
        """YᵀY + λI: the same for all learners; float32 [F, F]."""
        factors = np.asarray(self.item_factors)
        gram: Float32Matrix = factors.T @ factors + self.config.reg * np.eye(factors.shape[1], dtype=np.float32)
        return gram

    def learner_vectors(self, histories: Sequence[NDArray[np.integer]]) -> Float32Matrix:
        """Solve for each learner: (YᵀY + λI + Σ αw yyᵀ)⁻¹ Σ (1 + αw) y over the history, w = decay^d.

        Returns:
            float32 [B, F]; zeros for an empty history.

        Note:
            O(B·(L·F² + F³)) time; the batch is cut so that less than 64 MB are held.
        """
        config, factors = self.config, self.item_factors
        size = factors.shape[1]
        vectors = np.zeros((len(histories), size), dtype=np.float32)
        step = max(1, 2**23 // max(1, size * size))
        for start in range(0, len(histories), step):
            stop = min(start + step, len(histories))
            systems = np.repeat(self._gram[None], stop - start, axis=0)  # [b, F, F]
            totals = np.zeros((stop - start, size), dtype=np.float32)
            for row in range(start, stop):
                latest, weights = latest_steps(histories[row], config.decay, config.max_history)
                distinct, places = np.unique(latest, return_inverse=True)
                weight = np.bincount(places, weights=weights, minlength=len(distinct)).astype(np.float32)
                met, confidence = factors[distinct], np.float32(config.alpha) * weight[:, None]
                systems[row - start] += met.T @ (met * confidence)
                totals[row - start] = (met * (1 + confidence)).sum(axis=0)
            vectors[start:stop] = np.linalg.solve(systems, totals[..., None])[..., 0]
        return vectors

    def score(self, histories: Sequence[NDArray[np.integer]]) -> Float32Matrix:
        """Score the whole catalogue for each learner; float32 [B, N], zeros for an empty history."""
        return self.learner_vectors(histories) @ self.item_factors.T

    def rescored(self, config: IalsConfig) -> IalsModel:
        """Take over the scoring fields of another config; the fit is shared."""
        return replace(self, config=config)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything the model is made of, as arrays that any container can hold."""
        c = self.config
        form = [c.factors, c.reg, c.alpha, c.iterations, c.decay, c.max_history, c.seed]
        return {"form": np.array(form, dtype=np.float64), "item_factors": self.item_factors}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild a model from `to_arrays`."""
        factors, reg, alpha, iterations, decay, max_history, seed = (float(value) for value in arrays["form"])
        config = IalsConfig(int(factors), reg, alpha, int(iterations), decay, int(max_history), int(seed))
        return cls(arrays["item_factors"], config)


def fit(log: InteractionLog, config: IalsConfig) -> IalsModel:
    """Fit resource vectors by alternating least squares over implicit feedback (Hu, Koren & Volinsky, ICDM 2008).

    Args:
        log: Positive interactions; their order does not matter.
        config: See the fields.

    Raises:
        MissingDependency: the package `implicit` is not installed.

    Note:
        O(iterations · (interactions · F² + (U + N) · F³)) time, 4·F·(U + N) bytes.
    """
    try:
        from implicit.als import AlternatingLeastSquares
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("implicit", "threadpoolctl"):
            raise
        raise MissingDependency(
            "Cannot fit matrix factorisation: the package 'implicit' is not installed. "
            'Run `pip install "llmrec_django[cf]"` or leave this source out.'
        ) from error
    from scipy.sparse import csr_matrix

    matrix = csr_matrix(log.positive().matrix())
    matrix.data = 1.0 + config.alpha * matrix.data  # implicit takes confidences
    if matrix.nnz == 0:
        return IalsModel(np.zeros((log.n_resources, config.factors), np.float32), config)
    with threadpool_limits(1, "blas"):  # it runs its own threads; BLAS threads inside them would only wait
        model = AlternatingLeastSquares(
            factors=config.factors,
            regularization=config.reg,
            alpha=1.0,
            iterations=config.iterations,
            use_gpu=False,
            random_state=config.seed,
        )
        model.fit(matrix, show_progress=False)
    return IalsModel(np.asarray(model.item_factors, dtype=np.float32), config)
