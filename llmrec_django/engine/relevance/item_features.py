"""The language model's vectors, made fit to learn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmrec_django.exceptions import DimensionMismatch

if TYPE_CHECKING:
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
