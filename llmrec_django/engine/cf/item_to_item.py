"""Models that are one matrix: how strongly having met one resource speaks for each other one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from llmrec_django.engine.interactions import stack_histories

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from llmrec_django.types import Float32Matrix


@dataclass(frozen=True, eq=False)
class ItemToItemModel:
    """Scores a resource by what the learner's recent resources say about it.

    score(j) = Σ_d decay^d · matrix[i_d, j] over the last `max_history` resources i_d of the history, d = 0 the latest.
    Transitions, EASE, item-kNN are such models; they differ in how the matrix is fitted. Because of the form, the
    largest entries of each row, stored with the resource, are all that serving needs.
    """

    matrix: Any
    """Row i: what i says about each resource. scipy `csr_array` or ndarray; float32 [N, N], nothing on the diagonal."""
    decay: float = 1.0
    """Weight of a resource against the one met after it, in (0, 1]; 1 makes the history a set."""
    max_history: int = 50
    """How many of the latest resources of a history count."""

    @property
    def n_resources(self) -> int:
        """Size of the catalogue the model was fitted on, N."""
        return int(self.matrix.shape[0])

    def score(self, histories: Sequence[NDArray[np.integer]]) -> Float32Matrix:
        """Score the whole catalogue for each learner.

        Args:
            histories: Resources of each learner, oldest first; B arrays, empty ones allowed.

        Returns:
            float32 [B, N]; zeros for an empty history. Unitless, comparable within one learner.

        Note:
            O(B·max_history·(entries in a row)) time; 4·B·N bytes: hand in batches.
        """
        weights = recency_weights(histories, self.n_resources, decay=self.decay, max_history=self.max_history)
        scores = weights @ self.matrix
        return np.asarray(scores if isinstance(scores, np.ndarray) else scores.toarray(), dtype=np.float32)

    def neighbours(self, k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Take the `k` strongest entries of each row.

        Returns:
            Resources int32 [N, k], strongest first, and their entries float32 [N, k]. Rows with fewer positive
            entries are filled with -1 and 0. Equal entries go by a hash.
        """
        if isinstance(self.matrix, np.ndarray):
            return _strongest_of_dense(self.matrix, k)
        return _strongest_of_sparse(self.matrix, k)

    def truncated(self, k: int) -> ItemToItemModel:
        """Keep the `k` strongest entries of each row: the model that stored neighbours amount to."""
        ids, weights = self.neighbours(k)
        return ItemToItemModel(matrix_of_neighbours(ids, weights), decay=self.decay, max_history=self.max_history)

    def rescored(self, config: Any) -> ItemToItemModel:
        """Take over `decay` and `max_history` of a config; the matrix is shared."""
        return replace(self, decay=config.decay, max_history=config.max_history)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything the model is made of, as arrays that any container can hold."""
        form = np.array([self.decay, self.max_history], dtype=np.float64)
        if isinstance(self.matrix, np.ndarray):
            return {"form": form, "matrix": self.matrix}
        return {
            "form": form,
            "data": self.matrix.data,
            "indices": self.matrix.indices.astype(np.int32),
            "indptr": self.matrix.indptr.astype(np.int64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild a model from `to_arrays`."""
        from scipy.sparse import csr_array

        decay, max_history = arrays["form"]
        if "matrix" in arrays:
            return cls(arrays["matrix"], decay=float(decay), max_history=int(max_history))
        n = len(arrays["indptr"]) - 1
        matrix = csr_array((arrays["data"], arrays["indices"], arrays["indptr"]), shape=(n, n))
        return cls(matrix, decay=float(decay), max_history=int(max_history))


def recency_weights(
    histories: Sequence[NDArray[np.integer]], n_resources: int, *, decay: float, max_history: int
) -> Any:
    """Weigh the latest resources of each history: decay^d, d = 0 the latest.

    Returns:
        scipy `csr_array` float32 [B, n_resources]. A resource met twice has the sum of its weights.
    """
    from scipy.sparse import csr_array

    latest = [history[-max_history:] if max_history else history[:0] for history in histories]
    resources, offsets = stack_histories(latest)
    ends = np.repeat(offsets[1:], np.diff(offsets))
    steps_back = ends - 1 - np.arange(len(resources))
    weights = np.power(decay, steps_back).astype(np.float32)
    matrix = csr_array((weights, resources, offsets), shape=(len(histories), n_resources))
    matrix.sum_duplicates()
    return matrix


def latest_steps(
    history: NDArray[np.integer], decay: float, max_history: int
) -> tuple[NDArray[np.integer], NDArray[np.float32]]:
    """Return the latest resources of one history, oldest first, and what each counts: decay^d, d = 0 the latest."""
    latest = history[-max_history:] if max_history else history[:0]
    return latest, np.power(decay, np.arange(len(latest) - 1, -1, -1)).astype(np.float32)


def matrix_of_neighbours(ids: NDArray[np.int32], weights: NDArray[np.float32]) -> Any:
    """Turn stored neighbours back into a matrix.

    Args:
        ids: int32 [N, k], -1 where there is none.
        weights: float32 [N, k].

    Returns:
        scipy `csr_array` float32 [N, N].
    """
    from scipy.sparse import csr_array

    n = len(ids)
    rows, places = np.nonzero(ids >= 0)
    return csr_array((weights[rows, places], (rows, ids[rows, places])), shape=(n, n), dtype=np.float32)


def _strongest_of_dense(matrix: Float32Matrix, k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    from llmrec_django.engine.ranking.topk import rank_top_k

    ids = np.full((len(matrix), k), -1, dtype=np.int32)
    weights = np.zeros((len(matrix), k), dtype=np.float32)
    step = max(1, 2**24 // max(1, len(matrix)))  # 64 MB at a time
    for start in range(0, len(matrix), step):
        rows = matrix[start : start + step]
        ids[start : start + step], best = rank_top_k(np.where(rows > 0, rows, -np.inf), k)
        weights[start : start + step] = np.where(np.isneginf(best), 0.0, best)
    return ids, weights


def _strongest_of_sparse(matrix: Any, k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    from llmrec_django.engine.ranking.topk import tie_keys

    n = matrix.shape[0]
    ids, weights = np.full((n, k), -1, dtype=np.int32), np.zeros((n, k), dtype=np.float32)
    positive = matrix.data > 0
    rows = np.repeat(np.arange(n), np.diff(matrix.indptr))[positive]
    columns, entries = matrix.indices[positive], matrix.data[positive]
    order = np.lexsort((tie_keys(columns), -entries, rows))
    rows = rows[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    kept = place < k
    ids[rows[kept], place[kept]] = columns[order][kept]
    weights[rows[kept], place[kept]] = entries[order][kept]
    return ids, weights
