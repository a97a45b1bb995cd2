"""Finding the learner behind an account or a visitor."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.db import router, transaction
from django.db.models import Exists, OuterRef, Q

from llmrec_django.conf import resolve_tenant
from llmrec_django.models import ForgottenDeed, Interaction, LearnerProfile, RecommendationList
from llmrec_django.models.base import is_supported
from llmrec_django.models.learner import NOT_DEEDS
from llmrec_django.services.forgotten import carry_over
from llmrec_django.sources.values import is_storable

MAX_VISITOR_KEY = 255


def find_learner(
    user: Any = None, *, visitor_key: str | None = None, tenant: str | None = None
) -> LearnerProfile | None:
    """Return the profile of an account or, for an anonymous one, of a visitor key; None when there is none yet."""
    identity = _identity(user, visitor_key)
    if identity is None:
        return None
    return LearnerProfile.objects.filter(tenant=tenant or resolve_tenant(), **identity).first()


def get_learner(user: Any = None, *, visitor_key: str | None = None, tenant: str | None = None) -> LearnerProfile:
    """Return the profile of an account or visitor, made on first use.

    On a database that cannot hold this app's tables the profile is not saved, and nothing is recorded for it.

    Raises:
        ValueError: neither an authenticated account nor a visitor key was given.
    """
    identity = _identity(user, visitor_key)
    if identity is None:
        raise ValueError(
            f"Cannot name a learner for {user!r}. It is not an authenticated account and there is no visitor key. "
            "Pass one of them, or use find_learner()."
        )
    tenant = tenant or resolve_tenant()
    if not is_supported(router.db_for_write(LearnerProfile)):
        return LearnerProfile(tenant=tenant, personalise=False, **identity)
    # The unique constraints make this safe when two requests of a newcomer arrive at once.
    learner, _ = LearnerProfile.objects.get_or_create(tenant=tenant, **identity)
    return learner


def merge_visitor(visitor_key: str, user: Any, *, tenant: str | None = None) -> LearnerProfile:
    """Give a visitor's history to the account they turned out to be, and drop the visitor's profile.

    What the account already says about itself stays. The history of a visitor or an account that opted out is
    dropped, and an account that is new here takes over the visitor's opt-out.

    Raises:
        ValueError: `user` is not an authenticated account.
    """
    tenant = tenant or resolve_tenant()
    using = router.db_for_write(LearnerProfile)
    if not is_supported(using):
        return get_learner(user, tenant=tenant)
    identity = _identity(None, visitor_key)
    with transaction.atomic(using=using):
        is_known = find_learner(user, tenant=tenant) is not None
        account = get_learner(user, tenant=tenant)
        visitor = (
            LearnerProfile.objects.using(using)
            .select_for_update()
            .filter(tenant=tenant, user__isnull=True, **identity)
            .first()
            if identity
            else None
        )
        if visitor is None:
            return account
        if not is_known and not visitor.personalise:
            account.personalise = False
        if account.personalise and visitor.personalise:
            _move_history(visitor, account)
            _fill_gaps(account, visitor)
        account.save(using=using)
        visitor.delete()
    return account


def _identity(user: Any, visitor_key: str | None) -> dict[str, Any] | None:
    """Return the columns that name a learner, or None for someone unknown."""
    # Service accounts and tokens are authenticated as well, and their keys may equal somebody's account.
    if isinstance(user, get_user_model()) and getattr(user, "is_authenticated", False) and user.pk is not None:
        # By id, not by instance: the account may live in another database.
        return {"user_id": user.pk}
    key = (visitor_key or "").strip()
    if not key or len(key) > MAX_VISITOR_KEY or not is_storable(key):
        return None
    return {"visitor_key": key}


def _move_history(visitor: LearnerProfile, account: LearnerProfile) -> None:
    known = Interaction.objects.filter(learner=account, source=OuterRef("source"), event_id=OuterRef("event_id"))
    moved = Interaction.objects.filter(~Exists(known), learner=visitor)
    if account.history_from is not None:
        moved = moved.filter(occurred_at__gt=account.history_from)
    taken_back = ForgottenDeed.objects.filter(
        learner=account, resource=OuterRef("resource"), forgotten_at__gte=OuterRef("occurred_at")
    )
    moved.filter(Q(verb__in=NOT_DEEDS) | ~Exists(taken_back)).update(learner=account)
    carry_over(visitor, account)
    # What was recommended to the visitor is what the account clicks on now.
    RecommendationList.objects.filter(learner=visitor).update(learner=account)


def _fill_gaps(account: LearnerProfile, visitor: LearnerProfile) -> None:
    for name in ("goals", "interests", "level", "languages", "minutes_per_week"):
        if not getattr(account, name):
            setattr(account, name, getattr(visitor, name))
