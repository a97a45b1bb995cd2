"""What learners do about a list: seen, clicked, read, rated, turned down. Each counts once, however often said."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import connections, router, transaction
from django.utils import timezone

from llmrec_django.exceptions import InvalidInteraction, UnknownList, UnknownResource
from llmrec_django.models import Interaction, LearnerProfile, RecommendationItem, RecommendationList, Resource
from llmrec_django.models.base import is_supported
from llmrec_django.models.learner import DISMISSING, RESTORED
from llmrec_django.services.attribution import attribute
from llmrec_django.services.record import check_time, record_many
from llmrec_django.types import FeedbackInput, InteractionInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

VERB_OF_REASON = {
    RecommendationItem.DismissReason.NOT_INTERESTED.value: "dismissed",
    RecommendationItem.DismissReason.ALREADY_KNOW.value: "known",
    RecommendationItem.DismissReason.TOO_HARD.value: "too_hard",
    RecommendationItem.DismissReason.TOO_EASY.value: "too_easy",
}
"""Why something is turned down → the verb that is recorded."""
REASON_OF_VERB = {verb: reason for reason, verb in VERB_OF_REASON.items()}

KINDS = ("shown", "clicked", "read", "rated", "dismissed")
LONGEST_READ_S = 6 * 3600.0
"""A page that is left open over night was not read all night."""
READ_WITHIN = timedelta(days=1)
"""Reading counts for a click at most so long before."""


@dataclass(slots=True)
class _Change:
    """What a batch says about one item; times are the earliest."""

    shown_at: datetime | None = None
    clicked_at: datetime | None = None
    read_s: float | None = None
    dismissed_at: datetime | None = None
    reason: str | None = None


def give_feedback(
    learner: LearnerProfile, entries: Sequence[FeedbackInput], *, source: str = "site", trusted: bool = True
) -> int:
    """Take in what a learner did about recommended things, all or nothing; return how many items it changed.

    "shown", "clicked" and "dismissed" keep the earliest time that is ever reported, "read" the longest; so nothing
    changes when a report comes twice, late, or from two pages at once. Clicks, ratings and dismissals are also
    recorded as interactions, and shape the next list.

    Args:
        trusted: False for what a learner's own client sends: times are kept within the last 30 days.

    Raises:
        UnknownList: a list that this learner was never given.
        UnknownResource: a resource that is not in the list named with it, or in no list.
        InvalidInteraction: anything else that cannot be used; `field` names the entry, as `feedback[3].kind`.
    """
    using = router.db_for_write(RecommendationItem)
    checked = [_check(entry, index, trusted=trusted) for index, entry in enumerate(entries)]
    if learner._state.adding or not learner.personalise or not is_supported(using):
        return 0
    with transaction.atomic(using=using):
        items = _own_items(learner, checked)
        deeds = [_deed(entry, items) for entry in checked if entry.kind in ("clicked", "rated", "dismissed")]
        if deeds:
            record_many(learner, deeds, source=source, trusted=trusted)
        changed = _write(learner, _changes(learner, checked, items))
        # Only a report from the past can come after what it led to; and a rating shows that its item was seen.
        asked = [
            entry
            for entry, given in zip(checked, entries, strict=True)
            if given.occurred_at is not None or entry.kind == "rated"
        ]
        attribute((learner.pk, items[_key(entry)][1]) for entry in asked if _key(entry) in items)
    return changed


def restore(learner: LearnerProfile, resource_key: str) -> int:
    """Take back that a learner turned a resource down: it may be recommended again. Return how many times it was."""
    using = router.db_for_write(Interaction)
    if learner._state.adding or not is_supported(using):
        return 0
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        # The row stays, so that a report of the dismissal that comes late changes nothing. An id that was made from
        # the list is given free: from the same list the resource may be turned down once more.
        cursor.execute(
            f"UPDATE {INTERACTIONS} i SET verb = %s, event_id = CASE WHEN i.event_id LIKE i.verb || ':%%' "
            "THEN left(i.event_id, 200) || '@' || i.id ELSE i.event_id END "
            f"FROM {RESOURCES} r WHERE r.id = i.resource_id AND i.learner_id = %s AND r.tenant = %s AND r.key = %s "
            "AND i.verb = ANY(%s) RETURNING i.resource_id",
            [RESTORED, learner.pk, learner.tenant, resource_key, list(DISMISSING)],
        )
        found = cursor.fetchall()
        if found:
            RecommendationItem.objects.using(using).filter(list__learner=learner, resource_id=found[0][0]).update(
                dismissed_at=None, dismiss_reason=""
            )
    return len(found)


def _check(entry: FeedbackInput, index: int, *, trusted: bool) -> FeedbackInput:
    """Return the entry with its time and its reason settled."""
    at = f"feedback[{index}]."
    if entry.kind not in KINDS:
        raise InvalidInteraction(
            f"Cannot use feedback of kind {entry.kind!r}. It must be one of: {', '.join(KINDS)}.", f"{at}kind"
        )
    if not entry.resource_key:
        raise InvalidInteraction(
            f"Cannot use feedback without a resource. Give the key of the one that was {entry.kind}.",
            f"{at}resource_key",
        )
    if entry.kind in ("shown", "clicked") and entry.recommendation_id is None:
        raise InvalidInteraction(
            f"Cannot tell in which list {entry.resource_key!r} was {entry.kind}. Give its recommendation_id.",
            f"{at}recommendation_id",
        )
    if entry.kind == "read" and (entry.value is None or not 0 <= entry.value < float("inf")):
        raise InvalidInteraction(
            f"Cannot use {entry.value!r} as a time of reading. It must be seconds of at least 0.", f"{at}value"
        )
    reason = entry.reason
    if entry.kind == "dismissed":
        reason = reason or RecommendationItem.DismissReason.NOT_INTERESTED.value
        if reason not in VERB_OF_REASON:
            raise InvalidInteraction(
                f"Cannot use {reason!r} as a reason. It must be one of: {', '.join(VERB_OF_REASON)}.", f"{at}reason"
            )
    elif reason:
        raise InvalidInteraction(
            f"Cannot use a reason with {entry.kind!r}. Only what is dismissed has one. Leave it out.", f"{at}reason"
        )
    try:
        moment = check_time(entry.occurred_at, trusted=trusted)
    except InvalidInteraction as exc:
        raise InvalidInteraction(str(exc), f"{at}{exc.field}") from exc
    return replace(entry, occurred_at=moment, reason=reason)


def _key(entry: FeedbackInput) -> tuple[UUID | None, str]:
    return entry.recommendation_id, entry.resource_key


def _own_items(
    learner: LearnerProfile, entries: Sequence[FeedbackInput]
) -> dict[tuple[UUID | None, str], tuple[int, int]]:
    """Return (list id, resource key) → (item id, resource id), of the learner's own lists alone."""
    lists = {entry.recommendation_id for entry in entries if entry.recommendation_id is not None}
    if not lists:
        return {}
    own = RecommendationList.objects.filter(pk__in=lists, learner=learner)
    known = set(own.values_list("pk", flat=True))
    rows = RecommendationItem.objects.filter(
        list__in=known, resource__key__in={entry.resource_key for entry in entries}
    ).values_list("list_id", "resource__key", "pk", "resource_id")
    items: dict[tuple[UUID | None, str], tuple[int, int]] = {(row[0], row[1]): (row[2], row[3]) for row in rows}
    for index, entry in enumerate(entries):
        if entry.recommendation_id is None:
            continue
        if entry.recommendation_id not in known:
            raise UnknownList(
                f"Cannot find the list {entry.recommendation_id}. You were given none with this id. Use the "
                "recommendation_id that came with your list.",
                field=f"feedback[{index}].recommendation_id",
            )
        if _key(entry) not in items:
            raise UnknownResource(
                f"Cannot find resource {entry.resource_key!r} in the list {entry.recommendation_id}. Use a key "
                "of one of its items.",
                field=f"feedback[{index}].resource_key",
            )
    return items


