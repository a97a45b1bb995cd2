"""Embedding pending resources. The database is the record of work; a message is only a nudge.

A resource is pending in a space when no vector carries its current content hash. A worker claims pending rows by
inserting leased `EmbeddingClaim` rows, encodes, stores the vectors and deletes its claims. Whoever finds an expired
lease takes the work over; the same (resource, space, hash) stored twice is one row.
"""

from __future__ import annotations

import logging
import secrets
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from django.db import connections, router, transaction
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone

from llmrec_django.conf import conf
from llmrec_django.engine.text import compose_text, text_hash
from llmrec_django.exceptions import DimensionMismatch, EncoderError, EncoderUnavailable
from llmrec_django.models import (
    EmbeddingClaim,
    LearnerProfile,
    ProfileVector,
    Resource,
    ResourceVector,
    VectorSpace,
)
from llmrec_django.retrieval.sql import vector_literal
from llmrec_django.services import spaces
from llmrec_django.services.encoders import document_encoder, encoder_named, export_query_encoder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmrec_django.engine.encoders.base import Encoder
    from llmrec_django.types import Float32Matrix, Float32Vector

logger = logging.getLogger(__name__)

RESOURCES = Resource._meta.db_table
VECTORS = ResourceVector._meta.db_table
CLAIMS = EmbeddingClaim._meta.db_table

TEXT_COLUMNS = ("title", "description", "keywords", "translations", "body")
FIRST_CLAIM = 64
LEASE_SHARE = 0.25
"""Share of a lease that encoding one claim may take: the next one is leased meanwhile and waits for it."""
ANALYSE_FROM = 500
"""After so many new vectors the planner's statistics are renewed; autovacuum may be a minute away."""
RETRY_AFTER_S = 300
"""A failed resource rests so long before it is tried again."""


@dataclass(slots=True)
class EmbedReport:
    """What one run did."""

    embedded: int = 0
    unchanged: int = 0
    """The row changed, the text that the encoder sees did not."""
    empty: int = 0
    failed: int = 0
    profiles: int = 0
    activated: list[int] = field(default_factory=list)
    """Ids of spaces that were complete and now serve."""

    @property
    def done(self) -> int:
        return self.embedded + self.unchanged + self.empty + self.failed


