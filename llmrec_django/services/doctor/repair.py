"""Putting right what can be put right without a decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connections, router

from llmrec_django.models import VectorSpace
from llmrec_django.services import spaces
from llmrec_django.services.training import lock

if TYPE_CHECKING:
    from collections.abc import Iterator

INDEX_PREFIX = "llmrec_vectors_space_"


def repair() -> Iterator[str]:
    """Put right indexes, and delete what broken-off training runs have left; yield what was done.

    Broken indexes are rebuilt, missing ones built, those of spaces that are gone dropped.

    Must run outside a transaction: indexes are built while the site goes on.
    """
    if not spaces.tables_exist():
        return
    yield from _broken_off_runs()
    for space in spaces.left_over():
        spaces.delete(space)
        yield f"Vectors of a version that is gone deleted: space {space.pk}."
    for space in (*VectorSpace.objects.fed().order_by("pk"), *spaces.learned_and_serving()):
        state = spaces.index_state(space)
        if spaces.ensure_index(space):
            yield f"Index of space {space.pk} {'rebuilt' if state == 'invalid' else 'built'}."
        elif state == "invalid" and spaces.index_state(space) == "none":
            yield f"Broken index of space {space.pk} dropped; the space is too small to need one."
    yield from _drop_orphans()


def _broken_off_runs() -> Iterator[str]:
    for tenant in sorted({version.tenant for version in lock.broken_off()}):
        try:
            with lock.only_run(tenant):
                for version in lock.clear_broken_off(tenant):
                    yield f"Version {version.pk} declared failed: its training was broken off."
        except lock.TrainingBusyError:
            continue  # somebody has begun to train meanwhile, and clears up first


def _drop_orphans() -> Iterator[str]:
    connection = connections[router.db_for_write(VectorSpace)]
    kept = {space.index_name for space in VectorSpace.objects.all()}
    how = "" if connection.in_atomic_block else "CONCURRENTLY"
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'i' AND starts_with(relname::text, %s) "
            "AND pg_table_is_visible(oid)",
            [INDEX_PREFIX],
        )
        for (name,) in cursor.fetchall():
            if name not in kept:
                cursor.execute(f"DROP INDEX {how} IF EXISTS {connection.ops.quote_name(name)}")
                yield f"Index {name} dropped: its space is gone."
