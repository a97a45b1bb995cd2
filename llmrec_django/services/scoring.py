"""Scoring with the version that serves: the same code for one request and for a nightly run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from llmrec_django.engine.interactions import InteractionLog
from llmrec_django.engine.ranking.topk import tie_keys
from llmrec_django.retrieval.candidates import (
    eligible_among,
    first_visible,
    nearest,
    nearest_of_all,
)
from llmrec_django.retrieval.history import known_of
from llmrec_django.services.scorer import InSpace, present_scorer_of, scorer_of
from llmrec_django.services.training.borrowed import score_each
from llmrec_django.services.training.dataset import interaction_weights, is_choice, rows_in
from llmrec_django.services.training.mix import ONLY_NEW
from llmrec_django.services.training.relevance import RelevanceSource
from llmrec_django.services.training.sources import Asked, ContentSource, FactorSource, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from llmrec_django.models import LearnerProfile, ModelVersion, VectorSpace
    from llmrec_django.retrieval.eligibility import Eligibility
    from llmrec_django.retrieval.history import Known, Step
    from llmrec_django.services.scorer import Scorer
    from llmrec_django.services.training.sources import Source
    from llmrec_django.types import Float32Matrix, Float32Vector

    Ids = Sequence[int] | NDArray[np.int64]

__all__ = ["Scored", "score_learners", "scorer_of"]

FIRST_LOOK = 200
"""So many of the best are asked for eligibility first; more when too few of them may be shown."""
WIDE = 0.25
"""With this share of the best in sight of the caller, the best of those are the best there are."""
HasDirection = InSpace | FactorSource
"""All whose score is an inner product with a vector of the learner: they score a few resources at the cost of these."""
FIRST_LOOK_NEW = 20
"""Of the best among new resources, which a list has few places for."""
CANDIDATES = 200
"""Resources that each source names, at least, where the catalogue is too large to score all of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """What one learner's scores are made of."""

    scorer: Scorer
    asked: Asked
    """The one learner."""
    raw: Mapping[str, Float32Vector]
    """Each source's scores of the whole catalogue, where they are at hand; float32 [N]."""
    said: Sequence[tuple[NDArray[np.int64], Mapping[str, Float32Matrix]]] = ()
    """Else some rows, increasing, and each source's scores of these; float32 [1, n]."""

    def given(self, rows: NDArray[np.int64]) -> dict[str, Float32Matrix]:
        """Return each source's scores of some rows, float32 [1, len(rows)]; nothing where one of them was not scored.

        NaN where a source cannot say, or had no say.
        """
        if self.raw:
            return {name: scores[None, rows] for name, scores in self.raw.items()}
        found: dict[str, Float32Matrix] = {}
        missing = np.ones(len(rows), dtype=bool)
        for scored, raw in self.said:
            places = rows_in(scored, rows)
            there = places >= 0
            missing &= ~there
            for name, scores in raw.items():
                result = found.setdefault(name, np.full((1, len(rows)), np.nan, dtype=np.float32))
                result[0, there] = scores[0, places[there]]
        return {} if missing.any() else found


class Scored(Protocol):
    """The scores of one learner."""

    @property
    def new_ids(self) -> frozenset[int]:
        """Resources that nobody has chosen yet; see `Scorer.new_ids`."""
        ...

    def best(
        self, eligibility: Eligibility, n: int, among_ids: Ids | None = None, *, n_new: int = 0
    ) -> list[tuple[int, float]]:
        """Return the `n` best eligible resources as (id, score), best first.

        Args:
            n_new: How many `best_new` will be asked for: their eligibility is then asked along.
        """
        ...

    def best_new(self, eligibility: Eligibility, n: int) -> list[tuple[int, float]]:
        """Return the same among `new_ids`."""
        ...

    def basis(self) -> Basis:
        """Return what they were scored by."""
        ...