@dataclass(frozen=True, slots=True)
class _Item:
    resource_id: int
    content_hash: str
    text: str
    text_hash: str


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Claimed resources, sorted by what has to be done with them."""

    token: str
    last_id: int
    to_encode: list[_Item]
    unchanged: list[_Item]
    empty: list[_Item]


def embed_pending(*, limit: int | None = None, on_progress: Callable[[EmbedReport], None] | None = None) -> EmbedReport:
    """Embed whatever is pending in every space that is fed; build, switch and index spaces that are complete.

    Raises:
        EncoderUnavailable: the encoder cannot be reached now. Claims are given back; nothing is lost.
    """
    report = EmbedReport()
    if not spaces.tables_exist():
        return report
    configured = spaces.space_for(document_encoder())
    for space in _fed_spaces(configured):
        encoder = encoder_named(space.encoder)
        _embed_space(space, encoder, report, limit, on_progress)
        report.profiles += _embed_profiles(space, encoder)
        _finish(space, configured, report)
        if space.status == VectorSpace.Status.ACTIVE:
            _export(space)
    return report


def _fed_spaces(configured: VectorSpace) -> list[VectorSpace]:
    """Return the spaces to feed, the configured one first.

    A space whose encoder is no longer in the settings as it was cannot be fed: its vectors serve until the
    configured one takes over.
    """
    found = [configured]
    for space in VectorSpace.objects.fed().exclude(pk=configured.pk).order_by("pk"):
        try:
            same = encoder_named(space.encoder).encoder_id == space.encoder_id
        except Exception as exc:  # noqa: BLE001 - a setting of another encoder must not stop this one
            logger.warning("space not fed space=%s cause=%s", space.pk, exc)
            continue
        if same:
            found.append(space)
    return found


def _embed_space(
    space: VectorSpace,
    encoder: Encoder,
    report: EmbedReport,
    limit: int | None,
    on_progress: Callable[[EmbedReport], None] | None,
) -> None:
    """Claim, encode and store chunk by chunk; the database works on one chunk while the encoder works on the next."""
    background = _Background()
    _fail_repeaters(space)
    # Small first, then as many as fit well into a lease at the rate seen.
    size = min(FIRST_CLAIM, conf.EMBED_BATCH) if limit is None else min(FIRST_CLAIM, conf.EMBED_BATCH, limit)
    chunk: _Chunk | None = None
    upcoming: Future[_Chunk | None] | None = None
    try:
        chunk = claim(space, size)
        started = report.done
        while chunk is not None:
            room = None if limit is None else limit - (report.done - started) - _size(chunk)
            ahead = min(size, room) if room is not None else size
            upcoming = background.submit(claim, space, ahead, chunk.last_id) if ahead > 0 else None
            began = time.monotonic()
            vectors, failures = _encode(encoder, space, chunk.to_encode)
            if chunk.to_encode:
                rate = len(chunk.to_encode) / max(time.monotonic() - began, 1e-6)
                size = int(min(max(rate * conf.EMBED_LEASE_S * LEASE_SHARE, 1), conf.EMBED_BATCH))
            background.submit(_store, space, chunk, vectors, failures)
            report.embedded += len(vectors)
            report.failed += len(failures)
            report.unchanged += len(chunk.unchanged)
            report.empty += len(chunk.empty)
            if on_progress:
                on_progress(report)
            chunk = upcoming.result() if upcoming else None
            upcoming = None
        background.finish()
    except BaseException:
        for unfinished in (chunk, upcoming.result() if upcoming else None):
            if unfinished is not None:
                _give_back(space, unfinished.token)
        raise
    finally:
        background.close()


def _size(chunk: _Chunk) -> int:
    return len(chunk.to_encode) + len(chunk.unchanged) + len(chunk.empty)


class _Background:
    """Runs database work beside the encoder, in order; inline inside a transaction, which another connection
    could not see."""

    def __init__(self) -> None:
        self._inline = connections[_alias()].in_atomic_block
        self._pool = None if self._inline else ThreadPoolExecutor(1, thread_name_prefix="llmrec-embed")
        self._futures: list[Future[Any]] = []

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any]
        if self._pool is None:
            future = Future()
            future.set_result(function(*args))
            return future
        self._futures = [known for known in self._futures if not known.done() or known.exception()]
        future = self._pool.submit(function, *args)
        self._futures.append(future)
        return future

    def finish(self) -> None:
        """Wait for everything submitted; raise what failed."""
        for future in self._futures:
            future.result()

    def close(self) -> None:
        if self._pool is not None:
            self._pool.submit(connections.close_all)
            self._pool.shutdown(wait=True)


# Claims


def claim(space: VectorSpace, size: int, after_id: int = 0) -> _Chunk | None:
    """Lease up to `size` pending resources with ids above `after_id`; None when there are none.

    Rows whose worker died twice are claimed one at a time, so that one resource that kills its worker cannot take
    the others with it.
    """
    token = secrets.token_hex(16)
    with transaction.atomic(using=_alias()), connections[_alias()].cursor() as cursor:
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


def _sorted_chunk(space: VectorSpace, token: str, hashes: dict[int, str]) -> _Chunk:
    known = dict(
        ResourceVector.objects.filter(space=space, resource__in=hashes).values_list("resource_id", "text_hash")
    )
    chunk = _Chunk(token, max(hashes), [], [], [])
    for row in Resource.objects.filter(pk__in=hashes).order_by("pk").values("pk", "content_hash", *TEXT_COLUMNS):
        text = compose_text(**{name: row[name] for name in TEXT_COLUMNS})
        # The hash read with the text, not the claimed one: the row may have changed in between.
        item = _Item(row["pk"], row["content_hash"], text, text_hash(text))
        if not text:
            chunk.empty.append(item)
        elif known.get(item.resource_id) == item.text_hash:
            chunk.unchanged.append(item)
        else:
            chunk.to_encode.append(item)
    return chunk


def _fail_repeaters(space: VectorSpace) -> None:
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


def _give_back(space: VectorSpace, token: str) -> None:
    """Make claimed resources pending again at once; used when the encoder is unreachable or the worker stops."""
    EmbeddingClaim.objects.filter(space=space, token=token).delete()


# Encoding


def _encode(
    encoder: Encoder, space: VectorSpace, items: Sequence[_Item]
) -> tuple[list[tuple[_Item, Float32Vector]], list[tuple[_Item, str]]]:
    """Encode items; halve a batch that fails until the bad ones stand alone."""
    if not items:
        return [], []
    try:
        matrix = _checked(encoder.encode_documents([item.text for item in items]), len(items), space.dimension)
        return list(zip(items, matrix, strict=True)), []
    except EncoderUnavailable:
        raise
    except Exception as exc:
        if not isinstance(exc, EncoderError | ValueError | RuntimeError | TypeError | IndexError):
            raise
        if len(items) == 1:
            logger.warning("resource not embedded resource=%s cause=%s", items[0].resource_id, type(exc).__name__)
            return [], [(items[0], f"{type(exc).__name__}: {exc}"[:2000])]
        half = len(items) // 2
        left, right = _encode(encoder, space, items[:half]), _encode(encoder, space, items[half:])
        return left[0] + right[0], left[1] + right[1]


def _checked(matrix: Float32Matrix, n: int, dimension: int) -> Float32Matrix:
    matrix = np.asarray(matrix, dtype=np.float32)
    if matrix.shape != (n, dimension):
        raise DimensionMismatch(f"The encoder returned an array of shape {matrix.shape}, expected {(n, dimension)}.")
    if not np.isfinite(matrix).all():
        raise EncoderError("The encoder returned numbers that are not finite.")
    return matrix


# Storing


def _store(
    space: VectorSpace,
    chunk: _Chunk,
    vectors: Sequence[tuple[_Item, Float32Vector]],
    failures: Sequence[tuple[_Item, str]],
) -> None:
    """Store one chunk's outcome in one transaction."""
    with transaction.atomic(using=_alias()), connections[_alias()].cursor() as cursor:
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
    outcomes: Sequence[tuple[_Item, str]],
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


