"""What the system thinks of a learner, in words they can check, change and take back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from django.db import router, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext

from llmrec_django.conf import conf
from llmrec_django.models import (
    ForgottenDeed,
    Interaction,
    LearnerProfile,
    RecommendationItem,
    RecommendationList,
    Resource,
)
from llmrec_django.models.base import is_supported
from llmrec_django.models.learner import DISMISSING, verb_label
from llmrec_django.retrieval.dismissals import dismissals
from llmrec_django.retrieval.eligibility import Audience, eligible
from llmrec_django.retrieval.facts import nameable_ids
from llmrec_django.services.evidence import without_deed
from llmrec_django.services.feedback import REASON_OF_VERB
from llmrec_django.services.forgotten import forget_interactions
from llmrec_django.services.levels import level_of, nearest_level
from llmrec_django.services.results import HIDDEN_COLUMNS, requester

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from llmrec_django.retrieval.dismissals import Dismissal

SHOWN = 100
"""So many deeds are listed, the last ones."""


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing that shapes a learner's lists."""

    resource: Resource
    """Of one that they may not see any more there is the key alone, and a title that says so."""
    verb: str
    occurred_at: datetime
    weight: float
    """How strongly it speaks for (> 0) or against (< 0) what is like it; 1 is the most."""

    @property
    def verb_label(self) -> str:
        """The verb in the active language."""
        return verb_label(self.verb)


@dataclass(frozen=True, slots=True)
class Dismissed:
    """One thing that a learner turned down, and that may be taken back."""

    resource: Resource
    """As in `Deed`."""
    reason: str
    """not_interested, already_know, too_hard or too_easy."""
    occurred_at: datetime

    @property
    def reason_label(self) -> str:
        """The reason in the active language."""
        return str(RecommendationItem.DismissReason(self.reason).label)


@dataclass(frozen=True, slots=True)
class Insight:
    """Everything that personal lists are made from."""

    learner: LearnerProfile
    level: str = ""
    """beginner, intermediate or advanced: what lists lean to; "" while nothing is known."""
    level_is_moved: bool = False
    """What the learner found too hard or too easy moved it away from what they say themselves."""
    history: tuple[Deed, ...] = ()
    """Each resource once, newest first."""
    dismissed: tuple[Dismissed, ...] = ()
    """Newest first."""

    @property
    def level_label(self) -> str:
        """The level in the active language."""
        return str(Resource.Level(self.level).label) if self.level else ""


def insight(learner: LearnerProfile, *, user: Any = None) -> Insight:
    """Return what is thought of a learner; of one who opted out, only what they turned down: nothing else is used.

    Args:
        user: The account whose rights decide what is named; None: the learner's own.
    """
    if learner._state.adding:
        return Insight(learner)
    turned_down = dismissals(learner)
    place = level_of(learner, turned_down)
    level = "" if place is None else nearest_level(place)
    history = _history(learner) if learner.personalise else ()
    dismissed = _dismissed(turned_down)
    ids = {resource.pk for resource in (*(deed.resource for deed in history), *(one.resource for one in dismissed))}
    named = nameable_ids(eligible(Audience(learner.tenant, requester(user, learner))), sorted(ids)) if ids else set()
    return Insight(
        learner=learner,
        level=level,
        level_is_moved=level != learner.level,
        history=tuple(replace(deed, resource=_as_known(deed.resource, named)) for deed in history),
        dismissed=tuple(replace(entry, resource=_as_known(entry.resource, named)) for entry in dismissed),
    )


def _as_known(resource: Resource, named: set[int]) -> Resource:
    """Return a resource as its learner may know it: what is hidden from them shapes lists still, but has no name."""
    if resource.pk in named:
        return resource
    return Resource(pk=resource.pk, tenant=resource.tenant, key=resource.key, title=gettext("Not available any more"))


def reset(learner: LearnerProfile) -> dict[str, int]:
    """Forget what a learner did and what was recommended to them; return deleted rows by model label.

    What they say about themselves stays: goals, interests, level, languages. Rows of the host from before are not
    read again, and models trained from now on do not know them.
    """
    using = router.db_for_write(LearnerProfile)
    if learner._state.adding or not is_supported(using):
        return {}
    deleted: dict[str, int] = {}
    with transaction.atomic(using=using):
        learner.history_from = timezone.now()
        learner.save(using=using, update_fields=["history_from", "updated_at"])
        # What was taken back one by one lies before the new beginning as well.
        for model in (Interaction, RecommendationList, ForgottenDeed):
            for label, n in model.objects.using(using).filter(learner=learner).delete()[1].items():
                deleted[label] = deleted.get(label, 0) + n
    return {label: n for label, n in deleted.items() if n}


