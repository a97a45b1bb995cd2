"""User-kNN that minds the order: what learners with a like history met, near what they have in common.

With w_i the weight of the asking learner's resource i, later ones weighing more, learner v is alike by

    likeness(v) = (Σ_{i met by v too} w_i / met_i^rarity)^agreement / length_v^length_power

and lends its resources by how near they stand to the latest one that both met, gap steps after it or before it:

    score(j) = Σ_{nearest v} likeness(v) · (1 / gap^nearness   after,   backward / gap^nearness   before)

The neighbourhood is that of session-based recommendation (V-SKNN of Ludewig & Jannach 2018, arXiv 1803.09587; STAN of
Garg et al. 2019); agreement above 1 makes one learner who shares two resources worth more than two who share one each.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from llmrec_django.engine.cf.item_to_item import latest_steps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from llmrec_django.engine.interactions import InteractionLog
    from llmrec_django.types import Float32Matrix

MAX_LEARNERS = 200_000
"""Above so many the sequences of all learners are too much for each process that serves."""
MAX_LENGTH = 200
"""Latest resources kept of each learner: nobody is alike for having met everything."""
MAX_READERS = 5000
"""Learners looked at for one shared resource: of a very popular one, so many drawn at random."""


@dataclass(frozen=True, slots=True)
class UserKnnConfig:
    """How likeness of learners is measured, and what follows from it."""

    neighbours: int = 300
    """Most alike learners whose resources count."""
    length_power: float = 0.5
    """Likeness is divided by (resources of the neighbour)^power: above 0 favours short histories."""
    rarity_power: float = 0.5
    """A shared resource counts 1/(learners who met it)^power: above 0, sharing a rare one says more."""
    agreement: float = 2.0
    """Power of the shared weight: above 1, sharing several resources says more than their sum."""
    nearness: float = 1.0
    """A resource counts 1/gap^power, gap its distance from the latest shared one: 0 forgets the order."""
    backward: float = 0.3
    """Weight of what the neighbour met before the latest shared resource, against what they met after it."""
    decay: float = 0.8
    """Weight of a resource of the asking learner's history against the one met after it."""
    max_history: int = 20
    """How many of the latest resources of the asking learner count."""


SCORING_FIELDS = (
    "neighbours",
    "length_power",
    "rarity_power",
    "agreement",
    "nearness",
    "backward",
    "decay",
    "max_history",
)
"""Fields that change scores only, not the fit: all of them."""
SEARCH_SPACE: Mapping[str, tuple[Any, ...]] = {
    "agreement": (1.0, 1.5, 2.0, 2.5, 3.0),
    "nearness": (0.0, 0.25, 0.5, 1.0, 1.5),
    "backward": (0.1, 0.3, 0.6, 1.0),
    "rarity_power": (0.0, 0.15, 0.3, 0.5, 0.7),
    "decay": (0.6, 0.7, 0.8, 0.9, 0.95),
    "max_history": (20, 50),
}
"""Values `choose` tries."""


