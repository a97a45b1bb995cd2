"""From ranked ids to what surfaces show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.translation import get_language

from llmrec_django.models import Resource
from llmrec_django.retrieval.sql import load_rows
from llmrec_django.services.writing.summaries import written_summaries
from llmrec_django.sources import registry
from llmrec_django.types import Recommendation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmrec_django.models import LearnerProfile
    from llmrec_django.types import Evidence

# Columns that no list shows: large ones, and times.
HIDDEN_COLUMNS = (
    "body",
    "search_words",
    "content_hash",
    "available_from",
    "available_until",
    "created_at",
    "updated_at",
)
SHOWN_COLUMNS = tuple(field.name for field in Resource._meta.concrete_fields if field.name not in HIDDEN_COLUMNS)


def hydrate(
    ranked: Sequence[tuple[int, float, str]],
    rows: Mapping[int, Resource] | None = None,
    evidence: Mapping[int, Evidence] | None = None,
) -> tuple[Recommendation, ...]:
    """Load the rows of (resource id, score, source) in one query, in exactly this order.

    Args:
        rows: They by id, where they are loaded already; what is not there is left out.
        evidence: Why they are there, by id.
    """
    if rows is None:
        ids = [pk for pk, _, _ in ranked]
        rows = {row.pk: row for row in load_rows(Resource, SHOWN_COLUMNS, "id = ANY(%s)", [ids])} if ids else {}
    found = [(rows[pk], score, source) for pk, score, source in ranked if pk in rows]
    summaries = written_summaries(rows, get_language() or "")
    return tuple(
        Recommendation(
            resource=resource,
            rank=rank,
            score=score,
            source=source,
            url=resource.url,
            evidence=evidence.get(resource.pk) if evidence else None,
            summary=summaries.get(resource.pk, ""),
        )
        for rank, (resource, score, source) in enumerate(found, start=1)
    )


def requester(user: Any, learner: LearnerProfile | None) -> Any:
    """Return the account whose rights count: the given one, else the learner's own."""
    if user is not None or learner is None or learner.user_id is None:
        return user
    return learner.user


def registered_kinds() -> list[str]:
    """Return the kinds that registered sources make, sorted."""
    return sorted({source.kind for source in registry.resources()})
