"""What is blended: each source scores the whole catalogue for some learners, alike in evaluation and in serving.

A source is fitted by the engine, brought into the form that is served (arrays that can be mapped from files), and then
evaluated in that very form.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from llmrec_django.engine.cf import content, ease, ials, item_knn, linear_next, popularity, transitions, user_knn
from llmrec_django.engine.cf.content import unit_rows
from llmrec_django.engine.cf.item_to_item import latest_steps
from llmrec_django.engine.interactions import stack_histories
from llmrec_django.engine.relevance.item_features import Whitening

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from llmrec_django.engine.interactions import InteractionLog
    from llmrec_django.types import Float32Matrix

NEIGHBOURS = 300
"""Neighbours kept for each resource; what is kept is what is evaluated."""
LATELY_DAYS = 14.0
CONTENT_SIZE = 256
CONTENT_WHITENING = 0.5
CONTENT_DECAY = 0.9
CONTENT_HISTORY = 20


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """Learners, and what is known about them at the moment of asking."""

    log: InteractionLog
    """All their interactions; row b is learner b."""
    profiles: Float32Matrix | None = None
    """Text vectors of their goals; float32 [B, V], zeros for none."""
    explains: bool = False
    """Reasons follow. Of one learner, a source then works out along with its scores what the reasons need, where that
    costs less than to ask it again."""
    histories: list[NDArray[np.int32]] = field(init=False)
    """Resources that each took up, oldest first; a run of interactions with one resource counts once."""
    liked: list[NDArray[np.int32]] = field(init=False)
    """The same without those that disappointed."""
    read: dict[str, tuple[NDArray[np.integer], NDArray[np.int32], NDArray[np.float32]]] = field(
        init=False, default_factory=dict
    )
    """Of one learner: what sources read of neighbours, by the source's name, for the reasons that follow; the rows,
    increasing, and what `NeighbourSource.read` gave of them."""
    states: dict[str, tuple[NDArray[np.int64], Float32Matrix]] = field(init=False, default_factory=dict)
    """Of one learner, by the source's name, what `RelevanceSource.without_each` found: resources, and S(u) as it is,
    without each of them, and without all."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "histories", self.log.choices().without_pings().histories())
        object.__setattr__(self, "liked", self.log.positive().without_pings().histories())

    @classmethod
    def of(cls, log: InteractionLog, learners: NDArray[np.integer], profiles: Float32Matrix | None = None) -> Asked:
        """Take some learners out of a log of many, for their scores alone: nothing is explained.

        Args:
            log: Histories.
            learners: Rows of the log; int [B].
            profiles: Of all learners of the log; float32 [U, V].
        """
        lengths = log.lengths[learners]
        begin = np.repeat(log.offsets[learners], lengths)
        within = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        theirs = log.take(begin + within)
        rows = np.repeat(np.arange(len(learners)), lengths).astype(np.int32)
        return cls(
            replace(theirs, learners=rows, n_learners=len(learners)),
            None if profiles is None else profiles[learners],
        )

    def latest_liked(self, most: int) -> NDArray[np.int64]:
        """Return the last `most` resources that the one learner liked, each once, the latest first."""
        latest, first = np.unique(self.liked[0][::-1], return_index=True)
        return latest[np.argsort(first)][:most].astype(np.int64)


