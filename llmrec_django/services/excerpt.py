"""A trained version cut down to one learner and a few resources: the same scores for these, at the cost of these."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, singledispatch
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from llmrec_django.engine.cf.content import unit_rows
from llmrec_django.engine.evaluation.segments import history_segments
from llmrec_django.services.training.borrowed import BorrowedSource
from llmrec_django.services.training.dataset import rows_in
from llmrec_django.services.training.relevance import RelevanceSource
from llmrec_django.services.training.sources import (
    ContentSource,
    FactorSource,
    HistorySource,
    NeighbourSource,
    PopularitySource,
    rows_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from llmrec_django.engine.ranking.blend import Blend
    from llmrec_django.services.scorer import Scorer
    from llmrec_django.services.training.sources import Asked
    from llmrec_django.types import Float32Matrix


LOOKED_UP = 300_000
"""Up to so many resources a table of all of them is quicker than a search for each."""


@dataclass(frozen=True, eq=False)
class Variants:
    """One learner as they are, without each of some resources, without goals, and without anything but goals.

    All resources are places in `Excerpt.met`.
    """

    choices: NDArray[np.int32]
    """What they took up, oldest first, as `Asked.histories`."""
    liked: NDArray[np.int32]
    """The same without what disappointed, as `Asked.liked`."""
    left_out: NDArray[np.int64]
    """[m]"""
    profile: Float32Matrix | None
    """Of goals and interests; float32 [1, V]."""
    without_goal: bool = False
    """Then follows the learner without goals."""
    without_history: bool = False
    """The last variant has the goals alone: as if the learner had met nothing."""
    _steps: dict[tuple[bool, int], NDArray[np.int64]] = field(default_factory=dict)
    """What several sources ask alike: of the liked or all, and of how many; see `recent`."""

    def __len__(self) -> int:
        return 1 + len(self.left_out) + self.without_goal + self.without_history

    def only(self, chosen: NDArray[np.integer]) -> Variants:
        """Leave out no more than some of the resources, places in `left_out`, and never all of them."""
        return replace(self, left_out=self.left_out[chosen], without_history=False, _steps={})

    def newcomer(self) -> Variants:
        """Return one variant alone: the last one, which has no history."""
        return Variants(self.choices[:0], self.liked[:0], self.left_out[:0], self.profile)

    @cached_property
    def profiles(self) -> Float32Matrix | None:
        """Of each variant; float32 [B, V]."""
        if self.profile is None:
            return None
        profiles = np.repeat(self.profile, len(self), axis=0)
        if self.without_goal:
            profiles[1 + len(self.left_out)] = 0
        return profiles

    def kept(self, history: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Say what each variant has of a history; bool [B, L]."""
        kept = np.ones((len(self), len(history)), dtype=bool)
        kept[1 : 1 + len(self.left_out)] = history != self.left_out[:, None]
        kept[len(self) - self.without_history :] = False
        if len(np.unique(history)) < len(history):
            # What now follows on itself was one step of the history, as `without_pings` has it.
            for row in kept:
                at = np.flatnonzero(row)
                row[at[:-1][history[at[:-1]] == history[at[1:]]]] = False
        return kept

    def recent(self, *, liked: bool, decay: float, max_history: int, known: NDArray[np.bool_] | None = None) -> Any:
        """Weigh the latest steps of each variant: decay^d, d = 0 the latest, no more than `max_history` of them.

        Args:
            liked: Of what was liked; else of what was taken up.
            known: Which resources take up a step; [met]. None: all.

        Returns:
            The steps, places in `Excerpt.met` [L], and their weights, float32 [B, L].
        """
        history = self.liked if liked else self.choices
        if known is not None and not known[history].all():
            history = history[known[history]]
        key = (liked, len(history))
        if key not in self._steps:
            kept = self.kept(history)
            # Steps before the latest, and for what a variant has not, more than there are.
            self._steps[key] = np.where(kept, np.cumsum(kept[:, ::-1], axis=1)[:, ::-1] - 1, len(history))
        by_step = np.zeros(len(history) + 1, dtype=np.float32)
        n = min(len(history), max_history)
        by_step[:n] = np.power(decay, np.arange(n))
        return history, by_step[self._steps[key]]