def score_learners(
    version: ModelVersion,
    learners: Sequence[LearnerProfile],
    blend: Mapping[str, float] | None = None,
    known: Known | None = None,
    *,
    explains: bool = False,
) -> Mapping[int, Scored]:
    """Score resources for learners, by what they did until now.

    Args:
        blend: Source → factor on the weight that the version gives it; for experiments.
        known: What is known of them, where it has been read.
        explains: As `Asked.explains`.

    Returns:
        By learner id. Left out: who opted out, of whom nothing is known but that they are there, and of whom the
        version can say nothing.

    Raises:
        ArtifactError: the version's files are missing or damaged.

    Note:
        One query for the interactions and goals of all learners, a second one where these hold little but reports on
        a few resources; every few seconds one to three for resources that came since. A large catalogue takes more,
        for each list: see `_Narrowed`.
    """
    asking = [learner for learner in learners if learner.pk and learner.personalise]
    if not asking:
        return {}
    scorer = present_scorer_of(version)
    if blend:
        scorer = replace(scorer, mix=scorer.mix.scaled(blend))
    known = known or known_of([learner.pk for learner in asking])
    space = version.source_space
    goals = {
        learner.pk: known.goals[learner.pk, space.pk]
        for learner in asking
        if space is not None and learner.text and (learner.pk, space.pk) in known.goals
    }
    with_goals = [learner.pk for learner in asking if learner.pk in goals]
    others = [learner.pk for learner in asking if learner.pk not in goals]
    scored: dict[int, Scored] = {}
    if with_goals:
        profiles = np.stack([goals[pk] for pk in with_goals])
        scored |= _scored(version, scorer.for_goals, with_goals, known, profiles, explains=explains)
    if others:
        scored |= _scored(version, scorer, others, known, None, explains=explains)
    return scored


def _scored(
    version: ModelVersion,
    scorer: Scorer,
    ids: Sequence[int],
    known: Known,
    profiles: Float32Matrix | None,
    *,
    explains: bool,
) -> dict[int, Scored]:
    """Score for learners all of whom said what they want, float32 [B, V], or none."""
    asked = Asked(_log(scorer, ids, known.steps), profiles, explains)
    log = asked.log
    is_known = np.array([len(history) > 0 for history in asked.histories])
    if profiles is not None:
        # Where nothing that serves can hear what they want, their list is better made without training.
        is_known = is_known & scorer.reads_history | scorer.reads_goals
    if scorer.scores_all:
        raw = score_each(scorer.heard(log.lengths), asked)
        scores = scorer.mix.combine(raw, asked.log.lengths, scorer.known)
        # Where a version of one baseline serves, it may have nothing to say: a list of ties is nobody's.
        of_known = scores[:, scorer.known]
        is_known &= np.ptp(of_known, axis=1) > 0 if of_known.shape[1] else True
        return {
            pk: _Whole(scorer.resource_ids, scores[row], scorer, asked, row, raw)
            for row, pk in enumerate(ids)
            if is_known[row]
        }
    narrowing = _Narrowing.of(version, scorer, asked)
    return {pk: _Narrowed(narrowing, row) for row, pk in enumerate(ids) if is_known[row]}


@dataclass(slots=True, eq=False)
class _Passing:
    """Which resources pass what SQL can ask; each is asked about once."""

    eligibility: Eligibility
    answers: dict[int, bool] = field(default_factory=dict)

    def among(self, ids: Sequence[int], also: Sequence[int] = ()) -> set[int]:
        """Return which of `ids` pass; where a query is needed for that, it asks about `also` too."""
        if any(pk not in self.answers for pk in ids):
            asked = [pk for pk in dict.fromkeys((*ids, *also)) if pk not in self.answers]
            passing = eligible_among(asked, self.eligibility)
            self.answers.update((pk, pk in passing) for pk in asked)
        return {pk for pk in ids if self.answers[pk]}

    def first(
        self, ids: NDArray[np.int64], scores: Float32Vector, n: int, look: int, also: Sequence[int] = ()
    ) -> list[tuple[int, float]]:
        """Return the `n` best that pass as (id, score), best first.

        The best few, so many as `look`, are asked about first. That is the same as filtering before: where too few of
        them pass, more are asked, to the last one.
        """
        while True:
            order = _best_first(ids, scores, look)
            ranked = list(zip(ids[order].tolist(), scores[order].tolist(), strict=True))
            passing = self.among([pk for pk, _ in ranked], also)
            found = first_visible([row for row in ranked if row[0] in passing], self.eligibility, n)
            if len(found) >= n or look >= len(ids):
                return found
            look *= 8


