"""Where resources stand for one learner by each source's own score, and by what the blend makes of them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from django.db import DatabaseError

from llmrec_django.engine.evaluation.segments import history_segments
from llmrec_django.models import ResourceVector
from llmrec_django.retrieval.candidates import nearest_of_all, popular, resource_vectors, words
from llmrec_django.retrieval.eligibility import everything
from llmrec_django.retrieval.sql import run_candidates, vector_literal
from llmrec_django.services.training.dataset import rows_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llmrec_django.models import VectorSpace
    from llmrec_django.services.evidence import Basis
    from llmrec_django.services.scoring import Basis as ScoredBy
    from llmrec_django.types import Float32Vector

logger = logging.getLogger(__name__)

LOOKED_AT = 1000
"""Ranks by words and by popularity are told of so many."""


@dataclass(frozen=True, slots=True)
class Said:
    """What one source says of one resource."""

    source: str
    score: float | None
    """In the source's own unit; None: it cannot say."""
    rank: int | None
    """In the catalogue, whoever may see it; equal scores share the first of their places."""
    weight: float | None = None
    """Of the source in the blend, for this learner and resource; None where nothing is blended."""
    adds: float | None = None
    """To the blended score, against an average resource: the sum over the sources is that score."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What all sources say of one resource."""

    said: tuple[Said, ...] = ()
    score: float | None = None
    """Blended; None where nothing is blended, or the version does not know the resource."""
    rank: int | None = None
    """By that score in the catalogue, before anything is left out."""
    of: int = 0
    """Resources that were compared."""
    is_new: bool = False
    """Nobody had chosen it when the version was trained: other weights judge it, of sources that read texts."""


@dataclass(frozen=True, slots=True)
class Standings:
    """Of the resources that were asked for, and the best there are."""

    by_resource: Mapping[int, Standing]
    best: tuple[int, ...]
    """Resources with the highest scores, whoever may see them, best first."""
    is_blended: bool


def standings(basis: Basis, tenant: str, resource_ids: Sequence[int], n_best: int) -> Standings:
    """Ask every source about resources, as they were asked when the list was made.

    Args:
        basis: What a list was made by.
        tenant: Whose resources.
        resource_ids: Resources to be told about; `n_best` others come along.
        n_best: How many of the best by score are named and told about, at least 0.

    Note:
        Of a trained version every source scores the whole catalogue, however large: at 50,000 resources that takes as
        long again as the list.
    """
    if basis.scored is not None:
        return _trained(basis.scored.basis(), resource_ids, n_best)
    return _untrained(basis, tenant, resource_ids, n_best)


def _trained(by: ScoredBy, resource_ids: Sequence[int], n_best: int) -> Standings:
    scorer, asked = by.scorer, by.asked
    sources = scorer.sources if scorer.scores_all else scorer.used_sources()
    raw = {
        source.name: by.raw[source.name] if source.name in by.raw else np.asarray(source.score(asked)[0])
        for source in sources
    }
    lengths = asked.log.lengths[:1]
    total = scorer.mix.combine({name: scores[None] for name, scores in raw.items()}, lengths, scorer.known)[0]
    best = [int(pk) for pk in scorer.resource_ids[np.argsort(-total, kind="stable")[:n_best]]]
    ids = list(dict.fromkeys([*resource_ids, *best]))
    segment = int(history_segments(lengths)[0])
    mix, n = scorer.mix, len(total)
    found: dict[int, Standing] = {}
    for pk, row in zip(ids, rows_in(scorer.resource_ids, np.array(ids, dtype=np.int64)).tolist(), strict=True):
        if row < 0:
            found[pk] = Standing(of=n)
            continue
        is_new = not scorer.known[row] and bool(mix.by_text.weights.any())
        blend = mix.by_text if is_new else mix.blend
        said = []
        for name, scores in raw.items():
            weight = adds = 0.0
            if name in blend.sources:
                place = blend.sources.index(name)
                weight = float(blend.weights[segment, place])
                adds = weight * float(blend.calibrations[place](scores[row : row + 1])[0])
            score = float(scores[row])
            known = not np.isnan(score)
            said.append(Said(name, score if known else None, _rank_in(scores, score) if known else None, weight, adds))
        said.sort(key=lambda one: (-abs(one.weight or 0.0), one.source))
        found[pk] = Standing(tuple(said), float(total[row]), _rank_in(total, float(total[row])), n, is_new)
    return Standings(found, tuple(best), is_blended=True)