@dataclass(frozen=True, slots=True, eq=False)
class Excerpt:
    """Some resources, those that one learner met, and what their scores are made of."""

    kept: NDArray[np.int64]
    """Rows of the whole scorer that are scored, increasing: those that were asked for, and who lends to them."""
    columns: NDArray[np.int64]
    """Where the resources that were asked for stand among `kept`."""
    met: NDArray[np.int64]
    """Rows of the whole scorer that the learner met, increasing."""
    sources: Mapping[str, Any]
    """By name; those without a say are left out."""
    judging: tuple[tuple[Blend, NDArray[np.int64]], ...]
    """Which blend judges which of those that were asked for: what somebody had chosen when the version was trained, and
    the others; each place once, and none without a place."""
    segment: int
    """Of the length of the learner's history."""

    @classmethod
    def of(cls, scorer: Scorer, rows: NDArray[np.integer], asked: Asked, *, least_say: float = 0.0) -> Excerpt:
        """Cut a scorer down.

        Args:
            scorer: The whole.
            rows: Resources to be scored; int [k].
            asked: The one learner, whose resources are rows of the whole.
            least_say: Leave out sources with a smaller share in the weights of the blend; in [0, 1).
        """
        log = asked.log
        wanted, met = np.asarray(rows, dtype=np.int64), np.unique(log.resources).astype(np.int64)
        known = scorer.known[wanted]
        segment = int(history_segments(log.lengths[:1])[0])
        mix = scorer.mix
        blends = (mix.blend, mix.by_text if mix.by_text.weights.any() else mix.blend)
        judged = zip(blends, (np.flatnonzero(known), np.flatnonzero(~known)), strict=True)
        judging = tuple((blend, places) for blend, places in judged if len(places))
        says = [blend.says[segment] for blend, _ in judging]
        named = {source.name: source for source in scorer.sources}
        heard = {
            name: source
            for name, source in named.items()
            if max((say.get(name, 0.0) for say in says), default=0.0) > least_say
        }
        lenders = [_lenders(source, wanted) for source in heard.values() if isinstance(source, BorrowedSource)]
        kept = np.unique(np.concatenate([wanted, *lenders]))
        few = _Kept.of(kept, met, len(scorer.resource_ids), asked)
        sources = {name: few.cut(source) for name, source in heard.items()}
        return cls(kept, np.searchsorted(kept, wanted), met, sources, judging, segment)

    def variants(
        self,
        asked: Asked,
        left_out: NDArray[np.integer],
        *,
        without_goal: bool = False,
        without_history: bool = False,
    ) -> Variants:
        """Take over the learner; resources are rows of the whole scorer."""
        choices, liked = self._places(asked.histories[0]), self._places(asked.liked[0])
        without = self._places(left_out).astype(np.int64)
        return Variants(choices, liked, without, asked.profiles, without_goal, without_history)

    def _places(self, rows: NDArray[np.integer]) -> NDArray[np.int32]:
        """Return where rows of the whole scorer stand among `met`, to which they must belong."""
        return np.searchsorted(self.met, rows).astype(np.int32)

    def score(self, source: str, variants: Variants) -> Float32Matrix:
        """Return a source's scores of the resources that were asked for; float32 [B, k]."""
        scores: Float32Matrix = self.sources[source].score_variants(variants)[:, self.columns]
        return scores

    def score_rest(self, source: str, variants: Variants) -> Float32Matrix:
        """Return the same of a costly source without the first variant, which is known already; float32 [B - 1, k]."""
        scores: Float32Matrix = self.sources[source].score_variants(variants, skip=1)[:, self.columns]
        return scores

    def part(self, source: str, scores: Float32Matrix) -> Float32Matrix:
        """Return what scores of a source add to the blend, against an average resource; float32 [B, k]."""
        total = np.zeros(scores.shape, dtype=np.float32)
        for blend, judged in self.judging:
            if source in blend.sources:
                place = blend.sources.index(source)
                weight = np.float32(blend.weights[self.segment, place])
                total[:, judged] = weight * blend.calibrations[place](scores[:, judged])
        return total

    def say(self, source: str) -> float:
        """Return a source's share in the weights of the blend, on average over the resources that were asked for."""
        shares = [len(judged) * blend.says[self.segment].get(source, 0.0) for blend, judged in self.judging]
        return sum(shares) / max(1, len(self.columns))


