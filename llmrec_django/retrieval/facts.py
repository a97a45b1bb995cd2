"""What the tables know about listed resources and a learner's own, for the reasons in a list."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

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
from llmrec_django.retrieval.sql import columns_of, database, id_array

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from llmrec_django.retrieval.eligibility import Eligibility
    from llmrec_django.retrieval.sql import Columns

T = TypeVar("T")

RESOURCES = Resource._meta.db_table
INTERACTIONS = Interaction._meta.db_table
LEARNERS = LearnerProfile._meta.db_table
LINKS = ResourceCompetency._meta.db_table
COMPETENCIES = Competency._meta.db_table
PREREQUISITES = Prerequisite._meta.db_table

DONE_FROM = 1.0
"""A verb of this weight says that a resource is done: what it unlocks is open."""
CHOSEN_FROM = 0.5
"""A verb of this weight says that a learner chose a resource: to have looked at a page is no choice."""
COUNTED = 200
"""Interactions with one resource that are looked at to count who chose two: at least so many, it says. That bounds
the work for popular ones."""
COUNTED_LATELY = 5000
"""The same for those who chose a resource lately."""
EMPTY_S = 60.0
"""Seconds for which a site's first prerequisite or competency may go unsaid."""
KEPT_S = 3600.0
MOST_KEPT = 10_000
"""Resources whose learners a process remembers, up to 1.6 kB each."""


class Named(NamedTuple):
    """What a resource is called and is about."""

    id: int
    key: str
    title: str
    translations: Any
    keywords: Any


NAMED = Named._fields


@dataclass(frozen=True, slots=True)
class Facts:
    """What is true of the resources in one list."""

    titles: dict[int, Named] = field(default_factory=dict)
    """Resources that may be named to the learner."""
    competencies: dict[int, dict[int, str]] = field(default_factory=dict)
    """Resource → id and title of what it teaches or assesses."""
    unlocked_by: dict[int, list[int]] = field(default_factory=dict)
    """Listed resource → what it asks for and the learner has done."""
    ages: dict[int, int] = field(default_factory=dict)
    """Resource → whole days since it was added."""
    shared: dict[tuple[int, int], int] = field(default_factory=dict)
    """Pair of resources → learners who chose both, at least, where that was asked."""
    lately: dict[int, int] = field(default_factory=dict)
    """Resource → learners who chose it in the last LLMREC["POPULAR_DAYS"] days, at least, where that was asked."""


def read_facts(
    eligibility: Eligibility,
    listed: Sequence[int],
    own: Sequence[int],
    learner_id: int | None,
    *,
    columns: Sequence[str],
    pairs: Sequence[tuple[int, int]] = (),
    popular: Iterable[int] = (),
) -> tuple[dict[int, Resource], Facts]:
    """Read listed resources and what the tables know about them and a learner's own, in one query.

    What other learners did is remembered in the process, for an hour and for LLMREC["POPULAR_CACHE_S"].

    Args:
        eligibility: What the list's audience may see.
        listed: Ids of the listed resources.
        own: Ids of the learner's resources that would be named.
        learner_id: None for someone unknown.
        columns: Fields of the listed resources that are read, those of `Named` among them; the others are deferred.
        pairs: Of resources, whose common learners are asked.
        popular: Resources of which it is asked how many chose them lately.

    Returns:
        The listed resources that are there, by id, and the facts.
    """
    using = database()
    read_columns, named_columns = columns_of(Resource, tuple(columns)), columns_of(Resource, NAMED)
    places = [read_columns.names.index(name) for name in named_columns.names]
    n_columns = len(read_columns.names)
    condition, params = nameable(eligibility)
    has_needs, has_links = not _is_empty(PREREQUISITES), not _is_empty(LINKS)
    choosers, unread = _choosers.held({pk for pair in pairs for pk in pair})
    lately, uncounted = _lately.held(set(popular))
    facts = Facts(lately=lately)
    values: list[Any] = []
    if has_needs:
        done = [name for name, verb in conf.VERBS.items() if verb.effect == "positive" and verb.weight >= DONE_FROM]
        values += [id_array(listed), learner_id, done]
    values += params
    if unread:
        values += [id_array(unread), *_chose()[1]]
    if uncounted:
        since = timezone.now() - timedelta(days=conf.POPULAR_DAYS)
        values += [id_array(uncounted), since, *_chose()[1]]
    asked = dict.fromkeys([*listed, *own, *unread, *uncounted])
    sql = _statement(read_columns, condition, has_needs, has_links, bool(unread), bool(uncounted))
    with connections[using].cursor() as cursor:
        cursor.execute(sql, [*values, id_array(list(asked))])
        read = cursor.fetchall()
    wanted = set(listed)
    rows: dict[int, Resource] = {}
    for found in read:
        pk = found[0]
        is_named, age, chose, chose_lately, unlocked, competencies, no_needs, no_links = found[n_columns:]
        if pk in wanted:
            rows[pk] = read_columns.instance(found[:n_columns], using)
            facts.ages[pk] = max(0, age)
        if is_named:
            facts.titles[pk] = Named(*named_columns.values([found[place] for place in places]))
        if unlocked:
            facts.unlocked_by[pk] = unlocked
        if competencies:
            facts.competencies[pk] = {int(competency): title for competency, title in competencies.items()}
        if chose is not None:
            choosers[pk] = np.unique(np.fromstring(chose, dtype=np.int64, sep=" "))
        if chose_lately is not None:
            lately[pk] = chose_lately
    if read and no_needs:
        _empty[PREREQUISITES] = time.monotonic() + EMPTY_S
    if read and no_links:
        _empty[LINKS] = time.monotonic() + EMPTY_S
    _choosers.keep({pk: choosers[pk] for pk in unread if pk in choosers}, KEPT_S)
    _lately.keep({pk: lately[pk] for pk in uncounted if pk in lately}, float(conf.POPULAR_CACHE_S))
    for one, other in pairs:
        if one in choosers and other in choosers:
            facts.shared[one, other] = _n_common(choosers[one], choosers[other])
    if eligibility.visible_rows is not None and facts.titles:
        visible = eligibility.visible_rows(list(facts.titles))
        for hidden in set(facts.titles) - visible:
            del facts.titles[hidden]
    return rows, facts


