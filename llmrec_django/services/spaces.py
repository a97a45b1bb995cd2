"""The life of a vector space: built beside the old one, switched in one transaction, retired, deleted."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import connections, router, transaction
from django.db.models import Q
from django.utils import timezone

from llmrec_django.conf import conf
from llmrec_django.engine.text import RECIPE
from llmrec_django.models import (
    EmbeddingClaim,
    Interaction,
    ModelVersion,
    ProfileVector,
    Resource,
    ResourceVector,
    VectorSpace,
)
from llmrec_django.models.base import is_supported
from llmrec_django.retrieval.sql import load_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmrec_django.engine.encoders.base import Encoder

logger = logging.getLogger(__name__)

VECTORS = ResourceVector._meta.db_table
SPACE_COLUMNS = ("id", "purpose", "encoder", "encoder_id", "recipe", "dimension", "status")
ADVISORY_LOCK = 1_818_063_219
"""First half of our advisory lock keys: any fixed number that another app is unlikely to choose."""


def active_space() -> VectorSpace | None:
    """Return the space of texts that serves, or None on the first day."""
    if not tables_exist():
        return None
    where = "status = %s AND purpose = %s"
    found = load_rows(VectorSpace, SPACE_COLUMNS, where, [VectorSpace.Status.ACTIVE, VectorSpace.Purpose.TEXT])
    return found[0] if found else None


def space_for(encoder: Encoder, name: str | None = None) -> VectorSpace:
    """Return the space of an encoder, made when its identity is new.

    With no space active the new one serves at once: some vectors are better than none.
    """
    identity = {"encoder_id": encoder.encoder_id, "recipe": RECIPE, "dimension": encoder.dimension}
    with transaction.atomic(using=_alias()):
        space = (
            VectorSpace.objects.using(_alias())
            .texts()
            .filter(**identity)
            .exclude(status=VectorSpace.Status.RETIRED)
            .first()
        )
        if space is None:
            first = active_space() is None
            space = VectorSpace.objects.create(
                **identity,
                encoder=name or conf.ENCODER,
                status=VectorSpace.Status.ACTIVE if first else VectorSpace.Status.BUILDING,
                activated_at=timezone.now() if first else None,
            )
            logger.info("vector space made space=%s encoder=%s status=%s", space.pk, space.encoder_id, space.status)
    return space


def activate(space: VectorSpace) -> None:
    """Let `space` serve in place of the active one, in one transaction. The old one is kept for a way back.

    Raises:
        ValueError: it holds what a model version learned, and serves when that version does.
    """
    if space.purpose != VectorSpace.Purpose.TEXT:
        raise ValueError(f"Cannot activate vector space {space.pk}: it belongs to a model version. Activate that.")
    now = timezone.now()
    with transaction.atomic(using=_alias()):
        # Taken in one order by every switch, so that two at once wait instead of failing on the constraint.
        list(VectorSpace.objects.select_for_update().order_by("pk"))
        VectorSpace.objects.texts().filter(status=VectorSpace.Status.ACTIVE).exclude(pk=space.pk).update(
            status=VectorSpace.Status.RETIRED, retired_at=now
        )
        VectorSpace.objects.filter(pk=space.pk).update(
            status=VectorSpace.Status.ACTIVE, activated_at=now, retired_at=None
        )
    space.refresh_from_db()
    logger.info("vector space active space=%s encoder=%s", space.pk, space.encoder_id)


def retire(space: VectorSpace) -> None:
    """Stop feeding a space; its rows go after LLMREC["RETIRED_SPACE_DAYS"].

    Raises:
        ValueError: it is the active one: activate another first.
    """
    changed = VectorSpace.objects.filter(pk=space.pk).exclude(status=VectorSpace.Status.ACTIVE)
    if not changed.update(status=VectorSpace.Status.RETIRED, retired_at=timezone.now()):
        raise ValueError(f"Cannot retire vector space {space.pk}: it is active. Activate another one first.")


def purge_retired(*, batch: int = 5000) -> int:
    """Delete spaces retired long enough ago, and what versions that are gone have left; return how many spaces.

    A space stays while a model version needs it that serves or can serve again, by its texts or by what it learned.
    """
    before = timezone.now() - timedelta(days=conf.RETIRED_SPACE_DAYS)
    retired = VectorSpace.objects.filter(status=VectorSpace.Status.RETIRED, retired_at__lt=before)
    spaces = {space.pk: space for space in (*retired.exclude(pk__in=needed_by_versions()), *left_over())}
    for space in spaces.values():
        delete(space, batch=batch)
    return len(spaces)


def left_over() -> list[VectorSpace]:
    """Return the spaces of what model versions learned that no version needs any more, whenever they were made."""
    learned = VectorSpace.objects.filter(purpose=VectorSpace.Purpose.RELEVANCE)
    return list(learned.exclude(pk__in=needed_by_versions()).order_by("pk"))


def learned_and_serving() -> list[VectorSpace]:
    """Return the spaces of what the active model versions learned."""
    serving = VectorSpace.objects.filter(purpose=VectorSpace.Purpose.RELEVANCE, status=VectorSpace.Status.ACTIVE)
    return list(serving.order_by("pk"))


def needed_by_versions() -> set[int]:
    """Return the spaces that a model version reads which serves, can serve again, or is in training."""
    in_use = [ModelVersion.Status.ACTIVE, ModelVersion.Status.TRAINING]
    versions = ModelVersion.objects.filter(~Q(artifact="") | Q(status__in=in_use))
    pairs = versions.values_list("source_space", "relevance_space")
    needed: set[int | None] = {pk for pair in pairs for pk in pair}
    return {pk for pk in needed if pk is not None}


def delete(space: VectorSpace, *, batch: int = 5000) -> None:
    """Delete a space: its index first, then its rows in batches, itself last, so that a next time can go on."""
    drop_index(space)
    for model in (ResourceVector, ProfileVector, EmbeddingClaim):
        while ids := list(model.objects.filter(space=space).values_list("pk", flat=True)[:batch]):
            model.objects.filter(pk__in=ids).delete()
    space.delete()


def index_state(space: VectorSpace) -> str:
    """Return "valid", "invalid" (a build that broke off) or "none"."""
    with connections[_alias()].cursor() as cursor:
        cursor.execute(
            "SELECT i.indisvalid FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid "
            "WHERE c.relname = %s AND pg_table_is_visible(c.oid)",
            [space.index_name],
        )
        row = cursor.fetchone()
    if row is None:
        return "none"
    return "valid" if row[0] else "invalid"


def ensure_index(space: VectorSpace, *, force: bool = False) -> bool:
    """Build the HNSW index of a space that has grown past LLMREC["INDEX_MIN_VECTORS"]; repair a broken one.

    Built concurrently, so that saves and reads go on. Returns whether an index was built.
    """
    with _only_one(space) as mine:
        # Somebody else's build in progress looks like a broken index: leave it alone.
        if not mine:
            return False
        state = index_state(space)
        if state == "valid":
            return False
        if state == "invalid":
            drop_index(space)
        if not force and ResourceVector.objects.filter(space=space).count() < conf.INDEX_MIN_VECTORS:
            return False
        _build_index(space)
    return True


def _build_index(space: VectorSpace) -> None:
    connection = connections[_alias()]
    # CONCURRENTLY cannot run inside a transaction (a test, an atomic command).
    how = "" if connection.in_atomic_block else "CONCURRENTLY"
    dimension = int(space.dimension)
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE INDEX {how} {space.index_name} ON {VECTORS} "
            f"USING hnsw ((vector::halfvec({dimension})) halfvec_ip_ops) WHERE space_id = {int(space.pk)}"
        )
    # An index on an expression has no statistics of its own until the table is analysed.
    analyse()
    logger.info("index built space=%s index=%s", space.pk, space.index_name)


@contextmanager
def _only_one(space: VectorSpace) -> Iterator[bool]:
    """Yield whether this session is the only one working on the index of `space`."""
    connection = connections[_alias()]
    key = [ADVISORY_LOCK, space.pk % 2**31]
    if connection.in_atomic_block:
        # Released by the transaction's end, also when that is a rollback.
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", key)
            yield bool(cursor.fetchone()[0])
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", key)
        mine = bool(cursor.fetchone()[0])
        try:
            yield mine
        finally:
            if mine:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", key)


def drop_index(space: VectorSpace) -> None:
    """Drop the index of a space, if there is one."""
    connection = connections[_alias()]
    how = "" if connection.in_atomic_block else "CONCURRENTLY"
    with connection.cursor() as cursor:
        cursor.execute(f"DROP INDEX {how} IF EXISTS {space.index_name}")


def analyse() -> None:
    """Renew the planner's statistics after many rows were added."""
    with connections[_alias()].cursor() as cursor:
        for model in (Resource, Interaction, ResourceVector):
            cursor.execute(f"ANALYZE {model._meta.db_table}")


def tables_exist() -> bool:
    """Return whether this app can work on its database at all."""
    return is_supported(_alias())


def _alias() -> str:
    return router.db_for_write(VectorSpace)