@dataclass(slots=True, eq=False)
class _Whole:
    """A small catalogue: all of it is scored."""

    resource_ids: NDArray[np.int64]
    scores: Float32Vector
    """float32 [N]"""
    scorer: Scorer
    asked: Asked
    row: int
    """Which of the learners that were asked about together."""
    raw: Mapping[str, Float32Matrix]
    _passing: _Passing | None = None

    @property
    def new_ids(self) -> frozenset[int]:
        return self.scorer.new_set

    def basis(self) -> Basis:
        own = {name: scores[self.row] for name, scores in self.raw.items()}
        return Basis(self.scorer, _alone(self.asked, self.row), own)

    def best(
        self, eligibility: Eligibility, n: int, among_ids: Ids | None = None, *, n_new: int = 0
    ) -> list[tuple[int, float]]:
        look = max(FIRST_LOOK, 4 * n)
        if among_ids is not None:
            rows = self._told(np.unique(_rows(self.resource_ids, among_ids)))
            return _Passing(eligibility).first(self.resource_ids[rows], self.scores[rows], n, look)
        self._passing = _Passing(eligibility)
        also = _first_look(*self._new(), n_new) if n_new else ()
        rows = self._told(np.arange(len(self.scores)))
        return self._passing.first(self.resource_ids[rows], self.scores[rows], n, look, also)

    def _told(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Leave out the rows of which a version of one baseline says nothing: their order would be nobody's."""
        if not self.scorer.mix.is_of_one:
            return rows
        told: NDArray[np.int64] = rows[self.scores[rows] > self.scores.min()]
        return told

    def best_new(self, eligibility: Eligibility, n: int) -> list[tuple[int, float]]:
        if self._passing is None or self._passing.eligibility is not eligibility:
            self._passing = _Passing(eligibility)
        return self._passing.first(*self._new(), n, max(FIRST_LOOK_NEW, 4 * n))

    def _new(self) -> tuple[NDArray[np.int64], Float32Vector]:
        rows = self.scorer.new_rows
        return self.resource_ids[rows], self.scores[rows]


@dataclass(frozen=True, slots=True, eq=False)
class _Narrowing:
    """What is the same for all learners that are asked about together, where the catalogue is large."""

    scorer: Scorer
    asked: Asked
    spaces: Mapping[str, VectorSpace]
    """Where the nearest to a source's direction are found, by the source's name."""
    directions: Mapping[str, Float32Matrix] = field(default_factory=dict)
    """By the source's name; float32 [B, D]."""

    @classmethod
    def of(cls, version: ModelVersion, scorer: Scorer, asked: Asked) -> _Narrowing:
        """Ask the sources that compare vectors where they look."""
        spaces: dict[str, VectorSpace] = {}
        directions = {}
        for source in scorer.heard(asked.log.lengths):
            if isinstance(source, HasDirection):
                directions[source.name] = source.directions(asked)
            if not isinstance(source, InSpace):
                continue
            space = version.relevance_space if isinstance(source, RelevanceSource) else version.source_space
            if space is not None:
                spaces[source.name] = space
        return cls(scorer, asked, spaces, directions)


@dataclass(slots=True, eq=False)
class _Narrowed:
    """A large catalogue: each source names its best, and only those are scored, by all sources.

    Two queries for each list: what is nearest to S(u) and in meaning to the learner's resources and goals, and which of
    the best may be shown. Where that is few of them, up to three more, which search among what may be shown.
    """

    narrowing: _Narrowing
    row: int
    """Which of the learners."""
    _whole: dict[str, Float32Vector] | None = None
    _passing: _Passing | None = None
    _of_new: tuple[NDArray[np.int64], Float32Vector] | None = None
    _said: list[tuple[NDArray[np.int64], Mapping[str, Float32Matrix]]] = field(default_factory=list)
    """As `Basis.said`."""

    @property
    def new_ids(self) -> frozenset[int]:
        return self.narrowing.scorer.new_set

    def basis(self) -> Basis:
        return Basis(self.narrowing.scorer, _alone(self.narrowing.asked, self.row), {}, self._said)

    def best(
        self, eligibility: Eligibility, n: int, among_ids: Ids | None = None, *, n_new: int = 0
    ) -> list[tuple[int, float]]:
        ids = self.narrowing.scorer.resource_ids
        if among_ids is not None:
            rows = np.unique(_rows(ids, among_ids))
            return _Passing(eligibility).first(ids[rows], self._scores(rows), n, max(FIRST_LOOK, 4 * n))
        self._passing = _Passing(eligibility)
        also = _first_look(*self._new(), n_new) if n_new else ()
        depth = max(CANDIDATES, 4 * n)
        rows = self._candidates(depth, lambda points: nearest_of_all(points, depth))
        order = _best_first(ids[rows], scores := self._scores(rows), max(FIRST_LOOK, 4 * n))
        passing = self._passing.among(ids[rows[order]].tolist(), also)
        if len(passing) >= max(n, WIDE * len(order)):
            best = zip(ids[rows[order]].tolist(), scores[order].tolist(), strict=True)
            ranked = [row for row in best if row[0] in passing]
            found = first_visible(ranked, eligibility, n)
            if len(found) >= n:
                return found
        # Little of what is near may be shown: look among what may. Then few rows are compared, and all of them.
        near = self._candidates(
            depth, lambda points: [pk for point in points for pk, _ in nearest(*point, eligibility, depth)]
        )
        rows = np.union1d(rows, near)
        return self._passing.first(ids[rows], self._scores(rows), n, max(FIRST_LOOK, 4 * n))

    def best_new(self, eligibility: Eligibility, n: int) -> list[tuple[int, float]]:
        if self._passing is None or self._passing.eligibility is not eligibility:
            self._passing = _Passing(eligibility)
        return self._passing.first(*self._new(), n, max(FIRST_LOOK_NEW, 4 * n))

    def _new(self) -> tuple[NDArray[np.int64], Float32Vector]:
        if self._of_new is None:
            rows = self.narrowing.scorer.new_rows
            self._of_new = self.narrowing.scorer.resource_ids[rows], self._scores(rows)
        return self._of_new

    def _scores(self, rows: NDArray[np.int64]) -> Float32Vector:
        scorer = self.narrowing.scorer
        known = scorer.known[rows]
        raw = {}
        for source in self._heard(of_new=not known.any()):
            if isinstance(source, FactorSource):
                raw[source.name] = source.score_rows(self._direction(source.name)[None], rows)
            elif isinstance(source, InSpace):
                is_new = rows is scorer.new_rows
                vectors = scorer.new_vectors[source.name] if is_new else rows_of(source.vectors, source.added, rows)
                raw[source.name] = np.asarray(self._direction(source.name)[None] @ vectors.T, dtype=np.float32)
            else:
                raw[source.name] = self._others()[source.name][None, rows]
        self._said.append((rows, raw))
        scores: Float32Vector = scorer.mix.combine(raw, self._length(), known)[0]
        return scores

    def _heard(self, *, of_new: bool = False) -> list[Source]:
        return self.narrowing.scorer.heard(self._length(), of_new=of_new)

    def _length(self) -> NDArray[np.integer]:
        return self.narrowing.asked.log.lengths[self.row : self.row + 1]

    def _others(self) -> dict[str, Float32Vector]:
        """Score the whole catalogue by what takes no inner products: a few neighbours, or a list that is there."""
        if self._whole is None:
            asked = _alone(self.narrowing.asked, self.row)
            others = [source for source in self._heard() if not isinstance(source, HasDirection)]
            self._whole = {name: scores[0] for name, scores in score_each(others, asked).items()}
        return self._whole

    def _direction(self, source: str) -> Float32Vector:
        direction: Float32Vector = self.narrowing.directions[source][self.row]
        return direction

    def _candidates(
        self, n: int, near: Callable[[list[tuple[VectorSpace, Float32Vector]]], list[int]]
    ) -> NDArray[np.int64]:
        """Return the rows of what each source thinks best, and of what is near to its direction; increasing."""
        scorer = self.narrowing.scorer
        points = []
        # What speaks of new resources alone names none: all of these are scored, for places of their own.
        found = [_highest(scores, n) for name, scores in self._others().items() if name not in ONLY_NEW]
        for source in self._heard():
            if isinstance(source, FactorSource) and source.longest is not None:
                scores = source.longest.vectors @ self._direction(source.name)
                found.append(source.longest.rows[_highest(scores, n)])
            space = self.narrowing.spaces.get(source.name)
            if space is None:
                continue
            direction = self._direction(source.name)
            if np.isnan(direction).any() or not direction.any():
                continue
            if isinstance(source, ContentSource):
                # Its vectors are the space's, whitened: turned back it points the same way, all but for lengths.
                direction = source.whitening.matrix @ direction
            points.append((space, direction))
        found.append(_rows(scorer.resource_ids, near(points)))
        return np.unique(np.concatenate(found))


def _first_look(ids: NDArray[np.int64], scores: Float32Vector, n: int) -> list[int]:
    """Return the new resources that are asked about first where `n` are wanted."""
    found: list[int] = ids[_best_first(ids, scores, max(FIRST_LOOK_NEW, 4 * n))].tolist()
    return found


def _alone(asked: Asked, row: int) -> Asked:
    """Take one learner out of several."""
    return asked if asked.log.n_learners == 1 else Asked.of(asked.log, np.array([row]), asked.profiles)


def _highest(scores: Float32Vector, n: int) -> NDArray[np.int64]:
    """Return where the `n` highest scores above 0 stand, in no order."""
    named = np.flatnonzero(scores > 0)  # NaN is not
    if len(named) > n:
        named = named[np.argpartition(-scores[named], n - 1)[:n]]
    return named


def _rows(resource_ids: NDArray[np.int64], ids: Ids) -> NDArray[np.int64]:
    """Return the rows of resources, those of the version's catalogue, in the order of `ids`."""
    rows = rows_in(resource_ids, np.asarray(ids, dtype=np.int64))
    return rows[rows >= 0]


def _best_first(ids: NDArray[np.int64], scores: Float32Vector, n: int) -> NDArray[np.int64]:
    """Return where the `n` highest scores stand, highest first, equal ones by a hash of the id."""
    known = np.where(np.isnan(scores), -np.inf, scores)
    if n < len(known):
        # Only these are sorted: the same order as `rank_top_k`, and most of a catalogue is never in it.
        last = np.partition(known, len(known) - n)[len(known) - n]
        best = np.flatnonzero((known >= last) & (known > -np.inf))
    else:
        best = np.flatnonzero(known > -np.inf)
    order: NDArray[np.int64] = best[np.lexsort((tie_keys(ids[best]), -known[best]))[:n]]
    return order


def _log(scorer: Scorer, learner_ids: Sequence[int], steps: Sequence[Step]) -> InteractionLog:
    place = {pk: row for row, pk in enumerate(learner_ids)}
    code_of = {name: code for code, name in enumerate(scorer.verbs)}
    read = [step for step in steps if step.verb in code_of and step.learner_id in place]
    learners = np.array([place[step.learner_id] for step in read], dtype=np.int64)
    resources = rows_in(scorer.resource_ids, np.array([step.resource_id for step in read], dtype=np.int64))
    codes = np.array([code_of[step.verb] for step in read], dtype=np.int16)
    values = np.array([np.nan if step.value is None else step.value for step in read], dtype=np.float32)
    times = np.array([step.seconds for step in read], dtype=np.float64)
    known = resources >= 0
    return InteractionLog.from_arrays(
        learners[known],
        resources[known],
        weights=interaction_weights(codes[known], values[known], scorer.verbs),
        times=times[known],
        verbs=codes[known],
        values=values[known],
        taken_up=is_choice(codes[known], scorer.verbs),
        n_learners=len(learner_ids),
        n_resources=len(scorer.resource_ids),
    ).without_repeats()
