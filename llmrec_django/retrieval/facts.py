"""What the tables know about listed resources and a learner's own, for the reasons in a list."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
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
from llmrec_django.retrieval.sql import database

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from llmrec_django.retrieval.eligibility import Eligibility

T = TypeVar("T")

RESOURCES = Resource._meta.db_table
INTERACTIONS = Interaction._meta.db_table
LEARNERS = LearnerProfile._meta.db_table
LINKS = ResourceCompetency._meta.db_table
COMPETENCIES = Competency._meta.db_table
PREREQUISITES = Prerequisite._meta.db_table

DONE_FROM = 1.0
"""A verb of this weight says that a resource is done: what it unlocks is open."""
COUNTED = 200
"""Interactions with one resource that are looked at to count who chose two: at least so many, it says. That bounds
the work for popular ones."""
COUNTED_LATELY = 5000
"""The same for those who chose a resource lately."""
KEPT_S = 3600.0
MOST_KEPT = 10_000
"""Resources whose learners a process remembers, up to 1.6 kB each."""


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
    lately: dict[int, int] = field(default_factory=dict)
    """Resource → learners who chose it in the last LLMREC["POPULAR_DAYS"] days, at least, where that was asked."""


def read_facts(
    eligibility: Eligibility,
    listed: Sequence[int],
    own: Iterable[int],
    learner_id: int | None,
    *,
    aged: Sequence[int] = (),
    pairs: Sequence[tuple[int, int]] = (),
    popular: Iterable[int] = (),
) -> Facts:
    """Read what the tables know, in one query.

    What other learners did is remembered in the process, for an hour and for LLMREC["POPULAR_CACHE_S"].

    Args:
        eligibility: What the list's audience may see.
        listed: Ids of the listed resources.
        own: Ids of the learner's resources that would be named.
        learner_id: None for someone unknown.
        aged: Listed resources whose age is asked.
        pairs: Of resources, whose common learners are asked.
        popular: Resources of which it is asked how many chose them lately.
    """
    condition, params = nameable(eligibility)
    done = [name for name, verb in conf.VERBS.items() if verb.effect == "positive" and verb.weight >= DONE_FROM]
    mine = list(own)
    choosers, unread = _choosers.held({pk for pair in pairs for pk in pair})
    lately, uncounted = _lately.held(set(popular))
    facts = Facts(lately=lately)
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
    chose, chosen = _chose()
    if unread:
        sql += _CHOOSERS.format(chose=chose)
        values += [*chosen, _array(unread)]
    if uncounted:
        sql += _LATELY.format(chose=chose)
        values += [timezone.now() - timedelta(days=conf.POPULAR_DAYS), *chosen, _array(uncounted)]
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
                choosers[first] = _ids(text)
            elif fact == 5:
                lately[first] = second
    _choosers.keep({pk: choosers[pk] for pk in unread}, KEPT_S)
    _lately.keep({pk: lately[pk] for pk in uncounted}, float(conf.POPULAR_CACHE_S))
    for one, other in pairs:
        facts.shared[one, other] = len(np.intersect1d(choosers[one], choosers[other], assume_unique=True))
    if eligibility.visible_rows is not None and facts.titles:
        visible = eligibility.visible_rows(list(facts.titles))
        for hidden in set(facts.titles) - visible:
            del facts.titles[hidden]
    return facts


_CHOOSERS = (
    " UNION ALL SELECT 4, p.id, 0, coalesce((SELECT array_agg(DISTINCT l.id)::text FROM ("
    # Without an order: two resources are then both read from the oldest rows on, where the same learners stand.
    f"SELECT learner_id FROM {INTERACTIONS} WHERE resource_id = p.id AND {{chose}} LIMIT {COUNTED}) chose "
    f"JOIN {LEARNERS} l ON l.id = chose.learner_id AND l.personalise), '{{{{}}}}'), NULL "
    "FROM unnest(%s::bigint[]) AS p(id)"
)
_LATELY = (
    " UNION ALL SELECT 5, p.id, (SELECT count(DISTINCT l.id) FROM ("
    f"SELECT learner_id FROM {INTERACTIONS} WHERE resource_id = p.id AND occurred_at >= %s AND {{chose}} "
    f"LIMIT {COUNTED_LATELY}) chose JOIN {LEARNERS} l ON l.id = chose.learner_id AND l.personalise), '', NULL "
    "FROM unnest(%s::bigint[]) AS p(id)"
)


def nameable_ids(eligibility: Eligibility, ids: Sequence[int]) -> set[int]:
    """Return which of some resources the audience may be told the title of."""
    condition, params = nameable(eligibility)
    with connections[database()].cursor() as cursor:
        cursor.execute(f"SELECT id FROM {RESOURCES} WHERE id = ANY(%s) AND {condition}", [list(ids), *params])
        found = {int(pk) for (pk,) in cursor.fetchall()}
    return found if eligibility.visible_rows is None or not found else eligibility.visible_rows(sorted(found))


def forget_counts() -> None:
    """Count anew when asked; for tests."""
    _choosers.rows.clear()
    _lately.rows.clear()


def _chose() -> tuple[str, list[Any]]:
    positive = [name for name, verb in conf.VERBS.items() if verb.effect == "positive" and verb.weight > 0]
    # A rating below the middle is no vote; other verbs carry no value or a progress.
    return "verb = ANY(%s) AND NOT (verb = 'rated' AND value < %s)", [positive, conf.RATING_LIKED_FROM]


def _array(ids: Sequence[int]) -> str:
    """Return ids as PostgreSQL reads an array: quicker than a list for the driver to turn over, one by one."""
    return "{" + ",".join(map(str, ids)) + "}"


def _ids(text: str) -> NDArray[np.int64]:
    """Read an array of ids as PostgreSQL writes it."""
    inside = text[1:-1]
    return np.array(inside.split(","), dtype=np.int64) if inside else np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class _Memory(Generic[T]):
    """What is known of resources for a while, in this process.

    Not in the cache: it is small, read for every list, and no harm when processes differ a little.
    """

    rows: dict[int, tuple[float, T]] = field(default_factory=dict)
    """Resource → when it is out of date, and what is known."""

    def held(self, wanted: set[int]) -> tuple[dict[int, T], list[int]]:
        """Return what is known, and the resources of which nothing is."""
        now = time.monotonic()
        found = {pk: self.rows[pk][1] for pk in wanted if pk in self.rows and self.rows[pk][0] > now}
        return found, [pk for pk in wanted if pk not in found]

    def keep(self, read: dict[int, T], seconds: float) -> None:
        if len(self.rows) + len(read) > MOST_KEPT:
            self.rows.clear()
        until = time.monotonic() + seconds
        self.rows.update({pk: (until, value) for pk, value in read.items()})


_choosers: _Memory[NDArray[np.int64]] = _Memory()
_lately: _Memory[int] = _Memory()
