"""What is held about a learner: handing it out, forgetting it, and letting it expire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import router, transaction
from django.db.models import Exists, OuterRef

from llmrec_django.conf import LLMRecConfigurationError, conf
from llmrec_django.models import (
    ForgottenDeed,
    GoalDraft,
    Interaction,
    LearnerProfile,
    ProfileVector,
    RecommendationItem,
    RecommendationList,
    WrittenText,
)
from llmrec_django.models.base import is_supported
from llmrec_django.signals import learner_forgotten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from django.db.models import Model, QuerySet

BATCH_SIZE = 5000


def find_learners(user: Any = None, *, visitor_key: str | None = None) -> QuerySet[LearnerProfile]:
    """Return the profiles of an account (by primary key) or of a visitor, in every tenant."""
    identity = {"user_id": user.pk} if user is not None else {"visitor_key": visitor_key}
    return LearnerProfile.objects.using(_alias()).filter(**identity).order_by("tenant")


def export_learner(learner: LearnerProfile) -> dict[str, Any]:
    """Return everything held about a learner as plain JSON values; times in ISO 8601."""
    return {name: export(learner) for name, (_, export) in HELD.items()}


def forget_learner(learner: LearnerProfile, *, keep_opt_out: bool = False) -> dict[str, int]:
    """Delete everything held about a learner; return deleted rows by model label.

    The host's own rows are the host's: `llmrec_sync` would read them again. So either they go too, or
    `keep_opt_out` leaves an empty profile behind that says not to record this learner.
    """
    with transaction.atomic(using=_alias()):
        identity = {"tenant": learner.tenant, "user_id": learner.user_id, "visitor_key": learner.visitor_key}
        _, deleted = LearnerProfile.objects.using(_alias()).filter(pk=learner.pk).delete()
        if keep_opt_out:
            LearnerProfile.objects.using(_alias()).create(**identity, personalise=False)
    learner.pk = None
    learner_forgotten.send_robust(sender=LearnerProfile, learner=learner, deleted=deleted)
    return {label: n for label, n in deleted.items() if n}


def prune(*, now: datetime | None = None, dry_run: bool = False) -> dict[str, int]:
    """Delete learner data older than LLMREC["RETENTION_DAYS"]; return deleted rows by kind.

    "visitors" are anonymous profiles without an interaction for so long, and all that belongs to them.
    Opt-outs stay: they hold nothing else, and forgetting them would undo them.

    Raises:
        LLMRecConfigurationError: an unknown kind, or days that are not a number of at least 0.
    """
    now = now or datetime.now(UTC)
    rules = _rules()  # All are checked before anything is deleted.
    counts = dict.fromkeys(rules, 0)
    for kind, days in rules.items():
        if days is None or not is_supported(_alias()):
            continue
        expired = EXPIRED[kind](now - timedelta(days=days))
        counts[kind] = expired.count() if dry_run else _delete(expired)
    return counts


def _rules() -> dict[str, float | None]:
    rules: dict[str, float | None] = conf.RETENTION_DAYS
    for kind, days in rules.items():
        is_days = isinstance(days, int | float) and not isinstance(days, bool) and 0 <= days < 1_000_000
        if kind not in EXPIRED or not (days is None or is_days):
            raise LLMRecConfigurationError(
                f"Cannot use LLMREC['RETENTION_DAYS'][{kind!r}] = {days!r}. Kinds are {', '.join(EXPIRED)}, each with "
                "a number of days or None. Correct the setting."
            )
    return rules


def _alias() -> str:
    return router.db_for_write(LearnerProfile)


def _delete(rows: QuerySet[Any]) -> int:
    """Delete in short transactions, so that nobody waits long; return how many rows of the queryset's own model."""
    deleted = 0
    while pks := list(rows.values_list("pk", flat=True)[:BATCH_SIZE]):
        rows.model.objects.using(_alias()).filter(pk__in=pks).delete()
        deleted += len(pks)
    return deleted


def _expired_interactions(before: datetime) -> QuerySet[Interaction]:
    return Interaction.objects.using(_alias()).filter(occurred_at__lt=before)


def _expired_searches(before: datetime) -> QuerySet[Interaction]:
    return _expired_interactions(before).filter(verb="searched")


def _expired_lists(before: datetime) -> QuerySet[RecommendationList]:
    return RecommendationList.objects.using(_alias()).filter(created_at__lt=before)


def _expired_visitors(before: datetime) -> QuerySet[LearnerProfile]:
    recent = Interaction.objects.filter(learner=OuterRef("pk"), received_at__gte=before)
    return LearnerProfile.objects.using(_alias()).filter(
        ~Exists(recent), user__isnull=True, personalise=True, updated_at__lt=before
    )


def _expired_drafts(before: datetime) -> QuerySet[GoalDraft]:
    return GoalDraft.objects.using(_alias()).filter(created_at__lt=before)


def _expired_texts(before: datetime) -> QuerySet[WrittenText]:
    """What was written from learners' evidence; whoever needs one again gets it written again."""
    return WrittenText.objects.using(_alias()).filter(kind=WrittenText.Kind.REASON, created_at__lt=before)


