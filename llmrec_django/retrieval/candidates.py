"""Candidate queries: ids and scores in exact order, eligibility inside the SQL."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, connections
from django.utils import timezone

from llmrec_django import caching
from llmrec_django.conf import conf
from llmrec_django.engine.phrases import marks
from llmrec_django.models import Interaction, Resource, ResourceVector
from llmrec_django.retrieval.sql import database, id_array, read_vectors, run_candidates, vector_literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmrec_django.models import VectorSpace
    from llmrec_django.retrieval.eligibility import Eligibility
    from llmrec_django.types import Float32Matrix, Float32Vector

VECTORS = ResourceVector._meta.db_table
RESOURCES = Resource._meta.db_table
INTERACTIONS = Interaction._meta.db_table

# Public data sets give popular items low ids; ordering ties by id would score hits that nobody earned.
TIE_BREAK = "hashint8({id}), {id}"
POPULAR_LENGTH = 1000
POPULAR_ENOUGH = 50
"""With fewer resources chosen lately, what was chosen at any time follows them: after a holiday, one learner's first
choice must not be all that is popular."""
POPULAR_SAMPLE = 100_000
"""So many interactions, the latest, say what is popular: on a busy site more would take longer than a request may."""
POPULAR_PAUSE_S = 60
"""After counting failed nothing is popular for so long, and lists go on with their next step at once."""


def nearest(
    space: VectorSpace, target: Float32Vector | int, eligibility: Eligibility, n: int
) -> list[tuple[int, float]]:
    """Return the `n` eligible resources nearest to a vector or to a resource (by id), nearest first.

    Args:
        target: float32 [dimension], or the id of a resource whose vector in `space` is the target.

    Returns:
        (resource id, inner product in [-1, 1]); empty when the target resource has no vector. Fewer than `n` only
        when fewer are eligible. Ties are ordered by a hash of the id.
    """
    if eligibility.is_empty:
        return []
    # The space and its dimension are literals: with parameters a generic plan would miss the partial index.
    space_id, dimension = int(space.pk), int(space.dimension)
    if isinstance(target, int):
        point = f"(SELECT vector::halfvec({dimension}) FROM {VECTORS} WHERE space_id = {space_id} AND resource_id = %s)"
        point_params: tuple[Any, ...] = (target,)
    else:
        point = f"%s::halfvec({dimension})"
        point_params = (vector_literal(target),)
    distance = f"v.vector::halfvec({dimension}) <#> {point}"
    # The inner query is what the index can answer, in nearly the right order. It reads further than n, since behind
    # a filter the index finds the last few less surely; exact order, ties and n are settled outside. Materialised,
    # and sorted by "+ 0", or the planner would trust the order of the index and stop reading at n.
    sql = (
        f"WITH nearest AS MATERIALIZED (SELECT v.resource_id AS id, {distance} AS distance FROM {VECTORS} v "
        f"WHERE v.space_id = {space_id} AND v.resource_id IN ({eligibility.sql}) "
        f"ORDER BY {distance} LIMIT {int(conf.INDEX_OVERSCAN)} * %s) "
        "SELECT id, -distance FROM nearest WHERE distance IS NOT NULL "
        "ORDER BY distance + 0, " + TIE_BREAK.format(id="id") + " LIMIT %s"
    )
    return _fetch(sql, (*point_params, *eligibility.params, *point_params), eligibility, n, limits=2)


def words(query: str, eligibility: Eligibility, n: int, *, at_least: float = 0.5) -> list[tuple[int, float]]:
    """Return up to `n` eligible resources that hold words of `query`, those with most of its words first.

    A word of four letters or more matches as a prefix of its English stem; text in Han, kana or Hangul matches by
    pairs of neighbouring characters, of which one is enough. English stop words count only where there is nothing else.

    Args:
        at_least: Share of the query's words that a resource must hold, in [0, 1]; one word at least.

    Returns:
        (resource id, score): the share of words held, in (0, 1], plus less than 0.01 for how prominently. So a score
        of 1 or more means that every word was found.
    """
    given, pairs = query_words(query)
    if eligibility.is_empty or not (given or pairs):
        return []
    # The stemmer's dictionary comes with PostgreSQL; it returns an empty array for a stop word.
    sql = (
        "WITH given AS (SELECT word, ts_lexize('english_stem', word) AS stem FROM unnest(%s::text[]) AS w(word)), "
        "terms AS MATERIALIZED ("
        # The stem of "history" and "histories" is "histori", which "history" does not begin with.
        "SELECT (to_tsquery('simple', quote_literal(coalesce(stem[1], word)) || ending) "
        "|| to_tsquery('simple', quote_literal(coalesce(regexp_replace(stem[1], 'i$', 'y'), word)) || ending) "
        "|| to_tsquery('simple', quote_literal(word) || ending)) AS q FROM given, "
        f"LATERAL (SELECT CASE WHEN length(word) >= {SHORTEST_PREFIX} THEN ':*' ELSE '' END AS ending) e "
        "WHERE stem IS DISTINCT FROM '{}' "
        "OR (%s AND NOT EXISTS (SELECT 1 FROM given WHERE stem IS DISTINCT FROM '{}')) "
        "UNION ALL SELECT to_tsquery('simple', pair) FROM unnest(%s::text[]) AS p(pair)), "
        "loose AS MATERIALIZED (SELECT string_agg(q::text, ' | ')::tsquery AS q, count(*) AS n FROM terms) "
        "SELECT id, held / n::float8 + 0.01 * prominence / (1 + prominence) AS score FROM ("
        "SELECT r.id, loose.n, (SELECT count(*) FROM terms WHERE r.search_words @@ terms.q) AS held, "
        "ts_rank(r.search_words, loose.q, 1) AS prominence "
        f"FROM {RESOURCES} r, loose WHERE r.search_words @@ loose.q AND r.id IN ({eligibility.sql})"
        ") found WHERE held >= greatest(1, %s * n) ORDER BY score DESC, " + TIE_BREAK.format(id="id") + " LIMIT %s"
    )
    needed = 0.0 if pairs else at_least
    return _fetch(sql, (given, not pairs, pairs, *eligibility.params, needed), eligibility, n)


SPACELESS = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff"
SHORTEST_PREFIX = 4
"""Shorter words match whole: "do" must not find "document"."""
LONGEST_QUERY = 32
"""Words beyond these are left out."""


@cache
def _word(*, is_ascii: bool) -> re.Pattern[str]:
    letter = rf"[^\W_{SPACELESS}]"
    # A mark belongs to the letter before it, as it does for PostgreSQL's parser.
    return re.compile(f"{letter}+" if is_ascii else f"[{SPACELESS}]+|(?:{letter}[{marks()}]*)+")


def query_words(query: str) -> tuple[list[str], list[str]]:
    """Return a query's words, and tsquery terms for the pairs of characters of scripts written without spaces."""
    given: list[str] = []
    pairs: list[str] = []
    query = query.lower()[:1000]
    for word in _word(is_ascii=query.isascii()).findall(query):
        if re.match(rf"[{SPACELESS}]", word):
            runs = [word[i : i + 2] for i in range(len(word) - 1)] or [word]
            pairs += [" <-> ".join(f"'{char}'" for char in run) for run in runs]
        else:
            given.append(word)
    return list(dict.fromkeys(given))[:LONGEST_QUERY], list(dict.fromkeys(pairs))[:LONGEST_QUERY]


