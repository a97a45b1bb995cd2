"""Recording what a caller's own client reports about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmrec_django import api
from llmrec_django.exceptions import UnknownResource
from llmrec_django.services.catalogue import get_resources
from llmrec_django.services.feedback import give_feedback, restore
from llmrec_django.services.insight import forget_deed
from llmrec_django.web.identity import find_learner, get_learner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmrec_django.types import FeedbackInput, InteractionInput
    from llmrec_django.web.identity import Caller


def record_own(who: Caller, interactions: Sequence[InteractionInput], *, source: str) -> int:
    """Record, all or nothing, what the caller's client says they did; return how many rows are new.

    A resource the caller may not see does not exist for them, so that nobody can try out which hidden keys exist.

    Raises:
        InvalidInteraction, UnknownResource: `field` names the entry, as `interactions[3].verb`.
    """
    learner = get_learner(who)
    keys = {entry.resource_key for entry in interactions if entry.resource_key}
    visible = get_resources(keys, tenant=who.tenant, user=who.user) if learner.pk else keys
    for index, entry in enumerate(interactions):
        if entry.resource_key and entry.resource_key not in visible:
            raise UnknownResource(
                f"Cannot find resource {entry.resource_key!r}. No resource you may see has this key. Check the key.",
                field=f"interactions[{index}].resource_key",
            )
    return api.record_many(learner, interactions, source=source, trusted=False)


def give_own_feedback(who: Caller, entries: Sequence[FeedbackInput], *, source: str) -> int:
    """Take in, all or nothing, what the caller did about recommended things; return how many items it changed.

    Raises:
        UnknownList: a list that was not given to the caller.
        InvalidInteraction, UnknownResource: `field` names the entry, as `feedback[3].kind`.
    """
    learner = get_learner(who)
    # What was in one of their lists they have been shown; of anything else they must have the right to know.
    keys = {entry.resource_key for entry in entries if entry.recommendation_id is None and entry.resource_key}
    visible = get_resources(keys, tenant=who.tenant, user=who.user) if learner.pk and keys else keys
    for index, entry in enumerate(entries):
        if entry.recommendation_id is None and entry.resource_key and entry.resource_key not in visible:
            raise UnknownResource(
                f"Cannot find resource {entry.resource_key!r}. No resource you may see has this key. Check the key.",
                field=f"feedback[{index}].resource_key",
            )
    return give_feedback(learner, entries, source=source, trusted=False)


def restore_own(who: Caller, resource_key: str) -> int:
    """Take back that the caller turned a resource down; return how many times they had."""
    learner = find_learner(who)
    return restore(learner, resource_key) if learner is not None else 0


def forget_own(who: Caller, resource_key: str) -> int:
    """Delete what the caller did with a resource, one that they may not see any more too; return how many deeds."""
    learner = find_learner(who)
    return forget_deed(learner, resource_key) if learner is not None else 0