@dataclass(frozen=True, eq=False)
class UserKnnModel:
    """What each learner met, in order, and how to look among it; see the module for the formula."""

    indices: NDArray[np.int32]
    """Resources of all learners, one learner after the other, oldest first; int32 [n]."""
    indptr: NDArray[np.int64]
    """Where each learner's begin; int64 [U + 1]."""
    n_resources: int
    """Size of the catalogue the model was fitted on, N."""
    config: UserKnnConfig

    @cached_property
    def _readers(self) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float32]]:
        """Who met each resource, one resource after the other [n]; where each begins [N + 1]; what it counts [N]."""
        counts = np.bincount(self.indices, minlength=self.n_resources)
        learners = np.repeat(np.arange(len(self._lengths), dtype=np.int32), self._lengths)
        readers = learners[np.argsort(self.indices, kind="stable")]
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        worth = np.power(np.maximum(counts, 1), -self.config.rarity_power, dtype=np.float64).astype(np.float32)
        if counts.max(initial=0) > MAX_READERS:
            readers, indptr = _thinned(readers, indptr, MAX_READERS)
        return readers, indptr, worth

    def score(self, histories: Sequence[NDArray[np.integer]]) -> Float32Matrix:
        """Score the whole catalogue for each learner.

        Args:
            histories: Resources of each learner, oldest first; B arrays, empty ones allowed.

        Returns:
            float32 [B, N]; zeros for an empty history. A learner who is in the training data finds themself among
            the neighbours, which adds only to resources they have seen.

        Note:
            O(learners who share a resource + neighbours · their resources + N) for each history.
        """
        scores = np.zeros((len(histories), self.n_resources), dtype=np.float32)
        for row, history in enumerate(histories):
            if len(history):
                scores[row] = self._score(history)
        return scores

    def _score(self, history: NDArray[np.integer]) -> NDArray[np.float32]:
        config, lengths = self.config, self._lengths
        latest, weights = latest_steps(history, config.decay, config.max_history)
        readers, indptr, worth = self._readers
        spans = [slice(*span) for span in zip(indptr[latest].tolist(), indptr[latest + 1].tolist(), strict=True)]
        shared = np.repeat(weights * worth[latest], [span.stop - span.start for span in spans])
        met_by = np.concatenate([readers[span] for span in spans])
        alike = np.bincount(met_by, weights=shared, minlength=len(lengths))  # [U]
        found = np.flatnonzero(alike > 0)  # of booleans: many times quicker than of numbers
        likeness = alike[found] ** config.agreement * self._by_length[found]
        if len(found) > config.neighbours:
            nearest = np.argpartition(-likeness, config.neighbours - 1)[: config.neighbours]
            found, likeness = found[nearest], likeness[nearest]
        if not len(found):
            return np.zeros(self.n_resources, dtype=np.float32)
        theirs = lengths[found]
        begins = np.cumsum(theirs) - theirs
        neighbour = np.repeat(np.arange(len(found)), theirs)  # one entry for each resource of each neighbour; [E]
        places = np.arange(len(neighbour)) - begins[neighbour]
        resources = self.indices[np.asarray(self.indptr)[found][neighbour] + places]
        # The latest shared resource, latest by the asker's order: what they met next is what the asker may want next.
        recent = np.full(self.n_resources, -1, dtype=np.int64)
        recent[latest] = np.arange(len(latest))
        met = recent[resources] * MAX_LENGTH + places
        met[met < 0] = -1
        meeting = np.maximum.reduceat(met, begins) % MAX_LENGTH  # [V]
        gaps = places - meeting[neighbour]
        lent = likeness[neighbour] * self._by_gap[gaps + MAX_LENGTH]
        return np.bincount(resources, weights=lent, minlength=self.n_resources).astype(np.float32)

    @cached_property
    def _lengths(self) -> NDArray[np.int64]:
        """Resources of each learner; [U]."""
        return np.diff(np.asarray(self.indptr)).astype(np.int64)

    @cached_property
    def _by_length(self) -> NDArray[np.float32]:
        """What likeness is multiplied by for the length of each learner's history; [U]."""
        return np.power(np.maximum(self._lengths, 1), -self.config.length_power, dtype=np.float64).astype(np.float32)

    @cached_property
    def _by_gap(self) -> NDArray[np.float32]:
        """What a resource counts so many steps from the shared one; [2 · MAX_LENGTH + 1], the middle is 0 steps."""
        gaps = np.arange(-MAX_LENGTH, MAX_LENGTH + 1)
        weights = np.power(np.maximum(np.abs(gaps), 1), -self.config.nearness, dtype=np.float64)
        weights[gaps < 0] *= self.config.backward
        weights[gaps == 0] = 0.0
        return weights.astype(np.float32)

    def rescored(self, config: UserKnnConfig) -> UserKnnModel:
        """Take over the scoring fields of another config; the fit is shared."""
        return replace(self, config=config)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything the model is made of, as arrays that any container can hold."""
        return {
            "form": np.array(astuple(self.config), dtype=np.float64),
            "indices": self.indices,
            "indptr": self.indptr,
            "shape": np.array([len(self.indptr) - 1, self.n_resources], dtype=np.int64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild a model from `to_arrays`."""
        values: dict[str, Any] = dict(zip(SCORING_FIELDS, arrays["form"].tolist(), strict=True))
        values.update({name: int(values[name]) for name in ("neighbours", "max_history")})
        config = UserKnnConfig(**values)
        return cls(arrays["indices"], arrays["indptr"], int(arrays["shape"][1]), config)


def fit(log: InteractionLog, config: UserKnnConfig) -> UserKnnModel:
    """Keep who met what, in which order: the model is the data.

    Args:
        log: Positive interactions. Of a learner's meetings with one resource the latest counts.
        config: See the fields.
    """
    log = log.positive()
    pair = log.learners.astype(np.int64) * max(1, log.n_resources) + log.resources
    _, from_the_end = np.unique(pair[::-1], return_index=True)
    latest = np.sort(len(pair) - 1 - from_the_end)  # the latest meeting of each pair, in order
    learners, resources = log.learners[latest], log.resources[latest].astype(np.int32)
    counts = np.bincount(learners, minlength=log.n_learners)
    to_the_end = np.repeat(np.cumsum(counts), counts) - np.arange(len(learners))
    kept = to_the_end <= MAX_LENGTH
    indptr = np.concatenate([[0], np.cumsum(np.minimum(counts, MAX_LENGTH))]).astype(np.int64)
    return UserKnnModel(np.ascontiguousarray(resources[kept]), indptr, log.n_resources, config)


def _thinned(
    readers: NDArray[np.int32], indptr: NDArray[np.int64], most: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Keep `most` readers of each resource, drawn at random, the same ones each time."""
    counts = np.diff(indptr)
    rows = np.repeat(np.arange(len(counts)), counts)
    drawn = np.lexsort((np.random.default_rng(0).random(len(rows)), rows))
    kept = np.sort(drawn[np.arange(len(rows)) - indptr[rows] < most])
    return readers[kept], np.concatenate([[0], np.cumsum(np.minimum(counts, most))]).astype(np.int64)