def _deed(entry: FeedbackInput, items: dict[tuple[UUID | None, str], tuple[int, int]]) -> InteractionInput:
    verb = VERB_OF_REASON[entry.reason] if entry.kind == "dismissed" else entry.kind
    event_id = entry.event_id
    if not event_id and _key(entry) in items:
        # One item of one list is clicked or turned down once; a rating may change.
        event_id = f"{verb}:{entry.recommendation_id}:{items[_key(entry)][1]}"
        if verb == "rated":
            event_id += f":{entry.value}"
    value = entry.value if verb == "rated" else None
    return InteractionInput(verb, entry.resource_key, value, entry.occurred_at, event_id)


def _changes(
    learner: LearnerProfile,
    entries: Iterable[FeedbackInput],
    items: dict[tuple[UUID | None, str], tuple[int, int]],
) -> dict[int, _Change]:
    changes: dict[int, _Change] = {}
    for entry in entries:
        item_id = items[_key(entry)][0] if _key(entry) in items else None
        if item_id is None and entry.kind == "read":
            item_id = _clicked_item(learner, entry)
        if item_id is None:
            continue
        change = changes.setdefault(item_id, _Change())
        moment = entry.occurred_at
        assert moment is not None
        if entry.kind == "read":
            change.read_s = max(change.read_s or 0.0, min(float(entry.value or 0.0), LONGEST_READ_S))
            continue
        # Who clicks on something or turns it down has seen it, whether or not that was reported.
        change.shown_at = _earlier(change.shown_at, moment)
        if entry.kind == "clicked":
            change.clicked_at = _earlier(change.clicked_at, moment)
        elif entry.kind == "dismissed" and (change.dismissed_at is None or moment < change.dismissed_at):
            change.dismissed_at, change.reason = moment, entry.reason
    return changes