@functools.lru_cache(maxsize=64)
def _statement(
    columns: Columns, nameable: str, has_needs: bool, has_links: bool, asks_choosers: bool, asks_lately: bool
) -> str:
    """Return the query of `read_facts`: what is not asked for costs no planning."""
    resources = f'"{RESOURCES}"'
    chose = _chose()[0]
    of_this = f"FROM {INTERACTIONS} WHERE resource_id = {resources}.id"
    needed = (
        f"WITH needed AS (SELECT p.resource_id, p.requires_id FROM {PREREQUISITES} p "
        f"WHERE p.resource_id = ANY(%s::bigint[]) AND EXISTS (SELECT 1 FROM {INTERACTIONS} i "
        "WHERE i.learner_id = %s AND i.resource_id = p.requires_id AND i.verb = ANY(%s))) "
    )
    # Without an order: two resources are then both read from the oldest rows on, where the same learners stand.
    choosers = (
        # As text: an array of numbers would become a list of as many objects first.
        f"CASE WHEN {resources}.id = ANY(%s::bigint[]) THEN array_to_string(ARRAY(SELECT learner_id FROM ("
        f"SELECT learner_id {of_this} AND {chose} LIMIT {COUNTED}) chose "
        # Who opted out are few, with an index of their own: quicker than to look every learner up.
        f"WHERE NOT EXISTS (SELECT 1 FROM {LEARNERS} l WHERE l.id = learner_id AND NOT l.personalise)), ' ') END"
    )
    lately = (
        f"CASE WHEN {resources}.id = ANY(%s::bigint[]) THEN (SELECT count(DISTINCT l.id) FROM ("
        f"SELECT learner_id {of_this} AND occurred_at >= %s AND {chose} LIMIT {COUNTED_LATELY}) chose "
        f"JOIN {LEARNERS} l ON l.id = chose.learner_id AND l.personalise) END"
    )
    unlocked = f"(SELECT array_agg(n.requires_id) FROM needed n WHERE n.resource_id = {resources}.id)"
    competencies = (
        "(SELECT json_object_agg(c.id, c.title) "
        f"FROM {LINKS} l JOIN {COMPETENCIES} c ON c.id = l.competency_id AND c.title <> '' "
        f"WHERE l.resource_id = {resources}.id AND l.relation IN ('teaches', 'assesses'))"
    )
    parts = [
        columns.selected(resources),
        f"({nameable})",
        "extract(epoch FROM now() - created_at)::bigint / 86400",
        choosers if asks_choosers else "NULL",
        lately if asks_lately else "NULL",
        unlocked if has_needs else "NULL",
        competencies if has_links else "NULL",
        f"NOT EXISTS (SELECT 1 FROM {PREREQUISITES})" if has_needs else "NULL",
        f"NOT EXISTS (SELECT 1 FROM {LINKS})" if has_links else "NULL",
    ]
    # An array, not two conditions: the table is then read by its key.
    ids = "ARRAY(SELECT requires_id FROM needed UNION SELECT unnest(%s::bigint[]))" if has_needs else "%s::bigint[]"
    return f"{needed if has_needs else ''}SELECT {', '.join(parts)} FROM {resources} WHERE id = ANY({ids})"


def _is_empty(table: str) -> bool:
    """Say whether there was nothing in a table some seconds ago: many sites have no prerequisites or competencies."""
    return _empty.get(table, 0.0) > time.monotonic()


def _n_common(some: NDArray[np.int64], others: NDArray[np.int64]) -> int:
    """Count what two increasing arrays have in common."""
    if not len(some) or not len(others):
        return 0
    places = np.minimum(np.searchsorted(others, some), len(others) - 1)
    return int(np.count_nonzero(others[places] == some))


def nameable_ids(eligibility: Eligibility, ids: Sequence[int]) -> set[int]:
    """Return which of some resources the audience may be told the title of."""
    condition, params = nameable(eligibility)
    with connections[database()].cursor() as cursor:
        cursor.execute(
            f'SELECT id FROM "{RESOURCES}" WHERE id = ANY(%s::bigint[]) AND {condition}', [id_array(ids), *params]
        )
        found = {int(pk) for (pk,) in cursor.fetchall()}
    return found if eligibility.visible_rows is None or not found else eligibility.visible_rows(sorted(found))


def forget_counts() -> None:
    """Count anew when asked; for tests."""
    _choosers.rows.clear()
    _lately.rows.clear()
    _empty.clear()


def _chose() -> tuple[str, list[Any]]:
    positive = [name for name, verb in conf.VERBS.items() if verb.effect == "positive" and verb.weight >= CHOSEN_FROM]
    # A rating below the middle is no vote; other verbs carry no value or a progress.
    return "verb = ANY(%s) AND NOT (verb = 'rated' AND value < %s)", [positive, conf.RATING_LIKED_FROM]


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
_empty: dict[str, float] = {}
"""Table → until when it is taken to be empty."""