# Profiles


def _embed_profiles(space: VectorSpace, encoder: Encoder, *, batch: int = 256) -> int:
    """Embed goals and interests that have no vector of their present text; they are few, so no lease."""
    done = 0
    while profiles := list(_pending_profiles(space)[:batch]):
        texts = [profile.text for profile in profiles]
        try:
            matrix = _checked(encoder.encode_queries(texts), len(texts), space.dimension)
        except EncoderUnavailable:
            raise
        except EncoderError as exc:
            logger.warning("profiles not embedded n=%s cause=%s", len(profiles), type(exc).__name__)
            return done
        ProfileVector.objects.bulk_create(
            [
                ProfileVector(learner=profile, space=space, vector=vector, content_hash=profile.content_hash)
                for profile, vector in zip(profiles, matrix, strict=True)
            ],
            update_conflicts=True,
            unique_fields=["space", "learner"],
            update_fields=["vector", "content_hash"],
        )
        done += len(profiles)
    return done


def _pending_profiles(space: VectorSpace) -> Any:
    current = ProfileVector.objects.filter(space=space, learner=OuterRef("pk"), content_hash=F("learner__content_hash"))
    has_text = ~Q(goals="") | ~Q(interests=[])
    return LearnerProfile.objects.filter(has_text, ~Exists(current), personalise=True).order_by("pk")


# Spaces that are complete


def has_pending(space: VectorSpace) -> bool:
    """Return whether a resource waits for a vector in `space`, leased ones included."""
    with connections[_alias()].cursor() as cursor:
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


def _finish(space: VectorSpace, configured: VectorSpace, report: EmbedReport) -> None:
    """Index a space that is complete, and let it serve if it is the configured one."""
    if has_pending(space):
        return
    if not spaces.ensure_index(space) and report.embedded >= ANALYSE_FROM:
        spaces.analyse()
    if space.pk == configured.pk and space.status == VectorSpace.Status.BUILDING:
        _export(space)
        spaces.activate(space)
        report.activated.append(space.pk)


def _export(space: VectorSpace) -> None:
    """Give web processes what they need to embed a search query; without it they search by words."""
    try:
        export_query_encoder(space)
    except Exception:
        logger.exception("query encoder not exported space=%s", space.pk)


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


def work_is_pending() -> bool:
    """Return whether a worker has something to do: a resource, a profile or a whole space without vectors.

    Asks the database and the encoder's identity; loads no model.
    """
    fed = list(VectorSpace.objects.fed())
    if document_encoder().encoder_id not in {space.encoder_id for space in fed}:
        return Resource.objects.exists()
    return any(
        space.status == VectorSpace.Status.BUILDING or has_pending(space) or _pending_profiles(space).exists()
        for space in fed
    )


def _alias() -> str:
    return router.db_for_write(Resource)
