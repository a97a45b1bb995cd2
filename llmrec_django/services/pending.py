"""Which resources have their vector, and asking for a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import router, transaction
from django.db.models import Case, CharField, Exists, F, OuterRef, Q, QuerySet, Subquery, TextField, Value, When
from django.db.models.functions import Coalesce

from llmrec_django.models import EmbeddingClaim, Resource, ResourceVector, VectorSpace
from llmrec_django.services.nudge import nudge_embedding

if TYPE_CHECKING:
    from collections.abc import Iterable

STATES = ("done", "pending", "working", "failed", "empty")


def with_embedding_state(resources: QuerySet[Resource]) -> QuerySet[Resource]:
    """Annotate `embedding_state` (one of `STATES`) and `embedding_error` for the space that serves."""
    serving = {"space__status": VectorSpace.Status.ACTIVE, "space__purpose": VectorSpace.Purpose.TEXT}
    vector = ResourceVector.objects.filter(resource=OuterRef("pk"), content_hash=OuterRef("content_hash"), **serving)
    claim = EmbeddingClaim.objects.filter(resource=OuterRef("pk"), content_hash=OuterRef("content_hash"), **serving)
    return resources.annotate(
        embedding_state=Case(
            When(Exists(vector), then=Value("done")),
            default=Coalesce(Subquery(claim.values("state")[:1]), Value("pending")),
            output_field=CharField(),
        ),
        embedding_error=Coalesce(Subquery(claim.values("error")[:1]), Value(""), output_field=TextField()),
    )


def embed_again(resource_ids: Iterable[int]) -> int:
    """Make resources pending in every space that is fed and nudge the workers; return how many.

    The vector they have keeps serving until the new one replaces it.
    """
    ids = list(resource_ids)
    with transaction.atomic(using=router.db_for_write(Resource)):
        # No text hashes to "": the worker neither takes the vector for current nor the text for unchanged.
        ResourceVector.objects.filter(resource__in=ids, space__in=VectorSpace.objects.fed()).update(
            content_hash="", text_hash=""
        )
        retry(EmbeddingClaim.objects.filter(resource__in=ids))
    return len(ids)


def retry(claims: QuerySet[EmbeddingClaim]) -> int:
    """Make failed and empty resources pending again and nudge the workers; return how many claims were settled.

    A claim that a worker is on stays: its lease ends by itself.
    """
    n, _ = claims.filter(~Q(state=EmbeddingClaim.State.WORKING)).delete()
    nudge_embedding()
    return n


def counts(space: VectorSpace) -> dict[str, int]:
    """Return how many resources are in each of `STATES` in `space`."""
    n = dict.fromkeys(STATES, 0)
    current = ResourceVector.objects.filter(space=space, content_hash=F("resource__content_hash"))
    n["done"] = current.count()
    claims = EmbeddingClaim.objects.filter(space=space, content_hash=F("resource__content_hash")).exclude(
        Exists(current.filter(resource=OuterRef("resource")))
    )
    for state in claims.values_list("state", flat=True).iterator(chunk_size=5000):
        n[state] += 1
    n["pending"] = max(0, Resource.objects.count() - sum(n.values()))
    return n
