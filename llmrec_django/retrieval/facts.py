"""What the tables know about listed resources and a learner's own, for the reasons in a list."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.utils import timezone

from llmrec_django.conf import conf
from llmrec_django.models import (
    Competency,
    Interaction,
    LearnerProfile,
    Prerequisite,
    Resource,
    ResourceCompetency,
)
from llmrec_django.retrieval.eligibility import nameable
from llmrec_django.retrieval.sql import candidate_cursor, database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from llmrec_django.retrieval.eligibility import Eligibility

RESOURCES = Resource._meta.db_table
INTERACTIONS = Interaction._meta.db_table
LEARNERS = LearnerProfile._meta.db_table
LINKS = ResourceCompetency._meta.db_table
COMPETENCIES = Competency._meta.db_table
PREREQUISITES = Prerequisite._meta.db_table

DONE_FROM = 1.0
"""A verb of this weight says that a resource is done: what it unlocks is open."""
COUNTED = 3000
"""Learners of each of two resources that are looked at to count those of both: a lower bound is all that is said."""
COUNTS_KEPT_S = 3600.0
MOST_COUNTS_KEPT = 100_000


@dataclass(frozen=True, slots=True)
class Title:
    """A resource as it may be named."""

    id: int
    key: str
    title: str
    translations: Any
    keywords: Any


@dataclass(frozen=True, slots=True)
class Facts:
    """What is true of the resources in one list."""

    titles: dict[int, Title] = field(default_factory=dict)
    """Of the learner's own resources that may be named to them."""
    competencies: dict[int, dict[int, str]] = field(default_factory=dict)
    """Resource → id and title of what it teaches or assesses."""
    unlocked_by: dict[int, list[int]] = field(default_factory=dict)
    """Listed resource → what it asks for and the learner has done."""
    ages: dict[int, int] = field(default_factory=dict)
    """Resource → whole days since it was added, where that was asked."""


def read_facts(
    eligibility: Eligibility,
    listed: Sequence[int],
    own: Iterable[int],
    learner_id: int | None,
    aged: Sequence[int] = (),
) -> Facts:
    """Read what the tables know, in one query.

    Args:
        eligibility: What the list's audience may see.
        listed: Ids of the listed resources.
        own: Ids of the learner's resources that would be named.
        learner_id: None for someone unknown.
        aged: Listed resources whose age is asked.
    """
    condition, params = nameable(eligibility)
    done = [name for name, verb in conf.VERBS.items() if verb.effect == "positive" and verb.weight >= DONE_FROM]
    mine = list(own)
    sql = (
        "WITH needed AS (SELECT p.resource_id, p.requires_id FROM " + PREREQUISITES + " p "
        "WHERE p.resource_id = ANY(%s) AND EXISTS (SELECT 1 FROM " + INTERACTIONS + " i "
        "WHERE i.learner_id = %s AND i.resource_id = p.requires_id AND i.verb = ANY(%s))) "
        "SELECT 0 AS fact, id AS a, 0::bigint AS b, key AS text, jsonb_build_array(title, translations, keywords) "
        f"FROM {RESOURCES} WHERE (id = ANY(%s) OR id IN (SELECT requires_id FROM needed)) AND {condition} "
        "UNION ALL SELECT 1, resource_id, requires_id, '', NULL FROM needed "
        f"UNION ALL SELECT 2, l.resource_id, c.id, c.title, NULL FROM {LINKS} l "
        f"JOIN {COMPETENCIES} c ON c.id = l.competency_id "
        "WHERE l.resource_id = ANY(%s) AND l.relation IN ('teaches', 'assesses') "
        "UNION ALL SELECT 3, id, extract(epoch FROM now() - created_at)::bigint / 86400, '', NULL "
        f"FROM {RESOURCES} WHERE id = ANY(%s)"
    )
    facts = Facts()
    with connections[database()].cursor() as cursor:
        cursor.execute(sql, [list(listed), learner_id, done, mine, *params, [*listed, *mine], list(aged)])
        for fact, first, second, text, more in cursor.fetchall():
            if fact == 0:
                title, translations, keywords = more if isinstance(more, list) else json.loads(more)
                facts.titles[first] = Title(first, text, title, translations, keywords)
            elif fact == 1:
                facts.unlocked_by.setdefault(first, []).append(second)
            elif fact == 3:
                facts.ages[first] = max(0, second)
            elif text:
                facts.competencies.setdefault(first, {})[second] = text
    if eligibility.visible_rows is not None and facts.titles:
        visible = eligibility.visible_rows(list(facts.titles))
        for hidden in set(facts.titles) - visible:
            del facts.titles[hidden]
    return facts