def popular(tenant: str, eligibility: Eligibility, n: int) -> list[tuple[int, float]]:
    """Return the `n` eligible resources that most learners of the tenant chose lately, most first, then those chosen
    before.

    The tenant's list is cached for LLMREC["POPULAR_CACHE_S"]; eligibility is asked at read time.
    """
    if eligibility.is_empty:
        return []
    key = f"llmrec:popular:{tenant}:{conf.POPULAR_DAYS}"
    counts: list[tuple[int, float]] | None = caching.read(key)
    if counts is None:
        since = timezone.now() - timedelta(days=conf.POPULAR_DAYS)
        try:
            counts = _popular_counts(tenant, since)
            if len(counts) < POPULAR_ENOUGH:
                counts = _followed_by(counts, _popular_counts(tenant, None))
        except DatabaseError:
            # It takes too long, most likely, and would again for the next one who asks.
            caching.keep(key, [], min(POPULAR_PAUSE_S, conf.POPULAR_CACHE_S))
            raise
        caching.keep(key, counts, conf.POPULAR_CACHE_S)
    return in_order([pk for pk, _ in counts], [count for _, count in counts], eligibility, n)


def _popular_counts(tenant: str, since: Any) -> list[tuple[int, float]]:
    positive = [name for name, verb in conf.VERBS.items() if verb.effect == "positive" and verb.weight > 0]
    # A rating below the middle is no vote; other verbs carry no value or a progress.
    sql = (
        "SELECT resource_id, count(DISTINCT learner_id)::float8 AS n FROM ("
        f"SELECT resource_id, learner_id FROM {INTERACTIONS} "
        "WHERE tenant = %s AND verb = ANY(%s) AND resource_id IS NOT NULL "
        "AND NOT (verb = 'rated' AND value < %s) "
        + ("AND occurred_at >= %s " if since else "")
        + f"ORDER BY occurred_at DESC LIMIT {POPULAR_SAMPLE}) latest GROUP BY resource_id ORDER BY n DESC, "
        + TIE_BREAK.format(id="resource_id")
        + " LIMIT %s"
    )
    params = [tenant, positive, conf.RATING_LIKED_FROM, *([since] if since else []), POPULAR_LENGTH]
    return [(int(pk), float(n)) for pk, n in run_candidates(sql, params)]


