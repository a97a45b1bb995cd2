"""What a learner turned down, and what is nearly the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import connections
from django.utils import timezone

from llmrec_django.conf import conf
from llmrec_django.models import Interaction, Resource, ResourceVector
from llmrec_django.models.learner import DISMISSING
from llmrec_django.retrieval.sql import Query, database

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from llmrec_django.models import LearnerProfile, VectorSpace

LOOKED_AT = 100
"""So many of the things a learner turned down last are compared with candidates, and say something of their level."""
READ = 10 * LOOKED_AT
"""Statements that are read for it: the same thing may be turned down more than once."""


class Dismissal(NamedTuple):
    """One resource that a learner turned down."""

    resource_id: int
    verb: str
    """One of `DISMISSING`."""
    level: str
    """Of the resource; "" unknown."""
    occurred_at: datetime
    """When it was turned down last."""


def dismissals(learner: LearnerProfile | None) -> list[Dismissal]:
    """Return what a learner turned down lately and still is hidden, the last first; one query.

    Each resource once: said again, in another list or another tab, it is the last word that counts.
    """
    return [] if learner is None or learner.pk is None else dismissals_query(learner).run()


def dismissals_query(learner: LearnerProfile) -> Query[list[Dismissal]]:
    """Return the query of `dismissals`, of a learner who is stored."""
    sql = (
        f"SELECT i.resource_id, i.verb, r.level, i.occurred_at FROM {Interaction._meta.db_table} i "
        f"JOIN {Resource._meta.db_table} r ON r.id = i.resource_id "
        # Spelt out, so that the planner sees that the index of dismissals has them all.
        f"WHERE i.learner_id = %s AND i.verb IN ({', '.join(repr(verb) for verb in DISMISSING)}) "
        "ORDER BY i.occurred_at DESC, i.id DESC LIMIT %s"
    )
    return Query(sql, (learner.pk, READ), _last_words)


def _last_words(rows: list[tuple[Any, ...]]) -> list[Dismissal]:
    last: dict[int, tuple[Any, ...]] = {}
    for row in rows:
        last.setdefault(row[0], row)
    now = timezone.now()
    found = []
    for resource_id, name, level, occurred_at in list(last.values())[:LOOKED_AT]:
        verb = conf.VERBS.get(name)
        days = verb.seen_days if verb else None
        if days is not None and (now - occurred_at).total_seconds() < days * 86400:
            found.append(Dismissal(resource_id, name, level, occurred_at))
    return found


def unlike(space: VectorSpace, dismissed_ids: Sequence[int]) -> Callable[[Sequence[int]], set[int]]:
    """Return a check: given resource ids, those that are not nearly the same as something turned down.

    Nearly the same is what reaches LLMREC["DISMISS_SIMILAR_FROM"] in `space`. A resource without a vector passes.
    """
    table, space_id = ResourceVector._meta.db_table, int(space.pk)
    sql = (
        "SELECT c.id FROM unnest(%s::bigint[]) AS c(id) WHERE NOT EXISTS ("
        f"SELECT 1 FROM {table} v, {table} d WHERE v.space_id = {space_id} AND v.resource_id = c.id "
        f"AND d.space_id = {space_id} AND d.resource_id = ANY(%s) AND (v.vector <#> d.vector) <= %s)"
    )

    def passing(resource_ids: Sequence[int]) -> set[int]:
        with connections[database()].cursor() as cursor:
            cursor.execute(sql, [list(resource_ids), list(dismissed_ids), -float(conf.DISMISS_SIMILAR_FROM)])
            return {int(row[0]) for row in cursor.fetchall()}

    return passing