def nameable_ids(eligibility: Eligibility, ids: Sequence[int]) -> set[int]:
    """Return which of some resources the audience may be told the title of."""
    condition, params = nameable(eligibility)
    with connections[database()].cursor() as cursor:
        cursor.execute(f"SELECT id FROM {RESOURCES} WHERE id = ANY(%s) AND {condition}", [list(ids), *params])
        found = {int(pk) for (pk,) in cursor.fetchall()}
    return found if eligibility.visible_rows is None or not found else eligibility.visible_rows(sorted(found))


def shared_learners(pairs: Iterable[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """Return how many learners chose both resources of each pair: at least so many, of `COUNTED` looked at."""
    sql = (
        "SELECT p.a, p.b, (SELECT count(*) FROM (SELECT l.id FROM ("
        f"(SELECT learner_id FROM {INTERACTIONS} WHERE resource_id = p.a AND {{chose}} LIMIT {COUNTED}) "
        f"INTERSECT (SELECT learner_id FROM {INTERACTIONS} WHERE resource_id = p.b AND {{chose}} LIMIT {COUNTED})"
        f") both_chose JOIN {LEARNERS} l ON l.id = both_chose.learner_id AND l.personalise) counted) "
        "FROM unnest(%s::bigint[], %s::bigint[]) AS p(a, b)"
    )

    def count(missing: list[tuple[int, int]]) -> dict[tuple[int, int], int]:
        chose, params = _chose()
        found = _run(sql.format(chose=chose), [*params, *params, [a for a, _ in missing], [b for _, b in missing]])
        return {(int(a), int(b)): int(n) for a, b, n in found}

    return _kept(_pairs, set(pairs), count, COUNTS_KEPT_S)


def recent_learners(ids: Iterable[int]) -> dict[int, int]:
    """Return how many learners chose each resource in the last LLMREC["POPULAR_DAYS"] days."""
    sql = (
        f"SELECT i.resource_id, count(DISTINCT i.learner_id) FROM {INTERACTIONS} i JOIN {LEARNERS} l "
        "ON l.id = i.learner_id AND l.personalise "
        "WHERE i.resource_id = ANY(%s) AND i.occurred_at >= %s AND {chose} GROUP BY i.resource_id"
    )

    def count(missing: list[int]) -> dict[int, int]:
        chose, params = _chose()
        since = timezone.now() - timedelta(days=conf.POPULAR_DAYS)
        found = {int(pk): int(n) for pk, n in _run(sql.format(chose=chose), [missing, since, *params])}
        return {pk: found.get(pk, 0) for pk in missing}

    return _kept(_recent, set(ids), count, float(conf.POPULAR_CACHE_S))


def forget_counts() -> None:
    """Count anew when asked; for tests."""
    _pairs.clear()
    _recent.clear()


def _chose() -> tuple[str, list[Any]]:
    positive = [name for name, verb in conf.VERBS.items() if verb.effect == "positive" and verb.weight > 0]
    # A rating below the middle is no vote; other verbs carry no value or a progress.
    return "verb = ANY(%s) AND NOT (verb = 'rated' AND value < %s)", [positive, conf.RATING_LIKED_FROM]


def _run(sql: str, params: list[Any]) -> list[tuple[Any, ...]]:
    with candidate_cursor(database()) as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())


# In the process, not in the cache: they are small, read for every list, and no harm when they differ a little.
_pairs: dict[tuple[int, int], tuple[float, int]] = {}
_recent: dict[int, tuple[float, int]] = {}


def _kept(
    held: dict[Any, tuple[float, int]], wanted: set[Any], count: Callable[[list[Any]], dict[Any, int]], seconds: float
) -> dict[Any, int]:
    """Return counts, of which those that are not held, or too old, are counted now."""
    now = time.monotonic()
    found = {}
    for name in wanted:
        until, n = held.get(name, (0.0, 0))
        if until > now:
            found[name] = n
    missing = [name for name in wanted if name not in found]
    if missing:
        counted = count(missing)
        if len(held) + len(counted) > MOST_COUNTS_KEPT:
            held.clear()
        held.update({name: (now + seconds, n) for name, n in counted.items()})
        found |= counted
    return found
