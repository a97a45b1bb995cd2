"""What people decide about screened resources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import router, transaction

from llmrec_django.models import ResourceScreening, ScreeningReview
from llmrec_django.services.writing.forgetting import forget_texts_about

if TYPE_CHECKING:
    from collections.abc import Iterable


def decide(screenings: Iterable[ResourceScreening], decision: str, *, why: str, reviewer: Any) -> list[int]:
    """Clear resources, or keep them out, and write down who did it and why.

    A decision is about the text that was looked at: one that has changed since is left for the next look.

    Args:
        screenings: As the person saw them.
        decision: A value of `ScreeningReview.Decision`.
        why: The person's reason.
        reviewer: The account.

    Returns:
        Ids of the resources decided about.

    Raises:
        ValueError: no such decision, or no reason.
    """
    if decision not in ScreeningReview.Decision.values:
        raise ValueError(
            f"Cannot decide {decision!r}. It must be one of: {', '.join(ScreeningReview.Decision.values)}."
        )
    if not why.strip():
        raise ValueError("Cannot decide without a reason. Give one in `why`.")
    decided: list[int] = []
    alias = router.db_for_write(ResourceScreening)
    with transaction.atomic(using=alias):
        for seen in screenings:
            row = (
                ResourceScreening.objects.using(alias)
                .select_for_update(of=("self",))
                .filter(pk=seen.pk, content_hash=seen.content_hash)
                .first()
            )
            if row is None:
                continue
            row.status = decision
            row.save(update_fields=["status"], using=alias)
            ScreeningReview.objects.using(alias).create(
                resource_id=row.resource_id,
                decision=decision,
                why=why.strip(),
                reviewer_key=str(reviewer.pk),
                content_hash=row.content_hash,
                findings=row.findings,
            )
            decided.append(row.resource_id)
        if decision == ScreeningReview.Decision.BLOCKED:
            forget_texts_about(decided)
    return decided