def _rank_in(scores: Float32Vector, score: float) -> int:
    return 1 + int((scores > np.float32(score)).sum())


def _untrained(basis: Basis, tenant: str, resource_ids: Sequence[int], n_best: int) -> Standings:
    """Without training a list is made step by step: what each step says of the resources."""
    learned = basis.learned
    vector = learned.vector() if learned is not None else None
    near: dict[int, tuple[float, int | None]] = {}
    best: list[int] = []
    n = 0
    if basis.space is not None and vector is not None:
        near, best, n = _nearness(basis.space, vector, resource_ids, n_best)
    by_words: dict[int, tuple[float, int | None]] = {}
    if learned is not None and learned.text and vector is None:
        by_words = _ranked("words", lambda: words(learned.text, everything(tenant), LOOKED_AT, at_least=0))
        best = list(by_words)[:n_best]
    by_popularity = _ranked("popular", lambda: popular(tenant, everything(tenant), LOOKED_AT))
    steps = [("content", near), ("words", by_words), ("popular", by_popularity)]
    return Standings(
        {
            pk: Standing(
                tuple(
                    Said(name, *(found.get(pk) or (None, None))) for name, found in steps if found or name == "popular"
                ),
                of=n,
            )
            for pk in dict.fromkeys([*resource_ids, *best])
        },
        tuple(best),
        is_blended=False,
    )


def _ranked(step: str, ask: Callable[[], list[tuple[int, float]]]) -> dict[int, tuple[float, int | None]]:
    """Return (score, rank) by resource; nothing where the step takes too long, as a list goes on without it then."""
    try:
        return {pk: (score, rank) for rank, (pk, score) in enumerate(ask(), start=1)}
    except DatabaseError:
        logger.exception("a step is not explained step=%s", step)
        return {}


def _nearness(
    space: VectorSpace, vector: Float32Vector, resource_ids: Sequence[int], n_best: int
) -> tuple[dict[int, tuple[float, int | None]], list[int], int]:
    """Return (score, rank) of resources by nearness to a vector, the best of all, and how many were compared.

    Where comparing all of them takes too long, there are scores without ranks.
    """
    space_id, dimension = int(space.pk), int(space.dimension)
    sql = (
        "WITH compared AS (SELECT resource_id AS id, "
        f"-(vector::halfvec({dimension}) <#> %s::halfvec({dimension})) AS score FROM {ResourceVector._meta.db_table} "
        f"WHERE space_id = {space_id}), "
        "ranked AS (SELECT id, score, rank() OVER (ORDER BY score DESC) AS rank, count(*) OVER () AS n FROM compared) "
        "SELECT id, score, rank, n FROM ranked WHERE id = ANY(%s) OR rank <= %s ORDER BY rank, id"
    )
    try:
        rows = run_candidates(sql, [vector_literal(vector), list(resource_ids), n_best])
    except DatabaseError:
        logger.exception("nearness is explained without ranks space=%s", space_id)
        best = nearest_of_all([(space, vector)], n_best) if n_best else []
        vectors = resource_vectors(space, [*resource_ids, *best])
        return {pk: (float(own @ vector), None) for pk, own in vectors.items()}, best, 0
    found: dict[int, tuple[float, int | None]] = {int(pk): (float(score), int(rank)) for pk, score, rank, _ in rows}
    best = [int(pk) for pk, _, rank, _ in rows if rank <= n_best][:n_best]
    return found, best, int(rows[0][3]) if rows else 0