class ScoresVariants(Protocol):
    """What stands in for a source of many resources."""

    def score_variants(self, variants: Variants) -> Float32Matrix:
        """Return float32 [B, kept]; NaN for "cannot say"."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """A `NeighbourSource`, read as far as somebody asks: what lies too far back in a history counts for nothing."""

    source: NeighbourSource
    cut: _Kept
    trained: NDArray[np.bool_]
    """Which of the resources that the learner met were there in training: others take up no step; [met]."""
    unknown: NDArray[np.bool_]
    """Of which it cannot say; [kept]."""

    def score_variants(self, variants: Variants) -> Float32Matrix:
        decay, max_history = self.source.decay, int(self.source.max_history)
        steps, weights = variants.recent(liked=False, decay=decay, max_history=max_history, known=self.trained)
        counting = weights.any(axis=0)
        steps, weights = steps[counting], weights[:, counting]
        met, places = np.unique(steps, return_inverse=True)
        scores: Float32Matrix = weights @ self._said_by(self.cut.met[met])[places]
        scores[:, self.unknown] = np.nan
        return scores

    def _said_by(self, rows: NDArray[np.int64]) -> Float32Matrix:
        """Return what resources that the learner met say of each one kept; float32 [rows, kept]."""
        said = np.zeros((len(rows), len(self.cut.rows)), dtype=np.float32)
        ids, weights = self.cut.neighbours(self.source, rows)
        places = self.cut.find(ids)
        named = np.flatnonzero(places >= 0)  # few are: most neighbours are not kept
        said[named // max(1, ids.shape[1]), places.take(named)] = weights.take(named)
        return said


@dataclass(frozen=True, slots=True, eq=False)
class _Lent:
    """A `BorrowedSource`."""

    base: _Table
    rows: NDArray[np.int64]
    lenders: NDArray[np.integer]
    shares: Float32Matrix

    def score_variants(self, variants: Variants) -> Float32Matrix:
        given = self.base.score_variants(variants)
        scores = np.full(given.shape, np.nan, dtype=np.float32)
        scores[:, self.rows] = np.einsum("brk,rk->br", given[:, self.lenders], self.shares)
        scores[:, self.rows[~self.shares.any(axis=1)]] = np.nan
        return scores


@dataclass(frozen=True, slots=True, eq=False)
class _Flat:
    """A `PopularitySource`: it looks at nobody."""

    shares: Float32Matrix
    """float32 [kept]; NaN for "cannot say"."""

    def score_variants(self, variants: Variants) -> Float32Matrix:
        return np.repeat(self.shares[None], len(variants), axis=0)


@dataclass(frozen=True, slots=True, eq=False)
class _Mean:
    """A `ContentSource`."""

    source: ContentSource
    met: Float32Matrix
    """float32 [met, F]"""
    vectors: Float32Matrix
    """float32 [kept, F]"""

    def score_variants(self, variants: Variants) -> Float32Matrix:
        source = self.source
        steps, weights = variants.recent(liked=True, decay=source.decay, max_history=int(source.max_history))
        means = weights @ self.met[steps]
        if variants.profiles is not None:
            means = means + source.whitening(variants.profiles)
        means = unit_rows(means)
        scores: Float32Matrix = means @ self.vectors.T
        scores[~means.any(axis=1)] = np.nan
        return scores


@dataclass(frozen=True, slots=True, eq=False)
class _States:
    """A `RelevanceSource`, which finds out what it would say without this resource or that as it reads the learner."""

    source: RelevanceSource
    asked: Asked
    met: NDArray[np.int64]
    kept: NDArray[np.int64]

    def score_variants(self, variants: Variants) -> Float32Matrix:
        resources, states = self.source.without_each(self.asked)
        places = {resource: place for place, resource in enumerate(resources.tolist(), start=1)}
        # What lies so far back that it was not left out is taken to change nothing.
        rows = [0, *(places.get(resource, 0) for resource in self.met[variants.left_out].tolist())]
        found = [states[rows]]
        if variants.without_goal:
            found.append(self.source.without_goals(self.asked))
        if variants.without_history:
            found.append(states[-1:])
        vectors = rows_of(self.source.vectors, self.source.added, self.kept)
        scores: Float32Matrix = np.concatenate(found) @ vectors.T
        return scores


@dataclass(frozen=True, slots=True, eq=False)
class Costly:
    """A `HistorySource` or `FactorSource`: each variant costs as much as asking it for a list."""

    source: HistorySource | FactorSource
    met: NDArray[np.int64]
    kept: NDArray[np.int64]

    def score_variants(self, variants: Variants, *, skip: int = 0) -> Float32Matrix:
        n = self.source.model.n_resources
        history = self.met[variants.choices]
        kept = variants.kept(variants.choices)[skip:] & (history < n)
        histories = [history[row].astype(np.int32) for row in kept]
        return self.source.score_histories(histories, self.kept)


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
    asked: Asked
    """The learner, and what was read of them."""
    done: dict[int, Any] = field(default_factory=dict)
    """What is cut down already, by the identity of the source: one may be part of another."""

    @classmethod
    def of(cls, rows: NDArray[np.int64], met: NDArray[np.int64], n_resources: int, asked: Asked) -> _Kept:
        lookup = None
        if n_resources <= LOOKED_UP:
            lookup = np.full(n_resources + 1, -1, dtype=np.int32)  # the last for -1, which is nobody
            lookup[rows] = np.arange(len(rows))
        return cls(rows, met, lookup, asked)

    def find(self, wanted: NDArray[np.integer]) -> NDArray[np.integer]:
        """Return where rows of the whole stand among `rows`, -1 for nowhere; of any shape."""
        if self.lookup is not None:
            places: NDArray[np.int32] = self.lookup.take(wanted)
            return places
        return rows_in(self.rows, wanted.ravel().astype(np.int64)).reshape(wanted.shape)

    def cut(self, source: Any) -> Any:
        """Return a source of these resources alone."""
        if id(source) not in self.done:
            self.done[id(source)] = _cut(source, self)
        return self.done[id(source)]

    def neighbours(
        self, source: NeighbourSource, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return neighbours and weights of some rows, from the file where they are not read already."""
        held = self.asked.read.get(source.name)
        if held is None or not len(held[0]):
            return source.read(rows)
        touched, ids, weights = held
        if np.array_equal(touched, rows):  # neither is copied then
            return ids, weights
        places = rows_in(touched.astype(np.int64), rows)
        missing = np.flatnonzero(places < 0)
        ids, weights = ids[places], weights[places]
        if len(missing):
            ids[missing], weights[missing] = source.read(rows[missing])
        return ids, weights


