"""Taking back what was written: about a resource that nobody should hear of any more, or because a person says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils import timezone

from llmrec_django.models import WrittenText
from llmrec_django.models.texts import Written
from llmrec_django.services import nudge

if TYPE_CHECKING:
    from django.db.models import QuerySet


def forget_texts_about(resource_ids: list[int]) -> int:
    """Delete texts that name any of these resources; return how many. For resources that are held back now."""
    n = 0
    for resource_id in resource_ids:
        deleted, _ = WrittenText.objects.filter(facts__contains={"resource_ids": [resource_id]}).delete()
        n += deleted
    return n


def withdraw(texts: QuerySet[WrittenText]) -> int:
    """Show these texts no more, and do not write them again; return how many."""
    return texts.update(state=Written.REFUSED, text="", error="Withdrawn by a person.", settled_at=timezone.now())


def write_again(texts: QuerySet[WrittenText]) -> int:
    """Ask for these texts anew; until then their templates stand in. Return how many."""
    n = texts.update(state=Written.WAITING, text="", error="", attempts=0, try_after=timezone.now(), settled_at=None)
    nudge.nudge_writing()
    return n
