"""User-kNN: what learners with a like history met."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from llmrec_django.engine.cf.item_to_item import recency_weights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from llmrec_django.engine.interactions import InteractionLog
    from llmrec_django.types import Float32Matrix


@dataclass(frozen=True, slots=True)
class UserKnnConfig:
    """How likeness of learners is measured."""

    neighbours: int = 200
    """Most alike learners whose resources count."""
    length_power: float = 0.5
    """Likeness is divided by (resources of the neighbour)^power: 0.5 is the cosine, 1 favours short histories."""
    rarity_power: float = 0.5
    """A shared resource counts 1/(learners who met it)^power: above 0, sharing a rare one says more."""
    decay: float = 0.9
    """Weight of a resource of the asking learner's history against the one met after it."""
    max_history: int = 200
    """How many of the latest resources of the asking learner count."""


SCORING_FIELDS = ("neighbours", "length_power", "rarity_power", "decay", "max_history")
"""Fields that change scores only, not the fit: all of them."""
SEARCH_SPACE: Mapping[str, tuple[Any, ...]] = {
    "neighbours": (50, 100, 200, 500),
    "length_power": (0.0, 0.25, 0.5, 0.75),
    "rarity_power": (0.0, 0.25, 0.5, 1.0),
    "decay": (0.5, 0.7, 0.8, 0.9, 0.95, 1.0),
}
"""Values `choose` tries."""


@dataclass(frozen=True, eq=False)
class UserKnnModel:
    """Scores a resource by how alike the learners are who met it.

    score(j) = Σ over the nearest learners v who met j of likeness(history, v).
    """

    matrix: Any
    """Learners × resources, scipy `csr_array` of ones, float32 [U, N]."""
    config: UserKnnConfig

    @property
    def n_resources(self) -> int:
        """Size of the catalogue the model was fitted on, N."""
        return int(self.matrix.shape[1])

    @cached_property
    def _met_by(self) -> Any:
        """Resources × learners, with the likeness's constants in: a shared rare resource says more, a neighbour with
        many resources says less."""
        config = self.config
        met = np.maximum(np.bincount(self.matrix.indices, minlength=self.n_resources), 1.0)
        lengths = np.maximum(np.diff(self.matrix.indptr), 1.0)
        met_by = self.matrix.T.tocsr()
        met_by.data = np.repeat(np.power(met, -config.rarity_power), np.diff(met_by.indptr)).astype(np.float32)
        met_by.data *= np.power(lengths, -config.length_power, dtype=np.float32)[met_by.indices]
        return met_by

    def score(self, histories: Sequence[NDArray[np.integer]]) -> Float32Matrix:
        """Score the whole catalogue for each learner.

        Args:
            histories: Resources of each learner, oldest first; B arrays, empty ones allowed.

        Returns:
            float32 [B, N]; zeros for an empty history. A learner who is in the training data finds themself among
            the neighbours, which adds only to resources they have seen.

        Note:
            O(learners who share a resource) a history; the likeness matrix is sparse [B, U].
        """
        from llmrec_django.engine.cf.item_knn import keep_largest

        config = self.config
        asking = recency_weights(histories, self.n_resources, decay=config.decay, max_history=config.max_history)
        likeness = (asking @ self._met_by).tocsr()  # [B, U]
        return np.asarray((keep_largest(likeness, config.neighbours) @ self.matrix).toarray(), dtype=np.float32)

    def rescored(self, config: UserKnnConfig) -> UserKnnModel:
        """Take over the scoring fields of another config; the fit is shared."""
        return replace(self, config=config)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything the model is made of, as arrays that any container can hold."""
        config = self.config
        return {
            "form": np.array(
                [config.neighbours, config.length_power, config.rarity_power, config.decay, config.max_history],
                dtype=np.float64,
            ),
            "indices": self.matrix.indices.astype(np.int32),
            "indptr": self.matrix.indptr.astype(np.int64),
            "shape": np.array(self.matrix.shape, dtype=np.int64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild a model from `to_arrays`."""
        from scipy.sparse import csr_array

        neighbours, length_power, rarity_power, decay, max_history = arrays["form"]
        indices = arrays["indices"]
        ones = np.ones(len(indices), dtype=np.float32)
        matrix = csr_array((ones, indices, arrays["indptr"]), shape=tuple(int(n) for n in arrays["shape"]))
        config = UserKnnConfig(
            int(neighbours), float(length_power), float(rarity_power), float(decay), int(max_history)
        )
        return cls(matrix, config)


def fit(log: InteractionLog, config: UserKnnConfig) -> UserKnnModel:
    """Keep who met what: the model is the data.

    Args:
        log: Positive interactions; their order does not matter.
        config: See the fields.
    """
    matrix = log.positive().matrix()
    matrix.data[:] = 1.0
    return UserKnnModel(matrix.astype(np.float32), config)