@singledispatch
def _cut(source: Any, kept: _Kept) -> Any:
    """Return a source of a few resources alone."""
    raise TypeError(f"Cannot cut a {type(source).__name__} down to a few resources. Say how in services/excerpt.py.")


@_cut.register(NeighbourSource)
def _(source: NeighbourSource, kept: _Kept) -> _Table:
    trained = kept.met < len(source.neighbours)  # those that came after training are not in its arrays
    return _Table(source, kept, trained, _unknown(source.known, kept))


@_cut.register(PopularitySource)
def _(source: PopularitySource, kept: _Kept) -> _Flat:
    shares = np.full(len(kept.rows), np.nan, dtype=np.float32)
    trained = kept.rows < len(source.shares)
    shares[trained] = np.asarray(source.shares[kept.rows[trained]])
    return _Flat(np.where(shares > 0, shares, np.nan).astype(np.float32))


@_cut.register(ContentSource)
def _(source: ContentSource, kept: _Kept) -> _Mean:
    return _Mean(
        source, rows_of(source.vectors, source.added, kept.met), rows_of(source.vectors, source.added, kept.rows)
    )


@_cut.register(RelevanceSource)
def _(source: RelevanceSource, kept: _Kept) -> _States:
    return _States(source, kept.asked, kept.met, kept.rows)


@_cut.register(HistorySource)
@_cut.register(FactorSource)
def _(source: HistorySource | FactorSource, kept: _Kept) -> Costly:
    return Costly(source, kept.met, kept.rows)


@_cut.register(BorrowedSource)
def _(source: BorrowedSource, kept: _Kept) -> _Lent:
    places = rows_in(np.asarray(source.rows, dtype=np.int64), kept.rows)
    lenders = np.asarray(source.lenders[places[places >= 0]], dtype=np.int64)
    there = kept.find(lenders)
    judged = (there >= 0).all(axis=1)  # the others are lenders themselves, and nobody asks for them
    return _Lent(
        kept.cut(source.base),
        np.flatnonzero(places >= 0)[judged],
        there[judged],
        np.asarray(source.shares[places[places >= 0]])[judged],
    )


def _unknown(known: NDArray[np.bool_], kept: _Kept) -> NDArray[np.bool_]:
    """Return of which kept ones nothing can be said: nobody had chosen them, or they came after training."""
    unknown = np.ones(len(kept.rows), dtype=bool)
    trained = kept.rows < len(known)
    unknown[trained] = ~np.asarray(known)[kept.rows[trained]]
    return unknown
