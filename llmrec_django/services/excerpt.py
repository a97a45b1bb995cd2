"""A trained version cut down to one learner and a few resources: the same scores for these, at the cost of these."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, singledispatch
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from llmrec_django.engine.cf.content import unit_rows
from llmrec_django.engine.evaluation.segments import history_segments
from llmrec_django.engine.interactions import stack_histories
from llmrec_django.services.training.borrowed import BorrowedSource
from llmrec_django.services.training.dataset import rows_in
from llmrec_django.services.training.relevance import RelevanceSource
from llmrec_django.services.training.sources import (
    Asked,
    ContentSource,
    HistorySource,
    NeighbourSource,
    PopularitySource,
    rows_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from llmrec_django.engine.interactions import InteractionLog
    from llmrec_django.engine.ranking.blend import Blend
    from llmrec_django.services.scorer import Scorer
    from llmrec_django.types import Float32Matrix

    _LaidOut = tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]
    """Resources of several histories, the history of each, and how many steps before its end it stands."""


LOOKED_UP = 50_000
"""Up to so many resources a table of all of them is quicker than a search for each."""


class Histories:
    """One learner's history in several variants, whose resources are rows of an excerpt."""

    def __init__(self, log: InteractionLog, profiles: Float32Matrix | None = None) -> None:
        self.asked = Asked(log, profiles)
        self._recent: dict[tuple[float, int, int], Float32Matrix] = {}

    @cached_property
    def _laid_out(self) -> _LaidOut:
        return _laid_out(self.asked.histories)

    def recent(self, n: int, decay: float, max_history: int) -> Float32Matrix:
        """Weigh the latest of the first `n` resources as `NeighbourSource` does; float32 [B, n]."""
        key = (decay, max_history, n)
        if key not in self._recent:
            laid_out = self._laid_out
            if len(laid_out[0]) and laid_out[0].max() >= n:  # those that came after training take up no step
                laid_out = _laid_out([history[history < n] for history in self.asked.histories])
            self._recent[key] = self._weighed(laid_out, n, decay, max_history)
        return self._recent[key]

    def recently_liked(self, n: int, decay: float, max_history: int) -> Float32Matrix:
        """Weigh the latest resources as `ContentSource` does; float32 [B, n]."""
        return self._weighed(_laid_out(self.asked.liked), n, decay, max_history)

    def _weighed(self, laid_out: _LaidOut, n: int, decay: float, max_history: int) -> Float32Matrix:
        resources, rows, steps = laid_out
        weights = np.where(steps < max_history, np.power(decay, steps), 0.0)
        counted = np.bincount(rows * n + resources, weights, minlength=self.asked.log.n_learners * n)
        return counted.reshape(-1, n).astype(np.float32)


def _laid_out(histories: list[NDArray[np.int32]]) -> _LaidOut:
    resources, offsets = stack_histories(histories)
    lengths = np.diff(offsets)
    rows = np.repeat(np.arange(len(histories)), lengths)
    return resources, rows, np.repeat(offsets[1:], lengths) - 1 - np.arange(len(resources))