class Source(Protocol):
    """One scorer of the catalogue."""

    @property
    def name(self) -> str:
        """What it is called in settings, tables and files."""
        ...

    def score(self, asked: Asked) -> Float32Matrix:
        """Return float32 [B, N]; higher is better, NaN means "cannot say"."""
        ...

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return what the source is made of."""
        ...


class _OfChosen:
    """A source that can say nothing of resources nobody chose."""

    known: NDArray[np.bool_]

    @cached_property
    def unknown(self) -> NDArray[np.int64]:
        """Rows of those: a few numbers, which every score leaves out."""
        return np.flatnonzero(~np.asarray(self.known))


@dataclass(frozen=True, eq=False)
class NeighbourSource(_OfChosen):
    """A resource is good when the learner's recent resources name it as their neighbour."""

    name: str
    neighbours: NDArray[np.int32]
    """Neighbours of each resource, strongest first, -1 for none, then the bits of their weights, float32. Side by side,
    since the matrix may be a file: each resource is then read once; int32 [N, 2K]."""
    decay: float
    max_history: int
    known: NDArray[np.bool_]
    """Resources that somebody chose. Of the others nothing can be said, which is not the same as nothing good; [N]."""

    @classmethod
    def of(
        cls,
        name: str,
        ids: NDArray[np.int32],
        weights: NDArray[np.float32],
        decay: float,
        max_history: int,
        known: NDArray[np.bool_],
    ) -> NeighbourSource:
        """Put neighbours and weights, both [N, K], side by side."""
        bits = np.ascontiguousarray(weights, dtype=np.float32).view(np.int32)
        return cls(name, np.hstack([ids.astype(np.int32, copy=False), bits]), decay, max_history, known)

    def read(self, rows: NDArray[np.integer] | slice) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return neighbours and weights of some resources; int32 and float32 [n, K]."""
        both = self.neighbours[rows]
        k = both.shape[1] // 2
        return both[:, :k], both.view(np.float32)[:, k:]

    def score(self, asked: Asked) -> Float32Matrix:
        n = len(self.neighbours)
        recent = [latest_steps(history[history < n], self.decay, self.max_history) for history in asked.histories]
        met, offsets = stack_histories([steps for steps, _ in recent])
        # Only the rows that are asked for are read: the arrays may be files.
        touched, places = np.unique(met, return_inverse=True)
        columns, values = self.read(touched)  # [T, K]
        if len(recent) == 1:
            asked.read[self.name] = touched, columns, values
        scores = np.zeros((len(recent), n), dtype=np.float32)
        columns = columns + 1  # what names nobody stands in front
        for row, (_, weights) in enumerate(recent):
            steps = places[offsets[row] : offsets[row + 1]]
            said = (values[steps] * weights[:, None]).ravel()
            scores[row] = np.bincount(columns[steps].ravel(), weights=said, minlength=n + 1)[1:]
        scores[:, self.unknown] = np.nan
        return _padded(scores, asked)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        return {
            "neighbours": self.neighbours,
            "known": self.known,
            "form": np.array([self.decay, self.max_history]),
        }


@dataclass(frozen=True, slots=True, eq=False)
class ContentSource:
    """A resource is good when its text is near those of the learner's recent resources and goals."""

    name: str
    vectors: Float32Matrix
    """Whitened unit vectors; float32 [N, F]; zeros without text."""
    whitening: Whitening
    decay: float = CONTENT_DECAY
    max_history: int = CONTENT_HISTORY
    added: Float32Matrix | None = None
    """The same of resources that came after training; float32 [A, F]; their rows follow those of `vectors`."""

    def score(self, asked: Asked) -> Float32Matrix:
        return products(self.directions(asked), self.vectors, self.added)

    def directions(self, asked: Asked) -> Float32Matrix:
        """Return what the inner product of each resource's vector is taken with; float32 [B, F], NaN: cannot say."""
        recent = [latest_steps(history, self.decay, self.max_history) for history in asked.liked]
        met, offsets = stack_histories([steps for steps, _ in recent])
        # Only the rows that are asked for are read: the matrix may be a file.
        touched, places = np.unique(met, return_inverse=True)
        read = rows_of(self.vectors, self.added, touched)
        means = np.zeros((len(recent), read.shape[1]), dtype=np.float32)
        for row, (_, weights) in enumerate(recent):
            means[row] = weights @ read[places[offsets[row] : offsets[row + 1]]]
        if asked.profiles is not None:
            means = means + self.whitening(asked.profiles)
        means = unit_rows(means)
        means[~means.any(axis=1)] = np.nan
        return means

    def extended(self, text_vectors: Float32Matrix) -> ContentSource:
        """Take in resources that came after training, by their text; float32 [A, V]."""
        return replace(self, added=self.whitening(text_vectors))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        return {
            "vectors": self.vectors,
            "mean": self.whitening.mean,
            "matrix": self.whitening.matrix,
            "form": np.array([self.decay, self.max_history]),
        }


@dataclass(frozen=True, eq=False)
class PopularitySource:
    """A resource is good when many chose it."""

    name: str
    shares: NDArray[np.float32]
    """float32 [N]"""

    def score(self, asked: Asked) -> Float32Matrix:
        return _padded(np.broadcast_to(self._scores, (len(asked.histories), len(self._scores))), asked)

    @cached_property
    def _scores(self) -> NDArray[np.float32]:
        """What everybody gets; NaN for what nobody chose; float32 [N]."""
        return np.where(np.asarray(self.shares) > 0, self.shares, np.nan).astype(np.float32)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        return {"shares": self.shares}


HISTORY_MODELS: Mapping[str, Any] = {"user_knn": user_knn.UserKnnModel}
"""Models of the engine that score histories as they are."""


