"""What the tables know about listed resources and a learner's own, for the reasons in a list."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

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
    from collections.abc import Iterable, Sequence

    from llmrec_django.retrieval.eligibility import Eligibility

N = TypeVar("N")

RESOURCES = Resource._meta.db_table
INTERACTIONS = Interaction._meta.db_table
LEARNERS = LearnerProfile._meta.db_table
LINKS = ResourceCompetency._meta.db_table
COMPETENCIES = Competency._meta.db_table
PREREQUISITES = Prerequisite._meta.db_table

DONE_FROM = 1.0
"""A verb of this weight says that a resource is done: what it unlocks is open."""
COUNTED = 500
"""Interactions with each of two resources that are looked at to count the learners of both: at least so many, it says.
That bounds the work for popular ones."""
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
    shared: dict[tuple[int, int], int] = field(default_factory=dict)
    """Pair of resources → learners who chose both, at least, where that was asked."""


def read_facts(
    eligibility: Eligibility,
    listed: Sequence[int],
    own: Iterable[int],
    learner_id: int | None,
    *,
    aged: Sequence[int] = (),
    pairs: Iterable[tuple[int, int]] = (),
) -> Facts:
    """Read what the tables know, in one query.

    Args:
        eligibility: What the list's audience may see.
        listed: Ids of the listed resources.
        own: Ids of the learner's resources that would be named.
        learner_id: None for someone unknown.
        aged: Listed resources whose age is asked.
        pairs: Of resources, whose common learners are asked. Counts are kept in the process for an hour.
    """
    condition, params = nameable(eligibility)
    done = [name for name, verb in conf.VERBS.items() if verb.effect == "positive" and verb.weight >= DONE_FROM]
    mine = list(own)
    counted, uncounted = _held(_pairs, set(pairs))
    facts = Facts(shared=counted)
    sql = (
        f"WITH needed AS (SELECT p.resource_id, p.requires_id FROM {PREREQUISITES} p "
        f"WHERE p.resource_id = ANY(%s::bigint[]) AND EXISTS (SELECT 1 FROM {INTERACTIONS} i "
        "WHERE i.learner_id = %s AND i.resource_id = p.requires_id AND i.verb = ANY(%s))) "
        "SELECT 0 AS fact, id AS a, 0::bigint AS b, key AS text, "
        "jsonb_build_array(title, translations, keywords)::text "
        # An array, not two conditions: the table is then read by its key.
        f"FROM {RESOURCES} WHERE id = ANY(ARRAY(SELECT unnest(%s::bigint[]) UNION SELECT requires_id FROM needed)) "
        f"AND {condition} "
        "UNION ALL SELECT 1, resource_id, requires_id, '', NULL FROM needed "
        f"UNION ALL SELECT 2, l.resource_id, c.id, c.title, NULL FROM {LINKS} l "
        f"JOIN {COMPETENCIES} c ON c.id = l.competency_id "
        "WHERE l.resource_id = ANY(%s::bigint[]) AND l.relation IN ('teaches', 'assesses')"
    )
    values: list[Any] = [_array(listed), learner_id, done, _array(mine), *params, _array([*listed, *mine])]
    if aged:
        sql += (
            " UNION ALL SELECT 3, id, extract(epoch FROM now() - created_at)::bigint / 86400, '', NULL "
            f"FROM {RESOURCES} WHERE id = ANY(%s::bigint[])"
        )
        values.append(_array(aged))
    if uncounted:
        chose, chosen = _chose()
        sql += _COUNT_PAIRS.format(chose=chose)
        values += [*chosen, *chosen, _array([a for a, _ in uncounted]), _array([b for _, b in uncounted])]
    with connections[database()].cursor() as cursor:
        cursor.execute(sql, values)
        for fact, first, second, text, more in cursor.fetchall():
            if fact == 0:
                title, translations, keywords = json.loads(more)
                facts.titles[first] = Title(first, text, title, translations, keywords)
            elif fact == 1:
                facts.unlocked_by.setdefault(first, []).append(second)
            elif fact == 2 and text:
                facts.competencies.setdefault(first, {})[second] = text
            elif fact == 3:
                facts.ages[first] = max(0, second)
            elif fact == 4:
                facts.shared[first, second] = int(text)
    if uncounted:
        _keep(_pairs, {pair: facts.shared.get(pair, 0) for pair in uncounted}, COUNTS_KEPT_S)
    if eligibility.visible_rows is not None and facts.titles:
        visible = eligibility.visible_rows(list(facts.titles))
        for hidden in set(facts.titles) - visible:
            del facts.titles[hidden]
    return facts


_COUNT_PAIRS = (
    " UNION ALL SELECT 4, p.a, p.b, (SELECT count(*) FROM ("
    f"(SELECT learner_id FROM {INTERACTIONS} WHERE resource_id = p.a AND {{chose}} LIMIT {COUNTED}) "
    f"INTERSECT (SELECT learner_id FROM {INTERACTIONS} WHERE resource_id = p.b AND {{chose}} LIMIT {COUNTED})"
    f") both_chose JOIN {LEARNERS} l ON l.id = both_chose.learner_id AND l.personalise)::text, NULL "
    "FROM unnest(%s::bigint[], %s::bigint[]) AS p(a, b)"
)


def nameable_ids(eligibility: Eligibility, ids: Sequence[int]) -> set[int]:
    """Return which of some resources the audience may be told the title of."""
    condition, params = nameable(eligibility)
    with connections[database()].cursor() as cursor:
        cursor.execute(f"SELECT id FROM {RESOURCES} WHERE id = ANY(%s) AND {condition}", [list(ids), *params])
        found = {int(pk) for (pk,) in cursor.fetchall()}
    return found if eligibility.visible_rows is None or not found else eligibility.visible_rows(sorted(found))


def recent_learners(ids: Iterable[int]) -> dict[int, int]:
    """Return how many learners chose each resource in the last LLMREC["POPULAR_DAYS"] days."""
    counted, uncounted = _held(_recent, set(ids))
    if not uncounted:
        return counted
    chose, chosen = _chose()
    sql = (
        f"SELECT i.resource_id, count(DISTINCT i.learner_id) FROM {INTERACTIONS} i JOIN {LEARNERS} l "
        "ON l.id = i.learner_id AND l.personalise "
        f"WHERE i.resource_id = ANY(%s::bigint[]) AND i.occurred_at >= %s AND {chose} GROUP BY i.resource_id"
    )
    since = timezone.now() - timedelta(days=conf.POPULAR_DAYS)
    with candidate_cursor(database()) as cursor:
        cursor.execute(sql, [_array(uncounted), since, *chosen])
        found = {int(pk): int(n) for pk, n in cursor.fetchall()}
    found = {pk: found.get(pk, 0) for pk in uncounted}
    _keep(_recent, found, float(conf.POPULAR_CACHE_S))
    return counted | found


def forget_counts() -> None:
    """Count anew when asked; for tests."""
    _pairs.clear()
    _recent.clear()


def _chose() -> tuple[str, list[Any]]:
    positive = [name for name, verb in conf.VERBS.items() if verb.effect == "positive" and verb.weight > 0]
    # A rating below the middle is no vote; other verbs carry no value or a progress.
    return "verb = ANY(%s) AND NOT (verb = 'rated' AND value < %s)", [positive, conf.RATING_LIKED_FROM]


def _array(ids: Sequence[int]) -> str:
    """Return ids as PostgreSQL reads an array: quicker than a list for the driver to turn over, one by one."""
    return "{" + ",".join(map(str, ids)) + "}"


# In the process, not in the cache: they are small, read for every list, and no harm when they differ a little.
_pairs: dict[tuple[int, int], tuple[float, int]] = {}
_recent: dict[int, tuple[float, int]] = {}


def _held(kept: dict[N, tuple[float, int]], wanted: set[N]) -> tuple[dict[N, int], list[N]]:
    """Return the counts that are kept and not too old, and what is to be counted."""
    now = time.monotonic()
    found = {name: kept[name][1] for name in wanted if name in kept and kept[name][0] > now}
    return found, [name for name in wanted if name not in found]


def _keep(kept: dict[N, tuple[float, int]], counted: dict[N, int], seconds: float) -> None:
    if len(kept) + len(counted) > MOST_COUNTS_KEPT:
        kept.clear()
    until = time.monotonic() + seconds
    kept.update({name: (until, n) for name, n in counted.items()})