def _followed_by(lately: list[tuple[int, float]], ever: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Go on with what was popular at any time; its scores are brought below the others'."""
    there = {pk for pk, _ in lately}
    more = [row for row in ever if row[0] not in there]
    scale = lately[-1][1] / (1 + more[0][1]) if lately and more else 1.0
    return [*lately, *((pk, n * scale) for pk, n in more)][:POPULAR_LENGTH]


def in_order(ids: Sequence[int], scores: Sequence[float], eligibility: Eligibility, n: int) -> list[tuple[int, float]]:
    """Return the first `n` eligible ones of resources that stand in order already, with their scores."""
    passing = eligible_among(ids, eligibility)
    return first_visible([row for row in zip(ids, scores, strict=True) if row[0] in passing], eligibility, n)


def eligible_among(ids: Sequence[int], eligibility: Eligibility) -> set[int]:
    """Return which of the resources pass what SQL can ask; `first_visible` asks the rest."""
    if eligibility.is_empty or not len(ids):
        return set()
    # Of these rows alone: as a join the planner might test the whole catalogue.
    sql = f'{eligibility.sql} AND "{RESOURCES}"."id" = ANY(%s::bigint[])'
    return {pk for (pk,) in run_candidates(sql, [*eligibility.params, id_array(ids)])}


def first_visible(rows: Sequence[tuple[int, float]], eligibility: Eligibility, n: int) -> list[tuple[int, float]]:
    """Return the first `n` rows that pass `eligibility.check_rows` too, which is asked page by page."""
    if eligibility.check_rows is None:
        return list(rows[:n])
    kept: list[tuple[int, float]] = []
    begin, size = 0, 3 * n
    while begin < len(rows) and len(kept) < n:
        page = rows[begin : begin + size]
        visible = eligibility.check_rows([pk for pk, _ in page])
        kept += [row for row in page if row[0] in visible]
        begin, size = begin + size, 4 * size
    return kept[:n]


def nearest_of_all(points: Sequence[tuple[VectorSpace, Float32Vector]], n: int) -> list[int]:
    """Return the `n` resources nearest to each vector in its space, nearest first, one vector after the other.

    Whoever may see them; scans of the indexes alone, in one query.
    """
    if not points:
        return []
    scans = (
        f"(SELECT resource_id FROM {VECTORS} WHERE space_id = {int(space.pk)} "
        f"ORDER BY vector::halfvec({int(space.dimension)}) <#> %s::halfvec({int(space.dimension)}) LIMIT %s)"
        for space, _ in points
    )
    params = [value for _, point in points for value in (vector_literal(point), n)]
    return [pk for (pk,) in run_candidates(" UNION ALL ".join(scans), params)]


def newest(eligibility: Eligibility, n: int) -> list[tuple[int, float]]:
    """Return the `n` eligible resources added last; the score is 0: newness says nothing about relevance."""
    if eligibility.is_empty:
        return []
    sql = (
        f"SELECT r.id, 0.0 FROM {RESOURCES} r WHERE r.id IN ({eligibility.sql}) "
        "ORDER BY r.created_at DESC, " + TIE_BREAK.format(id="r.id") + " LIMIT %s"
    )
    return _fetch(sql, eligibility.params, eligibility, n)


def resource_vectors(space: VectorSpace, resource_ids: Sequence[int]) -> dict[int, Float32Vector]:
    """Return the vectors of the given resources in a space; float32 [dimension] by id, missing ones left out."""
    ids = list(resource_ids)
    if not ids:
        return {}
    with connections[database()].cursor() as cursor:
        cursor.execute(
            f"SELECT resource_id, vector_send(vector) FROM {VECTORS} "
            f"WHERE space_id = {int(space.pk)} AND resource_id = ANY(%s)",
            [ids],
        )
        rows = cursor.fetchall()
    return _by_id(rows)


def levels_and_vectors(
    resource_ids: Sequence[int], space: VectorSpace | None
) -> tuple[dict[int, str], dict[int, Float32Vector]]:
    """Return levels of resources and, in one query with them, their vectors in a space; both by id.

    Args:
        space: None: no vectors are read.

    Returns:
        Resources without a level, or without a vector, are left out of that part.
    """
    if not len(resource_ids):
        return {}, {}
    vector = "NULL::bytea" if space is None else "vector_send(v.vector)"
    joined = f" LEFT JOIN {VECTORS} v ON v.space_id = {int(space.pk)} AND v.resource_id = r.id" if space else ""
    with connections[database()].cursor() as cursor:
        cursor.execute(
            f"SELECT r.id, r.level, {vector} FROM {RESOURCES} r{joined} WHERE r.id = ANY(%s::bigint[])",
            [id_array(resource_ids)],
        )
        rows = cursor.fetchall()
    levels = {int(pk): level for pk, level, _ in rows if level}
    return levels, _by_id([(pk, value) for pk, _, value in rows if value is not None])


def _by_id(rows: Sequence[tuple[int, Any]]) -> dict[int, Float32Vector]:
    matrix: Float32Matrix = read_vectors([value for _, value in rows])
    return {int(pk): matrix[i] for i, (pk, _) in enumerate(rows)}


def _fetch(
    sql: str, params: Sequence[Any], eligibility: Eligibility, n: int, *, limits: int = 1
) -> list[tuple[int, float]]:
    """Run a candidate query whose last parameters, so many as `limits`, are its LIMIT.

    Where the host's tables are in another database its rights are asked for the rows found, page by page with a
    growing LIMIT, until `n` are visible or no more rows come.
    """
    limit = n if eligibility.check_rows is None else 3 * n
    while True:
        rows = [(int(pk), float(score)) for pk, score in run_candidates(sql, (*params, *[limit] * limits))]
        if eligibility.check_rows is None:
            return rows
        visible = eligibility.check_rows([pk for pk, _ in rows])
        kept = [row for row in rows if row[0] in visible][:n]
        if len(kept) >= n or len(rows) < limit:
            return kept
        limit *= 4