@dataclass(frozen=True, eq=False)
class HistorySource(_OfChosen):
    """A resource is good when a model of the engine says so: learners alike."""

    name: str
    model: Any
    """One of `HISTORY_MODELS`."""
    known: NDArray[np.bool_]
    """Resources that somebody chose. Of the others nothing can be said; [N]."""

    def score(self, asked: Asked) -> Float32Matrix:
        n = self.model.n_resources
        scores = self.model.score([history[history < n] for history in asked.histories])
        scores[:, self.unknown] = np.nan
        return _padded(scores, asked)

    def score_histories(self, histories: list[NDArray[np.int32]], rows: NDArray[np.int64]) -> Float32Matrix:
        """Score some resources after these histories; float32 [B, len(rows)].

        Args:
            histories: Of resources that were there in training.
            rows: Increasing; those that came after training follow the others.
        """
        trained = rows[: int(np.searchsorted(rows, self.model.n_resources))]
        scores = np.full((len(histories), len(rows)), np.nan, dtype=np.float32)
        scores[:, : len(trained)] = self.model.score(histories)[:, trained]
        scores[:, : len(trained)][:, ~np.asarray(self.known)[trained]] = np.nan
        return scores

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        return {**self.model.to_arrays(), "known": self.known}


@dataclass(frozen=True, slots=True, eq=False)
class Longest:
    """The rows of a large matrix with the longest vectors: where the largest inner products are."""

    rows: NDArray[np.int64]
    """Increasing; int64 [L]."""
    vectors: Float32Matrix
    """float32 [L, F]"""

    @classmethod
    def of(cls, matrix: Any, most: int) -> Longest:
        """Read the `most` longest rows of a matrix, which may be a file."""
        lengths = np.concatenate(
            [
                np.linalg.norm(matrix[np.arange(begin, min(begin + 4096, len(matrix)))], axis=1)
                for begin in range(0, len(matrix), 4096)
            ]
        )
        rows = np.sort(np.argsort(-lengths, kind="stable")[:most])
        return cls(rows, np.asarray(matrix[rows], dtype=np.float32))


@dataclass(frozen=True, eq=False)
class FactorSource(_OfChosen):
    """A resource is good when its vector points where the learner's does: factorisation."""

    name: str
    model: ials.IalsModel
    known: NDArray[np.bool_]
    """Resources that somebody chose. Of the others nothing can be said; [N]."""
    longest: Longest | None = None
    """Where the catalogue is large: among these its best are looked for."""

    def score(self, asked: Asked) -> Float32Matrix:
        scores = np.asarray(self.directions(asked) @ self.model.item_factors.T, dtype=np.float32)
        scores[:, self.unknown] = np.nan
        return _padded(scores, asked)

    def directions(self, asked: Asked) -> Float32Matrix:
        """Return the learners' vectors, with which the inner products are taken; float32 [B, F], zeros: nothing met."""
        n = self.model.n_resources
        return self.model.learner_vectors([history[history < n] for history in asked.histories])

    def score_rows(self, direction: Float32Matrix, rows: NDArray[np.int64]) -> Float32Matrix:
        """Score some resources for learners with these vectors; float32 [B, len(rows)]. Reads no other row of a file.

        Args:
            direction: float32 [B, F].
            rows: Increasing; those that came after training follow the others.
        """
        trained = rows[: int(np.searchsorted(rows, self.model.n_resources))]
        scores = np.full((len(direction), len(rows)), np.nan, dtype=np.float32)
        scores[:, : len(trained)] = direction @ self.model.item_factors[trained].T
        scores[:, : len(trained)][:, ~self.known[trained]] = np.nan
        return scores

    def score_histories(self, histories: list[NDArray[np.int32]], rows: NDArray[np.int64]) -> Float32Matrix:
        """Do so after these histories, of resources that were there in training."""
        return self.score_rows(self.model.learner_vectors(histories), rows)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        return {**self.model.to_arrays(), "known": self.known}


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """All that sources are fitted on."""

    log: InteractionLog
    """All verbs, weights capped."""
    texts: Float32Matrix | None
    """Text vectors of the catalogue; float32 [N, V]; None where no space serves."""
    chosen: InteractionLog = field(init=False)
    """What was taken up, runs of interactions with one resource counted once."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "chosen", self.log.choices().without_pings())


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one source is fitted."""

    start: Any
    """Its configuration before anything is chosen; None where there is nothing to configure."""
    fit: Callable[[str, Material, Any], Source | None]
    """(name, material, configuration) → the source, None where the material has nothing for it."""
    module: Any = None
    """The engine's module with SEARCH_SPACE, for sources whose numbers are chosen."""
    suits: Callable[[InteractionLog], bool] = lambda log: True
    """Whether it is worth fitting on a log of this size."""


def _neighbours(module: Any, *, is_dense: bool = False) -> Callable[[str, Material, Any], Source | None]:
    def fit(name: str, material: Material, config: Any) -> Source | None:
        if is_dense and material.log.n_resources > ease.MAX_RESOURCES:
            return None
        model = module.fit(material.chosen, config)
        ids, weights = model.neighbours(min(NEIGHBOURS, max(1, model.n_resources)))
        known = np.bincount(material.chosen.resources, minlength=model.n_resources) > 0
        return NeighbourSource.of(name, ids, weights, model.decay, model.max_history, known)

    return fit


