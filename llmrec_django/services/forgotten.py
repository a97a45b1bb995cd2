"""What learners took back, deed by deed, and keeping it from coming again."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from django.db import connections, router
from django.utils import timezone

from llmrec_django.models import ForgottenDeed, Interaction, Resource
from llmrec_django.models.learner import NOT_DEEDS
from llmrec_django.sources.values import is_storable

if TYPE_CHECKING:
    from datetime import datetime

    from llmrec_django.models import LearnerProfile

FORGOTTEN, INTERACTIONS = ForgottenDeed._meta.db_table, Interaction._meta.db_table
RESOURCES = Resource._meta.db_table

NOT_FORGOTTEN = (
    f"(NOT EXISTS (SELECT 1 FROM {FORGOTTEN}) OR NOT EXISTS (SELECT 1 FROM {FORGOTTEN} gone "
    "WHERE gone.learner_id = learner.id AND gone.resource_id = row.resource_id "
    f"AND row.verb NOT IN ({', '.join(repr(verb) for verb in NOT_DEEDS)}) AND (row.occurred_at <= gone.forgotten_at "
    "OR gone.events ? md5(%s::text || chr(31) || row.event_id))))"
)
"""Condition of a statement that takes in interactions: `learner` did not take `row` back. Parameter: their source.

Where nobody took anything back the rows are not looked at one by one."""

# An id that was made from a list is given free: in the same list the resource may be clicked on once more.
_FORGET = (
    f"WITH gone AS (DELETE FROM {INTERACTIONS} i USING {RESOURCES} r "
    "WHERE r.id = i.resource_id AND i.learner_id = %s AND r.tenant = %s AND r.key = %s AND i.verb <> ALL(%s) "
    "RETURNING i.resource_id, i.source, i.event_id, i.verb) "
    f"INSERT INTO {FORGOTTEN} AS deed (learner_id, resource_id, forgotten_at, events) "
    "SELECT %s, resource_id, %s, coalesce(jsonb_agg(md5(source || chr(31) || event_id)) "
    "FILTER (WHERE event_id !~ ('^' || verb || ':[0-9a-f-]{36}:')), '[]') FROM gone GROUP BY resource_id "
    "ON CONFLICT (learner_id, resource_id) DO UPDATE SET forgotten_at = excluded.forgotten_at, "
    "events = deed.events || excluded.events RETURNING resource_id, (SELECT count(*) FROM gone)"
)
_CARRY_OVER = (
    f"INSERT INTO {FORGOTTEN} AS deed (learner_id, resource_id, forgotten_at, events) "
    f"SELECT %s, resource_id, forgotten_at, events FROM {FORGOTTEN} WHERE learner_id = %s "
    "ON CONFLICT (learner_id, resource_id) DO UPDATE SET "
    "forgotten_at = greatest(deed.forgotten_at, excluded.forgotten_at), events = deed.events || excluded.events"
)


def forget_interactions(learner: LearnerProfile, resource_key: str) -> tuple[int | None, int]:
    """Delete what a learner did with a resource and remember that; return the resource's id and how many rows.

    (None, 0) where there is nothing to delete: then nothing is remembered either.
    """
    if not is_storable(resource_key):
        return None, 0
    with connections[router.db_for_write(Interaction)].cursor() as cursor:
        cursor.execute(_FORGET, [learner.pk, learner.tenant, resource_key, list(NOT_DEEDS), learner.pk, timezone.now()])
        row = cursor.fetchone()
    return (int(row[0]), int(row[1])) if row else (None, 0)


def carry_over(visitor: LearnerProfile, account: LearnerProfile) -> None:
    """Let what a visitor took back stay forgotten when they turn out to be an account."""
    with connections[router.db_for_write(ForgottenDeed)].cursor() as cursor:
        cursor.execute(_CARRY_OVER, [account.pk, visitor.pk])


class Forgotten:
    """What some learners took back, read once for many rows. No learners: no query."""

    def __init__(self, learner_ids: set[int], *, using: str) -> None:
        rows = ForgottenDeed.objects.using(using).filter(learner__in=learner_ids)
        self._deeds: dict[tuple[int, int], tuple[datetime, frozenset[str]]] = {
            (learner, resource): (forgotten_at, frozenset(events))
            for learner, resource, forgotten_at, events in rows.values_list(
                "learner_id", "resource_id", "forgotten_at", "events"
            )
        }

    def holds(self, row: Interaction, *, is_dated: bool) -> bool:
        """Return whether an interaction was taken back.

        Args:
            is_dated: Its time says when it was done, not when it was read. Then the same event with a later time is
                a new deed.
        """
        deed = self._deeds.get((row.learner_id, row.resource_id or 0))
        if deed is None or row.verb in NOT_DEEDS:
            return False
        forgotten_at, events = deed
        return row.occurred_at <= forgotten_at or (not is_dated and _digest(row.source, row.event_id) in events)


def _digest(source: str, event_id: str) -> str:
    """Return what `events` hold of an event, as the statements above make it."""
    return hashlib.md5(f"{source}\x1f{event_id}".encode(), usedforsecurity=False).hexdigest()
