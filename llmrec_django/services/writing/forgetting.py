"""Taking back what was written about a resource that nobody should hear of any more."""

from __future__ import annotations

from llmrec_django.models import WrittenText


def forget_texts_about(resource_ids: list[int]) -> int:
    """Delete texts that name any of these resources; return how many. For resources that are held back now."""
    n = 0
    for resource_id in resource_ids:
        deleted, _ = WrittenText.objects.filter(facts__contains={"resource_ids": [resource_id]}).delete()
        n += deleted
    return n
