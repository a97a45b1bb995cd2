"""R(i) of a version as rows of a vector space: what lies nearest to a learner's S(u) is then one query."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from django.db import connections, router, transaction

from llmrec_django.models import ModelVersion, Resource, ResourceVector, VectorSpace
from llmrec_django.retrieval.candidates import resource_vectors
from llmrec_django.retrieval.late import late_hashes
from llmrec_django.retrieval.sql import vector_literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmrec_django.types import Float32Matrix

logger = logging.getLogger(__name__)

RECIPE = "relevance"
PAGE = 1000
"""Rows written, or computed, at once."""


def make_space(version: ModelVersion, resource_ids: Sequence[int], vectors: Float32Matrix) -> VectorSpace:
    """Make the space of a version and write R(i) of its resources to it.

    The version names its space from the first moment on: whoever finds the rows of a run that was killed can tell.

    Args:
        version: Not serving yet.
        resource_ids: Resource of each row; those deleted meanwhile are left out.
        vectors: float32 [N, D].
    """
    with transaction.atomic(using=_alias()):
        space = VectorSpace.objects.create(
            purpose=VectorSpace.Purpose.RELEVANCE,
            encoder="",
            encoder_id=f"version {version.run_id}",
            recipe=RECIPE,
            dimension=vectors.shape[1],
        )
        version.relevance_space = space
        version.save(update_fields=["relevance_space"])
    for begin in range(0, len(resource_ids), PAGE):
        page = slice(begin, begin + PAGE)
        _write(space, [(int(pk), "") for pk in resource_ids[page]], np.asarray(vectors[page]))
    return space


def feed(version: ModelVersion) -> int:
    """Write R(i) of resources whose text came, or changed, after the version was trained; return how many.

    A resource that was trained on with its text keeps what it learned. Nothing to do for a version without R(i).

    Raises:
        ArtifactError: the version's files are missing or damaged.
    """
    # The scorer reads the training package, which reads this module.
    from llmrec_django.services.scorer import scorer_of

    space, source = version.relevance_space, version.source_space
    if space is None or source is None or not version.artifact:
        return 0
    scorer = scorer_of(version)
    written = 0
    wanted = late_hashes(source, version.tenant, scorer.last_id, scorer.textless)
    present = dict(ResourceVector.objects.filter(space=space, resource__in=wanted).values_list("resource", "text_hash"))
    # One that learners had chosen without its text keeps what it learned from them.
    todo = [
        pk
        for pk, text_hash in wanted.items()
        if pk not in present or (present[pk] != text_hash and not scorer.was_chosen(pk))
    ]
    for begin in range(0, len(todo), PAGE):
        texts = resource_vectors(source, todo[begin : begin + PAGE])
        if texts:
            made = scorer.trained_vectors(np.stack(list(texts.values())))
            if made is not None:
                _write(space, [(pk, wanted[pk]) for pk in texts], made)
                written += len(texts)
    if written:
        logger.info("trained vectors added version=%s n=%s", version.pk, written)
    return written


def feed_active(source: VectorSpace) -> int:
    """Feed every version that serves and was trained on `source`; one that cannot be fed is logged."""
    written = 0
    serving = ModelVersion.objects.filter(status=ModelVersion.Status.ACTIVE, source_space=source)
    for version in serving.exclude(relevance_space=None).select_related("source_space", "relevance_space"):
        try:
            written += feed(version)
        except Exception:
            logger.exception("trained vectors not added version=%s", version.pk)
    return written


def _write(space: VectorSpace, rows: Sequence[tuple[int, str]], vectors: Float32Matrix) -> None:
    """Write (resource id, hash of the text it was made from) and their vectors."""
    params: list[Any] = [
        [pk for pk, _ in rows],
        [vector_literal(vector) for vector in vectors],
        [text_hash for _, text_hash in rows],
    ]
    with connections[_alias()].cursor() as cursor:
        # The join skips resources deleted meanwhile.
        cursor.execute(
            f"INSERT INTO {ResourceVector._meta.db_table} "
            "(resource_id, space_id, vector, content_hash, text_hash, embedded_at) "
            f"SELECT r.id, {int(space.pk)}, n.vector::vector, '', n.text_hash, now() "
            "FROM unnest(%s::bigint[], %s::text[], %s::text[]) AS n(id, vector, text_hash) "
            f"JOIN {Resource._meta.db_table} r ON r.id = n.id "
            "ON CONFLICT (space_id, resource_id) DO UPDATE SET vector = excluded.vector, "
            "text_hash = excluded.text_hash, embedded_at = now()",
            params,
        )


def _alias() -> str:
    return router.db_for_write(VectorSpace)