def _fitted_as(source: Any, module: Any) -> Callable[[str, Material, Any], Source | None]:
    def fit(name: str, material: Material, config: Any) -> Source | None:
        known = np.bincount(material.chosen.resources, minlength=material.log.n_resources) > 0
        fitted: Source = source(name, module.fit(material.chosen, config), known)
        return fitted

    return fit


def _is_large(log: InteractionLog) -> bool:
    """Say whether the catalogue is too large for the closed form, and factorisation is installed."""
    return log.n_resources > ease.MAX_RESOURCES and find_spec("implicit") is not None


def _is_small(log: InteractionLog) -> bool:
    return log.n_learners <= user_knn.MAX_LEARNERS


def _content(name: str, material: Material, config: content.ContentConfig) -> Source | None:
    if material.texts is None or not material.texts.any():
        return None
    whitening = Whitening.fit(material.texts, config.dimensions, config.whitening)
    return ContentSource(name, whitening(material.texts), whitening, config.decay, config.max_history)


def _popularity(name: str, material: Material, config: popularity.PopularityConfig) -> Source | None:
    return PopularitySource(name, popularity.fit(material.chosen, config).scores)


RECIPES: Mapping[str, Recipe] = {
    "transitions": Recipe(transitions.TransitionsConfig(), _neighbours(transitions), transitions),
    "linear_next": Recipe(linear_next.LinearNextConfig(), _neighbours(linear_next, is_dense=True), linear_next),
    "ease": Recipe(ease.EaseConfig(), _neighbours(ease, is_dense=True), ease),
    "item_knn": Recipe(item_knn.ItemKnnConfig(), _neighbours(item_knn), item_knn),
    "ials": Recipe(ials.IalsConfig(), _fitted_as(FactorSource, ials), ials, _is_large),
    "user_knn": Recipe(user_knn.UserKnnConfig(), _fitted_as(HistorySource, user_knn), user_knn, _is_small),
    # Its numbers are not chosen: what is held out was chosen by somebody before, and texts are for resources that were
    # not. What suits the one is worse for the other (docs/decisions/0006).
    "content": Recipe(content.ContentConfig(CONTENT_SIZE, CONTENT_WHITENING, CONTENT_DECAY, CONTENT_HISTORY), _content),
    "popularity": Recipe(popularity.PopularityConfig(), _popularity),
    "popular_lately": Recipe(popularity.PopularityConfig(half_life_days=LATELY_DAYS), _popularity, popularity),
}
"""Sources that need no training run of their own. Each alone is a baseline as well."""


def _padded(scores: Float32Matrix, asked: Asked) -> Float32Matrix:
    """Add columns of "cannot say" for resources that came after training."""
    missing = asked.log.n_resources - scores.shape[1]
    if missing <= 0:
        return scores
    return np.hstack([scores, np.full((len(scores), missing), np.nan, dtype=np.float32)])


def rows_of(matrix: Float32Matrix, added: Float32Matrix | None, rows: NDArray[np.integer]) -> Float32Matrix:
    """Read rows of a matrix that goes on in `added`; float32 [len(rows), D]. Reads no other row of a mapped file."""
    n = len(matrix)
    if rows.max(initial=-1) < n:
        return np.asarray(matrix[rows], dtype=np.float32)
    result = np.zeros((len(rows), matrix.shape[1]), dtype=np.float32)
    result[rows < n] = matrix[rows[rows < n]]
    if added is not None:
        result[rows >= n] = added[rows[rows >= n] - n]
    return result


def products(left: Float32Matrix, matrix: Float32Matrix, added: Float32Matrix | None) -> Float32Matrix:
    """Inner products with every row of a matrix that goes on in `added`; float32 [B, N + A]."""
    scores = np.asarray(left @ matrix.T, dtype=np.float32)
    return scores if added is None or not len(added) else np.hstack([scores, left @ added.T])


def rebuild(name: str, kind: str, arrays: Mapping[str, NDArray[Any]]) -> Source:
    """Rebuild a source from `to_arrays`; `kind` is the name of its class.

    Raises:
        KeyError: an array or the kind is unknown.
    """
    if kind == "FactorSource":
        return FactorSource(name, ials.IalsModel.from_arrays(arrays), np.asarray(arrays["known"]))
    if kind == "HistorySource":
        return HistorySource(name, HISTORY_MODELS[name].from_arrays(arrays), arrays["known"])
    if kind == "PopularitySource":
        return PopularitySource(name, arrays["shares"])
    decay, max_history = (float(number) for number in arrays["form"])
    if kind == "ContentSource":
        whitening = Whitening(np.asarray(arrays["mean"]), np.asarray(arrays["matrix"]))
        return ContentSource(name, arrays["vectors"], whitening, decay, int(max_history))
    if kind == "NeighbourSource":
        return NeighbourSource(name, arrays["neighbours"], decay, int(max_history), arrays["known"])
    raise KeyError(kind)