def forget_deed(learner: LearnerProfile, resource_key: str) -> int:
    """Delete what a learner did with one resource, in their lists too; return how many interactions that were.

    Nothing of it from up to now is taken in again, wherever it comes from; what the learner does later counts. That
    they turned the resource down stays: `restore` takes that back. 0 for a key that is unknown or of another tenant,
    and where there is nothing to forget.
    """
    using = router.db_for_write(Interaction)
    if learner._state.adding or not is_supported(using):
        return 0
    with transaction.atomic(using=using):
        # Who reports what became of a list waits here, and then sees what is forgotten.
        own = LearnerProfile.objects.using(using).filter(pk=learner.pk)
        list(own.select_for_update(no_key=True).values_list("pk"))
        resource_id, n_forgotten = forget_interactions(learner, resource_key)
        if resource_id is not None:
            _forget_in_lists(learner, resource_id, using)
    return n_forgotten


def _forget_in_lists(learner: LearnerProfile, resource_id: int, using: str) -> None:
    """Blank what became of the resource in a learner's lists, and what was recommended because of it."""
    told = [{"id": resource_id}]
    gives_reason = (
        Q(evidence__own__contains=told) | Q(evidence__unlocked_by__contains=told) | Q(evidence__among__id=resource_id)
    )
    items = RecommendationItem.objects.using(using)
    # In the order of everybody who writes to them, so that they wait for each other instead of failing.
    rows = (
        items.filter(Q(resource_id=resource_id) | gives_reason, list__learner=learner)
        .select_for_update(of=("self",))
        .order_by("pk")
        .only("resource_id", "evidence")
    )
    done, explained = [], []
    for row in rows:
        if row.resource_id == resource_id:
            done.append(row.pk)
        kept = without_deed(row.evidence, resource_id)
        if kept != row.evidence:
            # The reason names it too. Whoever reads the list again gets one from the evidence that is left.
            row.evidence, row.reason, row.reason_source = kept, "", ""
            explained.append(row)
    items.filter(pk__in=done).update(
        clicked_at=None, dwell_s=None, completed_at=None, rated_at=None, rated_value=None, outcomes={}
    )
    items.bulk_update(explained, ["evidence", "reason", "reason_source"], batch_size=500)


def _history(learner: LearnerProfile) -> tuple[Deed, ...]:
    rows = (
        Interaction.objects.filter(learner=learner, resource__isnull=False)
        .newest_first()
        .select_related("resource")
        .defer(*(f"resource__{name}" for name in HIDDEN_COLUMNS))[: 2 * int(conf.HISTORY_LENGTH)]
    )
    deeds: dict[int, Deed] = {}
    for row in rows:
        verb = conf.VERBS.get(row.verb)
        if verb is None or verb.effect == "neutral" or row.verb in DISMISSING or row.resource is None:
            continue
        disliked = row.verb == "rated" and row.value is not None and row.value < conf.RATING_LIKED_FROM
        weight = -verb.weight if disliked or verb.effect == "negative" else verb.weight
        known = deeds.get(row.resource.pk)
        # The strongest thing that was ever done with a resource says what the learner thinks of it.
        if known is None:
            deeds[row.resource.pk] = Deed(row.resource, row.verb, row.occurred_at, weight)
        elif known.weight > 0 and (weight < 0 or weight > known.weight):
            deeds[row.resource.pk] = Deed(row.resource, row.verb, known.occurred_at, weight)
    return tuple(deeds.values())[: min(SHOWN, int(conf.HISTORY_LENGTH))]


def _dismissed(turned_down: Sequence[Dismissal]) -> tuple[Dismissed, ...]:
    rows = Resource.objects.defer(*HIDDEN_COLUMNS).in_bulk([entry.resource_id for entry in turned_down])
    return tuple(
        Dismissed(rows[entry.resource_id], REASON_OF_VERB[entry.verb], entry.occurred_at)
        for entry in turned_down
        if entry.resource_id in rows
    )