EXPIRED: dict[str, Callable[[datetime], QuerySet[Any]]] = {
    "interactions": _expired_interactions,
    "searches": _expired_searches,
    "visitors": _expired_visitors,
    "lists": _expired_lists,
    "goal_drafts": _expired_drafts,
    "written_texts": _expired_texts,
}
"""Key of LLMREC["RETENTION_DAYS"] → what is older than a moment."""


def _export_profile(learner: LearnerProfile) -> dict[str, Any]:
    account = {"id": str(learner.user_id)} if learner.user_id is not None else None
    return {
        "tenant": learner.tenant,
        "account": account,
        "visitor_key": learner.visitor_key,
        "goals": learner.goals,
        "interests": learner.interests,
        "level": learner.level,
        "languages": learner.languages,
        "minutes_per_week": learner.minutes_per_week,
        "personalise": learner.personalise,
        "history_from": _moment(learner.history_from),
        "created_at": learner.created_at.isoformat(),
        "updated_at": learner.updated_at.isoformat(),
    }


def _export_interactions(learner: LearnerProfile) -> list[dict[str, Any]]:
    rows: Iterable[Interaction] = (
        Interaction.objects.using(_alias())
        .filter(learner=learner)
        .select_related("resource")
        .order_by("occurred_at", "id")
        .defer("resource__search_words", "resource__body")
    )
    return [
        {
            "verb": row.verb,
            "resource": row.resource.key if row.resource else None,
            "title": row.resource.title if row.resource else None,
            "value": row.value,
            "query": row.query,
            "occurred_at": row.occurred_at.isoformat(),
            "received_at": row.received_at.isoformat(),
            "source": row.source,
            "event_id": row.event_id,
        }
        for row in rows
    ]


def _export_vectors(learner: LearnerProfile) -> list[dict[str, Any]]:
    rows = ProfileVector.objects.using(_alias()).filter(learner=learner).select_related("space").order_by("space_id")
    return [{"encoder": row.space.encoder_id, "vector": [float(x) for x in row.vector]} for row in rows]


def _export_lists(learner: LearnerProfile) -> list[dict[str, Any]]:
    rows: Iterable[RecommendationList] = (
        RecommendationList.objects.using(_alias())
        .filter(learner=learner)
        .select_related("experiment")
        .order_by("created_at", "id")
    )
    return [
        {
            "id": str(row.pk),
            "placement": row.placement,
            "version": row.version_id,
            "experiment": row.experiment.name if row.experiment else None,
            "arm": row.arm,
            "k": row.k,
            "is_personal": row.is_personal,
            "is_shadow": row.is_shadow,
            "fallback": row.fallback,
            "created_at": row.created_at.isoformat(),
        }
        for row in rows
    ]


def _export_items(learner: LearnerProfile) -> list[dict[str, Any]]:
    rows: Iterable[RecommendationItem] = (
        RecommendationItem.objects.using(_alias())
        .filter(list__learner=learner)
        .select_related("resource")
        .order_by("list__created_at", "list_id", "rank")
        .defer("resource__search_words", "resource__body")
    )
    return [
        {
            "list": str(row.list_id),
            "rank": row.rank,
            "resource": row.resource.key,
            "title": row.resource.title,
            "score": row.score,
            "source": row.source,
            "propensity": row.propensity,
            "is_exploration": row.is_exploration,
            "components": row.components,
            "evidence": row.evidence,
            "reason": row.reason,
            "reason_source": row.reason_source,
            "shown_at": _moment(row.shown_at),
            "clicked_at": _moment(row.clicked_at),
            "dwell_s": row.dwell_s,
            "completed_at": _moment(row.completed_at),
            "rated_at": _moment(row.rated_at),
            "rated_value": row.rated_value,
            "dismissed_at": _moment(row.dismissed_at),
            "dismiss_reason": row.dismiss_reason,
            "outcomes": row.outcomes,
        }
        for row in rows
    ]


def _moment(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()


def _export_drafts(learner: LearnerProfile) -> list[dict[str, Any]]:
    return [
        {"text": draft.text, "proposal": draft.proposal, "created_at": draft.created_at.isoformat()}
        for draft in GoalDraft.objects.using(_alias()).filter(learner=learner)
    ]


def _export_forgotten(learner: LearnerProfile) -> list[dict[str, Any]]:
    rows: Iterable[ForgottenDeed] = (
        ForgottenDeed.objects.using(_alias())
        .filter(learner=learner)
        .select_related("resource")
        .order_by("forgotten_at", "id")
        .defer("resource__search_words", "resource__body")
    )
    return [
        {
            "resource": row.resource.key,
            "title": row.resource.title,
            "forgotten_at": row.forgotten_at.isoformat(),
            "events": row.events,
        }
        for row in rows
    ]


HELD: dict[str, tuple[type[Model], Callable[[LearnerProfile], Any]]] = {
    "profile": (LearnerProfile, _export_profile),
    "interactions": (Interaction, _export_interactions),
    "forgotten_deeds": (ForgottenDeed, _export_forgotten),
    "vectors": (ProfileVector, _export_vectors),
    "lists": (RecommendationList, _export_lists),
    "list_items": (RecommendationItem, _export_items),
    "goal_drafts": (GoalDraft, _export_drafts),
}
"""Name in an export → the table that holds learner data, and how a learner's part of it is read. Forgetting
deletes the profile; every other table goes with it."""
