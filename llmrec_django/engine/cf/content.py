"""What lies near the learner's recent resources in the language model's space. Nothing is learned from learners."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from llmrec_django.engine.cf.item_to_item import recency_weights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from llmrec_django.types import Float32Matrix


@dataclass(frozen=True, slots=True)
class ContentConfig:
    """How vectors are prepared and averaged."""

    dimensions: int = 128
    """Principal components kept; fewer where there are fewer resources with a vector or shorter vectors."""
    whitening: float = 0.5
    """Components are divided by (their standard deviation)^whitening: 0 leaves them, 1 makes all equal."""
    decay: float = 0.95
    """Weight of a resource of the history against the one met after it."""
    max_history: int = 20
    """How many of the latest resources count."""


@dataclass(frozen=True, eq=False)
class ContentModel:
    """Scores a resource by its cosine with the mean of the learner's recent ones."""

    vectors: Float32Matrix
    """Prepared unit vectors; float32 [N, D]; zeros where a resource has none."""
    decay: float = 0.95
    max_history: int = 20

    @property
    def n_resources(self) -> int:
        """Size of the catalogue, N."""
        return len(self.vectors)

    def score(self, histories: Sequence[NDArray[np.integer]]) -> Float32Matrix:
        """Score the whole catalogue for each learner.

        Args:
            histories: Resources of each learner, oldest first; B arrays, empty ones allowed.

        Returns:
            Cosine in [-1, 1], float32 [B, N]; NaN ("cannot say") for resources without a vector and for learners
            none of whose recent resources has one.
        """
        weights = recency_weights(histories, self.n_resources, decay=self.decay, max_history=self.max_history)
        means = unit_rows(np.asarray(weights @ self.vectors, dtype=np.float32))  # [B, D]
        scores = means @ self.vectors.T
        scores[:, ~self.vectors.any(axis=1)] = np.nan
        scores[~means.any(axis=1)] = np.nan
        return scores

    def neighbours(self, k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Take the `k` nearest of each resource with a positive cosine.

        Returns:
            Resources int32 [N, k], nearest first, and cosines float32 [N, k]; filled with -1 and 0.
        """
        from llmrec_django.engine.ranking.topk import rank_top_k

        n = self.n_resources
        ids = np.full((n, k), -1, dtype=np.int32)
        weights = np.zeros((n, k), dtype=np.float32)
        step = max(1, 2**24 // max(1, n))
        for start in range(0, n, step):
            cosines = self.vectors[start : start + step] @ self.vectors.T
            cosines[cosines <= 0] = -np.inf
            rows = np.arange(start, start + len(cosines))[:, None]
            ids[start : start + step], best = rank_top_k(cosines, k, list(rows))
            weights[start : start + step] = np.where(np.isneginf(best), 0.0, best)
        return ids, weights

    def rescored(self, config: ContentConfig) -> ContentModel:
        """Take over the scoring fields of another config; the fit is shared."""
        return replace(self, decay=config.decay, max_history=config.max_history)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything the model is made of, as arrays that any container can hold."""
        return {"form": np.array([self.decay, self.max_history], dtype=np.float64), "vectors": self.vectors}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild a model from `to_arrays`."""
        decay, max_history = arrays["form"]
        return cls(arrays["vectors"], float(decay), int(max_history))


def fit(vectors: Float32Matrix, config: ContentConfig) -> ContentModel:
    """Centre, rotate to principal components, whiten in part, and bring to unit length.

    Text vectors share a large common part that says "this is a text of this site"; without it cosines tell
    resources apart.

    Args:
        vectors: The encoder's vectors; float32 [N, d]; zeros where a resource has no text.
        config: See the fields.

    Note:
        O(N·d²) time.
    """
    known = vectors.any(axis=1)
    prepared = np.zeros((len(vectors), min(config.dimensions, vectors.shape[1])), dtype=np.float32)
    if known.any():
        centred = vectors[known] - vectors[known].mean(axis=0, dtype=np.float64).astype(np.float32)
        variances, axes = np.linalg.eigh((centred.T @ centred).astype(np.float64) / len(centred))
        variances, axes = variances[::-1][: prepared.shape[1]], axes[:, ::-1][:, : prepared.shape[1]]
        # Directions without variance (copies, few resources) hold rounding errors, which whitening would blow up.
        spread = np.sqrt(np.maximum(variances, 0.0))
        used = spread > 1e-4 * max(float(spread.max()), 1e-12)
        scale = np.where(used, np.power(np.where(used, spread, 1.0), -config.whitening), 0.0)
        prepared[known] = unit_rows((centred @ axes.astype(np.float32)) * scale.astype(np.float32))
    return ContentModel(prepared, config.decay, config.max_history)


def unit_rows(matrix: Float32Matrix) -> Float32Matrix:
    """Bring rows to unit length; rows of (almost) nothing become zeros."""
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    result: Float32Matrix = np.where(lengths > 1e-6, matrix / np.maximum(lengths, 1e-6), 0.0).astype(np.float32)
    return result