@dataclass(frozen=True, slots=True, eq=False)
class Excerpt:
    """Some resources, those that one learner met, and what their scores are made of."""

    kept: NDArray[np.int64]
    """Rows of the whole scorer, increasing."""
    columns: NDArray[np.int64]
    """Where the resources that were asked for stand among `kept`."""
    known: NDArray[np.bool_]
    """Which of them somebody had chosen when the version was trained; [k]."""
    sources: Mapping[str, Any]
    """By name; those without a say are left out."""
    blends: tuple[Blend, Blend]
    """Of resources that somebody chose, and of the others."""
    segment: int
    """Of the length of the learner's history."""

    @classmethod
    def of(cls, scorer: Scorer, rows: NDArray[np.integer], log: InteractionLog, *, least_say: float = 0.0) -> Excerpt:
        """Cut a scorer down.

        Args:
            scorer: The whole.
            rows: Resources to be scored; int [k].
            log: The one learner, whose resources are rows of the whole.
            least_say: Leave out sources with a smaller share in the weights of the blend; in [0, 1).
        """
        wanted, met = np.asarray(rows, dtype=np.int64), np.unique(log.resources).astype(np.int64)
        known = scorer.known[wanted]
        segment = int(history_segments(log.lengths[:1])[0])
        mix = scorer.mix
        blends = (mix.blend, mix.by_text if mix.by_text.weights.any() else mix.blend)
        judging = [blend for blend, judged in zip(blends, (known, ~known), strict=True) if judged.any()]
        named = {source.name: source for source in scorer.sources}
        heard = {name: source for name, source in named.items() if _say(judging, name, segment) > least_say}
        lenders = [_lenders(source, wanted) for source in heard.values() if isinstance(source, BorrowedSource)]
        kept = np.unique(np.concatenate([wanted, met, *lenders]))
        few = _Kept.of(kept, met, len(scorer.resource_ids))
        sources = {name: _cut(source, few) for name, source in heard.items()}
        return cls(kept, np.searchsorted(kept, wanted), known, sources, blends, segment)

    def histories(self, log: InteractionLog, profiles: Float32Matrix | None = None) -> Histories:
        """Take over variants of the learner whose resources are rows of the whole scorer."""
        return Histories(replace(log, resources=self.places(log.resources), n_resources=len(self.kept)), profiles)

    def places(self, rows: NDArray[np.integer]) -> NDArray[np.int32]:
        """Return where rows of the whole scorer stand among `kept`, to which they must belong."""
        return np.searchsorted(self.kept, rows).astype(np.int32)

    def score(self, source: str, histories: Histories) -> Float32Matrix:
        """Return a source's scores of the resources that were asked for; float32 [B, k]."""
        held = self.sources[source]
        if isinstance(held, _Table | _Lent | _Mean | Costly):
            return held.score_variants(histories)[:, self.columns]
        return np.asarray(held.score(histories.asked)[:, self.columns])

    def part(self, source: str, scores: Float32Matrix) -> Float32Matrix:
        """Return what scores of a source add to the blend, against an average resource; float32 [B, k]."""
        total = np.zeros(scores.shape, dtype=np.float32)
        for blend, judged in zip(self.blends, (self.known, ~self.known), strict=True):
            if source in blend.sources and judged.any():
                place = blend.sources.index(source)
                weight = np.float32(blend.weights[self.segment, place])
                total[:, judged] = weight * blend.calibrations[place](scores[:, judged])
        return total

    def say(self, source: str) -> float:
        """Return a source's share in the weights of the blend, on average over the resources that were asked for."""
        of_known, of_new = (_say([blend], source, self.segment) for blend in self.blends)
        known = float(self.known.mean()) if len(self.known) else 1.0
        return known * of_known + (1 - known) * of_new


def _say(blends: list[Blend], source: str, segment: int) -> float:
    """Return a source's share in what speaks for resources; a source that corrects others speaks for none."""
    shares = []
    for blend in blends:
        weights = np.maximum(blend.weights[segment], 0.0)
        if source in blend.sources and weights.sum() > 0:
            shares.append(weights[blend.sources.index(source)] / weights.sum())
    return float(max(shares, default=0.0))


