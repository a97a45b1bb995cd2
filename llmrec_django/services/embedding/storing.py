"""Storing what the encoder made of one claim, in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import connections, transaction

from llmrec_django.models import EmbeddingClaim, ResourceVector, VectorSpace
from llmrec_django.retrieval.sql import vector_literal
from llmrec_django.services.embedding.claims import CLAIMS, RESOURCES, VECTORS, alias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmrec_django.services.embedding.claims import Chunk, Item
    from llmrec_django.types import Float32Vector

RETRY_AFTER_S = 300
"""A failed resource rests so long before it is tried again."""


def store(
    space: VectorSpace,
    chunk: Chunk,
    vectors: Sequence[tuple[Item, Float32Vector]],
    failures: Sequence[tuple[Item, str]],
) -> None:
    """Store one chunk's outcome in one transaction."""
    with transaction.atomic(using=alias()), connections[alias()].cursor() as cursor:
        if vectors:
            # The join skips resources deleted meanwhile, and its lock keeps the others until commit.
            cursor.execute(
                f"""
                INSERT INTO {VECTORS} (resource_id, space_id, vector, content_hash, text_hash, embedded_at)
                SELECT r.id, {int(space.pk)}, n.vector::vector, n.content_hash, n.text_hash, now()
                FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[])
                    AS n(id, vector, content_hash, text_hash)
                JOIN {RESOURCES} r ON r.id = n.id FOR KEY SHARE OF r
                ON CONFLICT (space_id, resource_id) DO UPDATE SET vector = excluded.vector,
                    content_hash = excluded.content_hash, text_hash = excluded.text_hash, embedded_at = now()
                """,
                [
                    [item.resource_id for item, _ in vectors],
                    [vector_literal(vector) for _, vector in vectors],
                    [item.content_hash for item, _ in vectors],
                    [item.text_hash for item, _ in vectors],
                ],
            )
        if chunk.unchanged:
            cursor.execute(
                f"UPDATE {VECTORS} v SET content_hash = n.content_hash "
                f"FROM unnest(%s::bigint[], %s::text[]) AS n(id, content_hash) "
                f"WHERE v.space_id = {int(space.pk)} AND v.resource_id = n.id",
                [
                    [item.resource_id for item in chunk.unchanged],
                    [item.content_hash for item in chunk.unchanged],
                ],
            )
        gone = [item.resource_id for item in chunk.empty]
        if gone:
            ResourceVector.objects.filter(space=space, resource__in=gone).delete()
        mine = EmbeddingClaim.objects.filter(space=space, token=chunk.token)
        settled = gone + [item.resource_id for item, _ in failures]
        mine.exclude(resource__in=settled).delete()
        _settle(cursor, space, chunk.token, "empty", 0, [(item, "") for item in chunk.empty])
        _settle(cursor, space, chunk.token, "failed", RETRY_AFTER_S, failures)
        if vectors or chunk.unchanged:
            # An earlier failure of a resource that now has its vector is history.
            EmbeddingClaim.objects.filter(space=space, resource__in=[item.resource_id for item, _ in vectors]).exclude(
                state=EmbeddingClaim.State.WORKING
            ).delete()


def _settle(
    cursor: Any,
    space: VectorSpace,
    token: str,
    state: str,
    rest_s: int,
    outcomes: Sequence[tuple[Item, str]],
) -> None:
    if outcomes:
        cursor.execute(
            f"UPDATE {CLAIMS} c SET state = %s, content_hash = n.content_hash, error = n.error, "
            "lease_until = clock_timestamp() + %s * interval '1 second' "
            "FROM unnest(%s::bigint[], %s::text[], %s::text[]) AS n(id, content_hash, error) "
            f"WHERE c.space_id = {int(space.pk)} AND c.resource_id = n.id AND c.token = %s",
            [
                state,
                rest_s,
                [item.resource_id for item, _ in outcomes],
                [item.content_hash for item, _ in outcomes],
                [error for _, error in outcomes],
                token,
            ],
        )
