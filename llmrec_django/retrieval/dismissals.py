"""What a learner turned down, and what is nearly the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from django.db import connections
from django.utils import timezone

from llmrec_django.conf import conf
from llmrec_django.models import Interaction, Resource, ResourceVector
from llmrec_django.models.learner import DISMISSING
from llmrec_django.retrieval.sql import database

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
    if learner is None or learner.pk is None:
        return []
    sql = (
        "SELECT said.resource_id, said.verb, r.level, said.occurred_at FROM ("
        "SELECT * FROM (SELECT DISTINCT ON (resource_id) resource_id, verb, occurred_at, id FROM ("
        f"SELECT resource_id, verb, occurred_at, id FROM {Interaction._meta.db_table} "
        # Spelt out, so that the planner sees that the index of dismissals has them all.
        f"WHERE learner_id = %s AND verb IN ({', '.join(repr(verb) for verb in DISMISSING)}) "
        f"ORDER BY occurred_at DESC, id DESC LIMIT {READ}) statement "
        "ORDER BY resource_id, occurred_at DESC, id DESC) last ORDER BY occurred_at DESC, id DESC LIMIT %s) said "
        f"JOIN {Resource._meta.db_table} r ON r.id = said.resource_id ORDER BY said.occurred_at DESC, said.id DESC"
    )
    with connections[database()].cursor() as cursor:
        cursor.execute(sql, [learner.pk, LOOKED_AT])
        rows = cursor.fetchall()
    now = timezone.now()
    found = []
    for resource_id, name, level, occurred_at in rows:
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