class ScoresVariants(Protocol):
    """What stands in for a source of many resources."""

    def score_variants(self, histories: Histories) -> Float32Matrix:
        """Return float32 [B, kept]; NaN for "cannot say"."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """A `NeighbourSource`, as a matrix."""

    matrix: Float32Matrix
    """What each resource of a history says of each one; float32 [n, n]."""
    decay: float
    max_history: int
    unknown: NDArray[np.int64]
    """Of which it cannot say."""
    n_kept: int

    def score_variants(self, histories: Histories) -> Float32Matrix:
        n = len(self.matrix)
        recent = histories.recent(n, self.decay, self.max_history)
        scores = np.full((len(recent), self.n_kept), np.nan, dtype=np.float32)
        np.matmul(recent, self.matrix, out=scores[:, :n])
        scores[:, self.unknown] = np.nan
        return scores


@dataclass(frozen=True, slots=True, eq=False)
class _Lent:
    """A `BorrowedSource`."""

    base: _Table
    rows: NDArray[np.int64]
    lenders: NDArray[np.int64]
    shares: Float32Matrix

    def score_variants(self, histories: Histories) -> Float32Matrix:
        given = self.base.score_variants(histories)
        scores = np.full(given.shape, np.nan, dtype=np.float32)
        scores[:, self.rows] = np.einsum("brk,rk->br", given[:, self.lenders], self.shares)
        scores[:, self.rows[~self.shares.any(axis=1)]] = np.nan
        return scores


@dataclass(frozen=True, slots=True, eq=False)
class _Mean:
    """A `ContentSource`."""

    source: ContentSource
    vectors: Float32Matrix
    """float32 [kept, F]"""

    def score_variants(self, histories: Histories) -> Float32Matrix:
        source = self.source
        means = histories.recently_liked(len(self.vectors), source.decay, source.max_history) @ self.vectors
        if histories.asked.profiles is not None:
            means = means + source.whitening(histories.asked.profiles)
        means = unit_rows(means)
        scores: Float32Matrix = means @ self.vectors.T
        scores[~means.any(axis=1)] = np.nan
        return scores


@dataclass(frozen=True, slots=True, eq=False)
class Costly:
    """A `HistorySource`: it cannot be cut down, and each variant costs as much as a list."""

    source: HistorySource
    kept: NDArray[np.int64]

    def score_variants(self, histories: Histories) -> Float32Matrix:
        trained = int(np.searchsorted(self.kept, self.source.model.n_resources))
        met = [self.kept[history[history < trained]] for history in histories.asked.histories]
        scores = np.full((len(met), len(self.kept)), np.nan, dtype=np.float32)
        scores[:, :trained] = self.source.model.score(met)[:, self.kept[:trained]]
        scores[:, :trained][:, ~np.asarray(self.source.known)[self.kept[:trained]]] = np.nan
        return scores


def _lenders(source: BorrowedSource, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    places = rows_in(np.asarray(source.rows, dtype=np.int64), rows)
    return np.asarray(source.lenders[places[places >= 0]], dtype=np.int64).ravel()


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """Which resources a version is cut down to."""

    rows: NDArray[np.int64]
    """Of the whole, increasing."""
    met: NDArray[np.int64]
    """Those among them that the learner met, increasing."""
    lookup: NDArray[np.int32] | None
    """Where each resource of the whole stands among `rows`, -1 for nowhere; None where the whole is large."""

    @classmethod
    def of(cls, rows: NDArray[np.int64], met: NDArray[np.int64], n_resources: int) -> _Kept:
        lookup = None
        if n_resources <= LOOKED_UP:
            lookup = np.full(n_resources + 1, -1, dtype=np.int32)  # the last for -1, which is nobody
            lookup[rows] = np.arange(len(rows))
        return cls(rows, met, lookup)

    def find(self, wanted: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return where rows of the whole stand among `rows`, -1 for nowhere; of any shape."""
        if self.lookup is not None:
            places: NDArray[np.int64] = self.lookup[wanted].astype(np.int64)
            return places
        return rows_in(self.rows, wanted.ravel().astype(np.int64)).reshape(wanted.shape)


@singledispatch
def _cut(source: Any, kept: _Kept) -> Any:
    """Return a source of a few resources alone."""
    raise TypeError(f"Cannot cut a {type(source).__name__} down to a few resources. Say how in services/excerpt.py.")


@_cut.register(NeighbourSource)
def _(source: NeighbourSource, kept: _Kept) -> _Table:
    # Those that came after training are not in its arrays.
    trained, read = kept.rows[kept.rows < len(source.ids)], kept.met[kept.met < len(source.ids)]
    places = kept.find(np.asarray(source.ids[read]))
    rows, columns = np.nonzero(places >= 0)
    matrix = np.zeros((len(trained), len(trained)), dtype=np.float32)
    matrix[np.searchsorted(trained, read)[rows], places[rows, columns]] = np.asarray(source.weights[read])[
        rows, columns
    ]
    unknown = np.flatnonzero(~np.asarray(source.known)[trained])
    return _Table(matrix, source.decay, source.max_history, unknown, len(kept.rows))


@_cut.register(PopularitySource)
def _(source: PopularitySource, kept: _Kept) -> PopularitySource:
    return replace(source, shares=np.asarray(source.shares[kept.rows[kept.rows < len(source.shares)]]))


@_cut.register(ContentSource)
def _(source: ContentSource, kept: _Kept) -> _Mean:
    return _Mean(source, rows_of(source.vectors, source.added, kept.rows))


@_cut.register(RelevanceSource)
def _(source: RelevanceSource, kept: _Kept) -> RelevanceSource:
    return replace(source, vectors=rows_of(source.vectors, source.added, kept.rows), added=None)


@_cut.register(HistorySource)
def _(source: HistorySource, kept: _Kept) -> Costly:
    return Costly(source, kept.rows)


@_cut.register(BorrowedSource)
def _(source: BorrowedSource, kept: _Kept) -> _Lent:
    places = rows_in(np.asarray(source.rows, dtype=np.int64), kept.rows)
    lenders = np.asarray(source.lenders[places[places >= 0]], dtype=np.int64)
    there = kept.find(lenders)
    judged = (there >= 0).all(axis=1)  # the others are lenders or history themselves, and nobody asks for them
    return _Lent(
        _cut(source.base, kept),
        np.flatnonzero(places >= 0)[judged],
        there[judged],
        np.asarray(source.shares[places[places >= 0]])[judged],
    )
