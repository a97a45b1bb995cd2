"""What waits to be embedded, in one query for each space that is fed."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import DatabaseError, connections, router, transaction

from llmrec_django.models import EmbeddingClaim, Resource, ResourceVector, VectorSpace

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger(__name__)

RESOURCES = Resource._meta.db_table
VECTORS = ResourceVector._meta.db_table
CLAIMS = EmbeddingClaim._meta.db_table


@dataclass(frozen=True, slots=True)
class Backlog:
    """Resources without a vector of their present text in one space."""

    space: VectorSpace
    waiting: int | None
    """Nobody has embedded them yet; None: counting took too long."""
    failed: int | None = None
    """Left for a person to look at, or tried again later."""


def backlogs(*, within_ms: int = 5000) -> list[Backlog]:
    """Count what waits in every space that is fed.

    Args:
        within_ms: How long one space may take; a catalogue of a million takes about a second.
    """
    return [_backlog(space, within_ms) for space in VectorSpace.objects.fed().order_by("pk")]


def _backlog(space: VectorSpace, within_ms: int) -> Backlog:
    using = router.db_for_read(Resource)
    sql = (
        "SELECT count(*) FILTER (WHERE c.id IS NULL OR c.state = 'working'), "
        "count(*) FILTER (WHERE c.state = 'failed') "
        f"FROM {RESOURCES} r "
        f"LEFT JOIN {VECTORS} v ON v.resource_id = r.id AND v.space_id = %s AND v.content_hash = r.content_hash "
        f"LEFT JOIN {CLAIMS} c ON c.resource_id = r.id AND c.space_id = %s AND c.content_hash = r.content_hash "
        "WHERE v.id IS NULL"
    )
    try:
        waiting, failed = _in_time(using, sql, [space.pk, space.pk], within_ms)
    except DatabaseError as exc:
        logger.warning("embedding backlog not counted space=%s cause=%s", space.pk, str(exc).strip().splitlines()[0])
        return Backlog(space, None)
    return Backlog(space, waiting, failed)


def _in_time(using: str, sql: str, params: Sequence[int], within_ms: int) -> tuple[int, int]:
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('statement_timeout'), set_config('statement_timeout', %s, true)",
            [f"{int(within_ms)}ms"],
        )
        before = cursor.fetchone()[0]
        cursor.execute(sql, params)
        waiting, failed = cursor.fetchone()
        # Local to the transaction, which may be the host's.
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [before])
    return int(waiting), int(failed)
