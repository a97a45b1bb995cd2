"""How good what serves is, as it was measured: what the admin and the health check ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Exists, OuterRef, Q

from llmrec_django.models import EvaluationRecord, ModelVersion

if TYPE_CHECKING:
    from django.db.models import QuerySet


def fallen_records() -> QuerySet[EvaluationRecord]:
    """Return the last measurement of every version that serves, where it is surely worse than expected; one query.

    Empty again as soon as a later measurement is good, or another version serves.
    """
    later = EvaluationRecord.objects.filter(version=OuterRef("version")).filter(
        Q(created_at__gt=OuterRef("created_at")) | Q(created_at=OuterRef("created_at"), pk__gt=OuterRef("pk"))
    )
    serving = EvaluationRecord.objects.filter(version__status=ModelVersion.Status.ACTIVE, has_fallen=True)
    return serving.exclude(Exists(later)).order_by("-created_at")
