"""What waits to be embedded, in one query for each space that is fed."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, connections, router, transaction
from django.utils import timezone

from llmrec_django.models import EmbeddingClaim, Resource, ResourceVector, VectorSpace

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger(__name__)

RESOURCES = Resource._meta.db_table
VECTORS = ResourceVector._meta.db_table
CLAIMS = EmbeddingClaim._meta.db_table
SPACES = VectorSpace._meta.db_table


@dataclass(frozen=True, slots=True)
class Backlog:
    """Resources without a vector of their present text in one space."""

    space: VectorSpace
    waiting: int | None
    """Nobody has embedded them yet; None: counting took too long."""
    failed: int | None = None
    """Left for a person to look at, or tried again later."""


def backlogs(tenant: str | None = None, *, within_ms: int = 5000) -> list[Backlog]:
    """Count what waits in every space that is fed.

    Args:
        tenant: Of its resources; None: of all.
        within_ms: How long one space may take; a catalogue of a million takes about a second.
    """
    return [_backlog(space, tenant, within_ms) for space in VectorSpace.objects.fed().order_by("pk")]


def _backlog(space: VectorSpace, tenant: str | None, within_ms: int) -> Backlog:
    sql = (
        "SELECT count(*) FILTER (WHERE c.id IS NULL OR c.state = 'working'), "
        "count(*) FILTER (WHERE c.state = 'failed') "
        f"FROM {RESOURCES} r "
        f"LEFT JOIN {VECTORS} v ON v.resource_id = r.id AND v.space_id = %s AND v.content_hash = r.content_hash "
        f"LEFT JOIN {CLAIMS} c ON c.resource_id = r.id AND c.space_id = %s AND c.content_hash = r.content_hash "
        "WHERE v.id IS NULL" + ("" if tenant is None else " AND r.tenant = %s")
    )
    params = [space.pk, space.pk, *([] if tenant is None else [tenant])]
    try:
        [(waiting, failed)] = _in_time(sql, params, within_ms)
    except DatabaseError as exc:
        logger.warning("embedding backlog not counted space=%s cause=%s", space.pk, str(exc).strip().splitlines()[0])
        return Backlog(space, None)
    return Backlog(space, int(waiting), int(failed))


def backlog_over_time(
    space: VectorSpace, tenant: str, since: datetime, until: datetime, *, step: str = "day", within_ms: int = 5000
) -> tuple[tuple[datetime, int], ...]:
    """Return how many resources had no vector of their text at the end of each day or week, failed ones included.

    Nothing is written down day by day: this is worked out from when a resource was added or last changed and when it
    was embedded. So it holds of the resources there are now; of one that was embedded several times only the last
    time counts; and of one that came before `since` and was changed again after it was embedded, none.

    Args:
        since: Aware; its day or week is the first.
        until: Aware; the last row is of that moment.
        step: "day" or "week", in the active time zone.

    Returns:
        (first moment of the day or week, how many), one for each, the first one first. Empty if it took too long.
    """
    zone = timezone.get_current_timezone()
    sql = (
        "WITH waits AS (SELECT greatest(s.created_at, %s, CASE WHEN v.id IS NULL THEN r.created_at "
        "WHEN v.content_hash <> r.content_hash THEN greatest(r.updated_at, v.embedded_at) "
        "WHEN r.updated_at <= v.embedded_at THEN r.updated_at "
        "WHEN r.created_at >= %s THEN r.created_at ELSE v.embedded_at END) AS began, "
        "CASE WHEN v.content_hash = r.content_hash THEN v.embedded_at END AS ended "
        f"FROM {RESOURCES} r JOIN {SPACES} s ON s.id = %s "
        f"LEFT JOIN {VECTORS} v ON v.resource_id = r.id AND v.space_id = s.id "
        "WHERE r.tenant = %s AND (v.id IS NULL OR v.content_hash <> r.content_hash OR v.embedded_at >= %s) "
        f"AND NOT EXISTS (SELECT 1 FROM {CLAIMS} c WHERE c.resource_id = r.id AND c.space_id = s.id "
        "AND c.content_hash = r.content_hash AND c.state = 'empty')) "
        "SELECT to_char(began AT TIME ZONE %s, 'YYYY-MM-DD'), to_char(ended AT TIME ZONE %s, 'YYYY-MM-DD'), count(*) "
        "FROM waits GROUP BY 1, 2"
    )
    params = [since, since, space.pk, tenant, since, *2 * [timezone.get_current_timezone_name()]]
    try:
        spans = _in_time(sql, params, within_ms)
    except DatabaseError as exc:
        logger.warning("embedding backlog not plotted space=%s cause=%s", space.pk, str(exc).strip().splitlines()[0])
        return ()
    days = 7 if step == "week" else 1
    first = since.astimezone(zone).date()
    first -= timedelta(days=first.weekday() if step == "week" else 0)
    rows = []
    for n in range((until.astimezone(zone).date() - first).days // days + 1):
        begins = first + timedelta(days=n * days)
        last = str(begins + timedelta(days=days - 1))
        waiting = sum(count for began, ended, count in spans if began <= last and (ended is None or ended > last))
        rows.append((datetime.combine(begins, datetime.min.time(), zone), waiting))
    return tuple(rows)


def _in_time(sql: str, params: Sequence[Any], within_ms: int) -> list[tuple[Any, ...]]:
    using = router.db_for_read(Resource)
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('statement_timeout'), set_config('statement_timeout', %s, true)",
            [f"{int(within_ms)}ms"],
        )
        before = cursor.fetchone()[0]
        cursor.execute(sql, params)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        # Local to the transaction, which may be the host's.
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [before])
    return rows