def _earlier(one: datetime | None, other: datetime) -> datetime:
    return other if one is None else min(one, other)


def _clicked_item(learner: LearnerProfile, entry: FeedbackInput) -> int | None:
    """Return the item whose click led to a page, when its list is not named: the last one clicked."""
    now = entry.occurred_at or timezone.now()
    return (
        RecommendationItem.objects.filter(
            list__learner=learner,
            list__created_at__gte=now - READ_WITHIN - timedelta(days=1),
            resource__key=entry.resource_key,
            resource__tenant=learner.tenant,
            clicked_at__lte=now,
            clicked_at__gte=now - READ_WITHIN,
        )
        .order_by("-clicked_at", "-pk")
        .values_list("pk", flat=True)
        .first()
    )


LISTS, ITEMS = RecommendationList._meta.db_table, RecommendationItem._meta.db_table
INTERACTIONS, LEARNERS = Interaction._meta.db_table, LearnerProfile._meta.db_table
RESOURCES = Resource._meta.db_table

# least() and greatest() pass over NULL. A dismissal that was taken back has no interaction any more.
_WRITE = (
    f"UPDATE {ITEMS} item SET shown_at = least(item.shown_at, new.shown_at), "
    "clicked_at = least(item.clicked_at, new.clicked_at), dwell_s = greatest(item.dwell_s, new.read_s), "
    "dismissed_at = least(item.dismissed_at, new.dismissed_at), "
    "dismiss_reason = CASE WHEN new.dismissed_at < item.dismissed_at "
    "OR (item.dismissed_at IS NULL AND new.dismissed_at IS NOT NULL) THEN new.reason ELSE item.dismiss_reason END "
    "FROM (SELECT given.item_id, given.shown_at, given.clicked_at, given.read_s, given.reason, "
    f"CASE WHEN EXISTS (SELECT 1 FROM {INTERACTIONS} i JOIN {ITEMS} told ON told.id = given.item_id "
    "AND told.resource_id = i.resource_id WHERE i.learner_id = %s AND i.verb = given.verb) "
    "THEN given.dismissed_at END AS dismissed_at "
    "FROM unnest(%s::bigint[], %s::timestamptz[], %s::timestamptz[], %s::float8[], %s::timestamptz[], %s::text[], "
    "%s::text[]) AS given(item_id, shown_at, clicked_at, read_s, dismissed_at, reason, verb)) new "
    f"JOIN {LEARNERS} learner ON learner.id = %s AND learner.personalise "
    "WHERE item.id = new.item_id AND ("
    "least(item.shown_at, new.shown_at), least(item.clicked_at, new.clicked_at), greatest(item.dwell_s, new.read_s), "
    "least(item.dismissed_at, new.dismissed_at)) IS DISTINCT FROM "
    "(item.shown_at, item.clicked_at, item.dwell_s, item.dismissed_at)"
)


def _write(learner: LearnerProfile, changes: dict[int, _Change]) -> int:
    if not changes:
        return 0
    # In one order by everybody, so that two pages of a learner wait for each other instead of failing.
    rows = sorted(changes.items())
    columns: list[list[Any]] = [
        [item_id for item_id, _ in rows],
        [change.shown_at for _, change in rows],
        [change.clicked_at for _, change in rows],
        [change.read_s for _, change in rows],
        [change.dismissed_at for _, change in rows],
        [change.reason or "" for _, change in rows],
        [VERB_OF_REASON.get(change.reason or "", "") for _, change in rows],
    ]
    using = router.db_for_write(RecommendationItem)
    with connections[using].cursor() as cursor:
        cursor.execute(f"SELECT id FROM {ITEMS} WHERE id = ANY(%s) ORDER BY id FOR UPDATE", [columns[0]])
        cursor.execute(_WRITE, [learner.pk, *columns, learner.pk])
        return int(cursor.rowcount)
