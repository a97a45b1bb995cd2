"""A trained version cut down to one learner and a few resources: the same scores for these, at the cost of these."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, singledispatch
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

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


class Histories:
    """One learner's history in several variants, whose resources are rows of an excerpt."""

    def __init__(self, log: InteractionLog, profiles: Float32Matrix | None = None) -> None:
        self.asked = Asked(log, profiles)
        self._recent: dict[tuple[float, int, int], Float32Matrix] = {}

    @cached_property
    def _laid_out(self) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
        """Resources that were taken up, the variant of each, and how many steps before its end each stands."""
        return _laid_out(self.asked.histories)

    def recent(self, n: int, decay: float, max_history: int) -> Float32Matrix:
        """Weigh the latest of the first `n` resources as `NeighbourSource` does; float32 [B, n]."""
        key = (decay, max_history, n)
        if key not in self._recent:
            resources, rows, steps = self._laid_out
            if len(resources) and resources.max() >= n:  # those that came after training take up no step
                resources, rows, steps = _laid_out([history[history < n] for history in self.asked.histories])
            weights = np.where(steps < max_history, np.power(decay, steps), 0.0)
            counted = np.bincount(rows * n + resources, weights, minlength=len(self.asked.histories) * n)
            self._recent[key] = counted.reshape(-1, n).astype(np.float32)
        return self._recent[key]


def _laid_out(
    histories: list[NDArray[np.int32]],
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
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
        sources = {name: _cut(source, kept, met) for name, source in heard.items()}
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
        if isinstance(held, _Table | _Lent | Costly):
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
        """Return a source's share in the weights of the blend; the larger one of both blends where both judge."""
        judging = [b for b, judged in zip(self.blends, (self.known, ~self.known), strict=True) if judged.any()]
        return _say(judging, source, self.segment)


def _say(blends: list[Blend], source: str, segment: int) -> float:
    shares = [
        blend.weights[segment, blend.sources.index(source)] / blend.weights[segment].sum()
        for blend in blends
        if source in blend.sources and blend.weights[segment].sum() > 0
    ]
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


@singledispatch
def _cut(source: Any, kept: NDArray[np.int64], met: NDArray[np.int64]) -> Any:
    """Return a source of the resources `kept` alone; histories hold none but those in `met`."""
    raise TypeError(f"Cannot cut a {type(source).__name__} down to a few resources. Say how in services/excerpt.py.")


@_cut.register(NeighbourSource)
def _(source: NeighbourSource, kept: NDArray[np.int64], met: NDArray[np.int64]) -> _Table:
    trained = kept[kept < len(source.ids)]  # those that came after training are not in its arrays
    read = met[met < len(source.ids)]
    places = rows_in(trained, np.asarray(source.ids[read]).ravel().astype(np.int64))
    places = places.reshape(len(read), source.ids.shape[1])
    rows, columns = np.nonzero(places >= 0)
    matrix = np.zeros((len(trained), len(trained)), dtype=np.float32)
    matrix[np.searchsorted(trained, read)[rows], places[rows, columns]] = np.asarray(source.weights[read])[
        rows, columns
    ]
    unknown = np.flatnonzero(~np.asarray(source.known)[trained])
    return _Table(matrix, source.decay, source.max_history, unknown, len(kept))


@_cut.register(PopularitySource)
def _(source: PopularitySource, kept: NDArray[np.int64], met: NDArray[np.int64]) -> PopularitySource:
    return replace(source, shares=np.asarray(source.shares[kept[kept < len(source.shares)]]))


@_cut.register(ContentSource)
@_cut.register(RelevanceSource)
def _(source: Any, kept: NDArray[np.int64], met: NDArray[np.int64]) -> Any:
    return replace(source, vectors=rows_of(source.vectors, source.added, kept), added=None)


@_cut.register(HistorySource)
def _(source: HistorySource, kept: NDArray[np.int64], met: NDArray[np.int64]) -> Costly:
    return Costly(source, kept)


@_cut.register(BorrowedSource)
def _(source: BorrowedSource, kept: NDArray[np.int64], met: NDArray[np.int64]) -> _Lent:
    places = rows_in(np.asarray(source.rows, dtype=np.int64), kept)
    lenders = np.asarray(source.lenders[places[places >= 0]], dtype=np.int64)
    there = rows_in(kept, lenders.ravel()).reshape(lenders.shape)
    judged = (there >= 0).all(axis=1)  # the others are lenders or history themselves, and nobody asks for them
    return _Lent(
        _cut(source.base, kept, met),
        np.flatnonzero(places >= 0)[judged],
        there[judged],
        np.asarray(source.shares[places[places >= 0]])[judged],
    )
