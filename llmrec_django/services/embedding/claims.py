"""Claiming pending resources: a lease in the database that whoever comes later may take over once it has expired.

A resource is pending in a space when no vector carries its current content hash and no settled claim does.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import connections, router, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from llmrec_django.conf import conf
from llmrec_django.engine.text import compose_text, text_hash
from llmrec_django.models import EmbeddingClaim, Resource, ResourceVector, VectorSpace

if TYPE_CHECKING:
    from llmrec_django.engine.encoders.base import Encoder

RESOURCES = Resource._meta.db_table
VECTORS = ResourceVector._meta.db_table
CLAIMS = EmbeddingClaim._meta.db_table

TEXT_COLUMNS = ("title", "description", "keywords", "translations", "body")


@dataclass(frozen=True, slots=True)
class Item:
    resource_id: int
    content_hash: str
    text: str
    text_hash: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """Claimed resources, sorted by what has to be done with them."""

    token: str
    last_id: int
    to_encode: list[Item]
    unchanged: list[Item]
    empty: list[Item]

    @property
    def size(self) -> int:
        return len(self.to_encode) + len(self.unchanged) + len(self.empty)


def claim(space: VectorSpace, size: int, after_id: int = 0) -> Chunk | None:
    """Lease up to `size` pending resources with ids above `after_id`; None when there are none.

    Rows whose worker died twice are claimed one at a time, so that one resource that kills its worker cannot take
    the others with it.
    """
    token = secrets.token_hex(16)
    with transaction.atomic(using=alias()), connections[alias()].cursor() as cursor:
        rows = _claim_rows(cursor, space, token, size, after_id, "c.attempts < 2")
        if not rows and after_id:
            rows = _claim_rows(cursor, space, token, size, 0, "c.attempts < 2")
        if not rows:
            rows = _claim_rows(cursor, space, token, 1, 0, f"c.attempts < {int(conf.EMBED_MAX_ATTEMPTS)}")
    if not rows:
        return None
    return _sorted_chunk(space, token, dict(rows))


def _claim_rows(
    cursor: Any, space: VectorSpace, token: str, size: int, after_id: int, expired_if: str
) -> list[tuple[int, str]]:
    # clock_timestamp, not now(): a lease counts from the claim, not from the start of a transaction.
    cursor.execute(
        f"""
        WITH todo AS (
            SELECT r.id, r.content_hash FROM {RESOURCES} r
            LEFT JOIN {VECTORS} v ON v.resource_id = r.id AND v.space_id = {int(space.pk)}
            LEFT JOIN {CLAIMS} c ON c.resource_id = r.id AND c.space_id = {int(space.pk)}
            WHERE r.id > %s AND (v.id IS NULL OR v.content_hash <> r.content_hash) AND (
                c.id IS NULL
                OR (c.state <> 'working' AND c.content_hash <> r.content_hash)
                OR (c.state IN ('working', 'failed') AND c.lease_until < clock_timestamp() AND {expired_if})
            )
            ORDER BY r.id LIMIT %s FOR NO KEY UPDATE OF r SKIP LOCKED
        )
        INSERT INTO {CLAIMS} AS c (resource_id, space_id, state, content_hash, token, lease_until, attempts, error)
        SELECT id, {int(space.pk)}, 'working', content_hash, %s, clock_timestamp() + %s * interval '1 second', 1, ''
        FROM todo
        ON CONFLICT (space_id, resource_id) DO UPDATE SET
            state = 'working', token = excluded.token, lease_until = excluded.lease_until,
            attempts = CASE WHEN c.content_hash = excluded.content_hash THEN c.attempts + 1 ELSE 1 END,
            content_hash = excluded.content_hash
        WHERE c.state <> 'working' OR c.lease_until < clock_timestamp()
        RETURNING resource_id, content_hash
        """,
        [after_id, size, token, conf.EMBED_LEASE_S],
    )
    return [(int(pk), content_hash) for pk, content_hash in cursor.fetchall()]


def _sorted_chunk(space: VectorSpace, token: str, hashes: dict[int, str]) -> Chunk:
    known = dict(
        ResourceVector.objects.using(alias())
        .filter(space=space, resource__in=hashes)
        .values_list("resource_id", "text_hash")
    )
    chunk = Chunk(token, max(hashes), [], [], [])
    for row in (
        Resource.objects.using(alias()).filter(pk__in=hashes).order_by("pk").values("pk", "content_hash", *TEXT_COLUMNS)
    ):
        text = compose_text(**{name: row[name] for name in TEXT_COLUMNS})
        # The hash read with the text, not the claimed one: the row may have changed in between.
        item = Item(row["pk"], row["content_hash"], text, text_hash(text))
        if not text:
            chunk.empty.append(item)
        elif known.get(item.resource_id) == item.text_hash:
            chunk.unchanged.append(item)
        else:
            chunk.to_encode.append(item)
    return chunk


def fail_repeaters(space: VectorSpace) -> None:
    """Settle resources whose workers died again and again: a person has to look at them."""
    EmbeddingClaim.objects.filter(
        space=space,
        state=EmbeddingClaim.State.WORKING,
        attempts__gte=conf.EMBED_MAX_ATTEMPTS,
        lease_until__lt=timezone.now(),
    ).update(
        state=EmbeddingClaim.State.FAILED,
        error="The worker stopped each time while it embedded this resource. Look for a very long or odd text.",
    )


def give_back(space: VectorSpace, token: str) -> None:
    """Make claimed resources pending again at once; used when the encoder is unreachable or the worker stops."""
    EmbeddingClaim.objects.filter(space=space, token=token).delete()


def has_pending(space: VectorSpace) -> bool:
    """Return whether a resource waits for a vector in `space`, leased ones included."""
    with connections[alias()].cursor() as cursor:
        cursor.execute(
            f"""
            SELECT EXISTS (
                SELECT 1 FROM {RESOURCES} r
                LEFT JOIN {VECTORS} v ON v.resource_id = r.id AND v.space_id = {int(space.pk)}
                LEFT JOIN {CLAIMS} c ON c.resource_id = r.id AND c.space_id = {int(space.pk)}
                WHERE (v.id IS NULL OR v.content_hash <> r.content_hash)
                  AND (c.id IS NULL OR c.state = 'working' OR c.content_hash <> r.content_hash
                       OR (c.state = 'failed' AND c.attempts < %s AND c.lease_until < clock_timestamp()))
            )
            """,
            [conf.EMBED_MAX_ATTEMPTS],
        )
        return bool(cursor.fetchone()[0])


def count_pending(encoder: Encoder) -> int:
    """Return how many resources have no vector of their present text in the space of `encoder`."""
    current = ResourceVector.objects.filter(
        resource=OuterRef("pk"), content_hash=OuterRef("content_hash"), space__encoder_id=encoder.encoder_id
    )
    textless = EmbeddingClaim.objects.filter(
        resource=OuterRef("pk"),
        content_hash=OuterRef("content_hash"),
        state=EmbeddingClaim.State.EMPTY,
        space__encoder_id=encoder.encoder_id,
    )
    return Resource.objects.filter(~Exists(current), ~Exists(textless)).count()


def alias() -> str:
    """Return the database that holds our tables."""
    return router.db_for_write(Resource)
