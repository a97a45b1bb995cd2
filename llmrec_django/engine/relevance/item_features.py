"""The language model's vectors, made fit to learn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmrec_django.exceptions import DimensionMismatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from llmrec_django.types import Float32Matrix, Float32Vector


@dataclass(frozen=True, slots=True, eq=False)
class Whitening:
    """A fixed linear map from the language model's space of V dimensions to F, followed by scaling to unit length.

    Sentence vectors crowd into a narrow cone: a few directions carry most of the spread and say little. Centring,
    keeping the strongest F directions and levelling their spread brings out the rest (Su et al. 2021,
    arXiv 2103.15316; for recommendation UniSRec, KDD 2022). Levelled half-way it beats both ends.
    """

    mean: Float32Vector
    """[V]"""
    matrix: Float32Matrix
    """[V, F]"""

    @classmethod
    def fit(cls, vectors: Float32Matrix, size: int, strength: float = 0.5) -> Whitening:
        """Fit on a catalogue.

        Args:
            vectors: One row for each resource, [N, V]; rows of zeros have no text and are left out, as are
                repetitions: a phrase that many resources share is one text.
            size: F. Directions that the catalogue does not span stay zero.
            strength: 0 keeps the spread along each direction, 1 makes all equal.

        Returns:
            The map; for fewer than two texts the first F dimensions as they are.
        """
        vectors = np.asarray(vectors, dtype=np.float32)
        width = vectors.shape[1]
        texts = np.unique(vectors[np.abs(vectors).max(axis=1, initial=0) > 0], axis=0)
        if len(texts) < 2:
            return cls(np.zeros(width, np.float32), np.eye(width, size, dtype=np.float32))
        mean = texts.mean(axis=0, dtype=np.float64)
        centred = texts - mean
        spread, directions = np.linalg.eigh(centred.T @ centred / len(texts))  # ascending
        spread, directions = spread[::-1][:size], directions[:, ::-1][:, :size]
        kept = spread > spread[0] * 1e-6
        scale = np.zeros_like(spread)
        scale[kept] = spread[kept] ** (-strength / 2)
        # The sign of an eigenvector is arbitrary: fixed, so that equal catalogues give equal maps.
        largest = np.abs(directions).argmax(axis=0)
        signs = np.sign(directions[largest, np.arange(directions.shape[1])])
        matrix = np.zeros((width, size))
        matrix[:, : len(scale)] = directions * (scale * signs)
        return cls(mean.astype(np.float32), matrix.astype(np.float32))

    def __call__(self, vectors: Float32Matrix) -> Float32Matrix:
        """Return unit rows [n, F] for vectors [n, V]; a row of zeros (no text) stays a row of zeros.

        Raises:
            DimensionMismatch: the vectors are not of the space the map was fitted on.
        """
        vectors = np.asarray(vectors, dtype=np.float32)
        if vectors.shape[1:] != self.mean.shape:
            raise DimensionMismatch(
                f"Cannot use vectors of shape {vectors.shape!r}. The model was trained on vectors of "
                f"{len(self.mean)} dimensions. Give vectors of the encoder it was trained with."
            )
        has_text = np.abs(vectors).max(axis=1, keepdims=True, initial=0) > 0
        features = (vectors - self.mean) @ self.matrix
        length = np.linalg.norm(features, axis=1, keepdims=True)
        unit = features / np.maximum(length, 1e-12)
        result: Float32Matrix = np.where(has_text & (length > 1e-6), unit, 0).astype(np.float32)
        return result


def nearest_texts(
    features: Float32Matrix,
    others: Float32Matrix,
    k: int,
    temperature: float,
    *,
    same: NDArray[np.integer] | None = None,
) -> tuple[NDArray[np.int64], Float32Matrix]:
    """Find the `k` texts of `others` that are most like each text of `features`.

    Args:
        features: Unit rows, [n, F]; a row of zeros (no text) is like nothing.
        others: Unit rows, [m, F].
        k: How many.
        temperature: How much more the nearest count than the others: weights are softmax(cosine / temperature).
        same: Row of `others` that is the text itself, -1 for none; int [n]. It is not among its neighbours.

    Returns:
        Rows of `others` int64 [n, k] and weights float32 [n, k], which add up to 1 in a row, or to 0 where there is
        no text or nothing to compare with.

    Note:
        O(n·m·F) time; [1024, m] numbers at once.
    """
    rows = np.zeros((len(features), k), dtype=np.int64)
    weights = np.zeros((len(features), k), dtype=np.float32)
    found = min(k, len(others))
    for begin in range(0, len(features) if found else 0, 1024):
        part = slice(begin, begin + 1024)
        cosine = features[part] @ others.T  # [b, m]
        if same is not None:
            itself = np.flatnonzero(same[part] >= 0)
            cosine[itself, same[part][itself]] = -np.inf
        nearest = np.argpartition(-cosine, found - 1, axis=1)[:, :found]
        likeness = np.take_along_axis(cosine, nearest, axis=1) / temperature
        likeness = np.exp(likeness - likeness.max(axis=1, keepdims=True, initial=-1e9))
        rows[part, :found] = nearest
        weights[part, :found] = likeness / np.maximum(likeness.sum(axis=1, keepdims=True), 1e-12)
    weights[~features.any(axis=1)] = 0
    return rows, weights
