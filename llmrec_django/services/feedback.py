"""What learners do about a list: seen, clicked, read, rated, turned down. Each counts once, however often said."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import connections, router, transaction
from django.db.models import OuterRef, Subquery
from django.utils import timezone

from llmrec_django.exceptions import InvalidInteraction, UnknownList, UnknownResource
from llmrec_django.models import (
    ForgottenDeed,
    Interaction,
    LearnerProfile,
    RecommendationItem,
    RecommendationList,
    Resource,
)
from llmrec_django.models.base import is_supported
from llmrec_django.models.learner import DISMISSING, RESTORED
from llmrec_django.services.attribution import attribute
from llmrec_django.services.record import check_time, number, record_many, scale_value
from llmrec_django.sources.values import is_storable
from llmrec_django.types import FeedbackInput, InteractionInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
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
RECORDED = ("clicked", "rated", "dismissed")
"""Kinds that become interactions."""
LONGEST_READ_S = 6 * 3600.0
"""A page that is left open over night was not read all night."""
READ_WITHIN = timedelta(days=1)
"""Reading counts for a click at most so long before."""


class _Item(NamedTuple):
    """An item of one of the learner's own lists."""

    pk: int
    resource_id: int
    clicked_at: datetime | None
    forgotten_at: datetime | None


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

    "shown", "clicked" and "dismissed" keep the earliest time that is ever reported, "read" the longest, and of ratings
    the last one counts; so nothing changes when a report comes twice, late, or from two pages at once. Clicks, ratings
    and dismissals are also recorded as interactions, and shape the next list. `FeedbackInput.event_id` says what is
    taken for the same thing said again.

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
        if any(entry.kind in RECORDED for entry in checked):
            # One report of a learner after the other: each sees what those before it have left.
            own = LearnerProfile.objects.using(using).filter(pk=learner.pk)
            list(own.select_for_update(no_key=True).values_list("pk"))
        items = _own_items(learner, checked)
        checked = [_without_forgotten(entry, items.get(_key(entry))) for entry in checked]
        rated = {entry.resource_key for entry in checked if entry.kind == "rated"}
        before = _ratings(learner, rated)
        deeds = _deeds(learner, entries, checked, items)
        if deeds:
            record_many(learner, deeds, source=source, trusted=trusted)
        changed = _write(learner, _changes(learner, checked, items))
        # Only a report from the past can come after what it led to; and a rating shows that its item was seen.
        asked = [
            entry
            for entry, given in zip(checked, entries, strict=True)
            if given.occurred_at is not None or entry.kind == "rated"
        ]
        attribute((learner.pk, items[_key(entry)].resource_id) for entry in asked if _key(entry) in items)
        changed |= {pk for pk, _ in _ratings(learner, rated) ^ before}
    return len(changed)


def restore(learner: LearnerProfile, resource_key: str) -> int:
    """Take back that a learner turned a resource down: it may be recommended again. Return how many times it was."""
    using = router.db_for_write(Interaction)
    if learner._state.adding or not is_storable(resource_key) or not is_supported(using):
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
    if not is_storable(entry.resource_key):
        raise InvalidInteraction(
            f"Cannot find resource {entry.resource_key!r}. No database can hold this key. Check the key.",
            f"{at}resource_key",
        )
    if entry.kind in ("shown", "clicked") and entry.recommendation_id is None:
        raise InvalidInteraction(
            f"Cannot tell in which list {entry.resource_key!r} was {entry.kind}. Give its recommendation_id.",
            f"{at}recommendation_id",
        )
    seconds = number(entry.value)
    if entry.kind == "read" and (seconds is None or not 0 <= seconds < float("inf")):
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
        if entry.kind == "rated":
            scale_value("rated", entry.value)
    except InvalidInteraction as exc:
        raise InvalidInteraction(str(exc), f"{at}{exc.field}") from exc
    return replace(entry, occurred_at=moment, reason=reason)


def _key(entry: FeedbackInput) -> tuple[UUID | None, str]:
    return entry.recommendation_id, entry.resource_key


def _own_items(learner: LearnerProfile, entries: Sequence[FeedbackInput]) -> dict[tuple[UUID | None, str], _Item]:
    """Return (list id, resource key) → item, of the learner's own lists alone."""
    lists = {entry.recommendation_id for entry in entries if entry.recommendation_id is not None}
    if not lists:
        return {}
    # Where it is written, since what another report has just left counts.
    using = router.db_for_write(RecommendationItem)
    own = RecommendationList.objects.using(using).filter(pk__in=lists, learner=learner)
    known = set(own.values_list("pk", flat=True))
    taken_back = ForgottenDeed.objects.using(using).filter(learner=learner, resource=OuterRef("resource"))
    rows = (
        RecommendationItem.objects.using(using)
        .filter(list__in=known, resource__key__in={entry.resource_key for entry in entries})
        .annotate(forgotten_at=Subquery(taken_back.values("forgotten_at")))
        .values_list("list_id", "resource__key", "pk", "resource_id", "clicked_at", "forgotten_at")
    )
    items: dict[tuple[UUID | None, str], _Item] = {(row[0], row[1]): _Item(*row[2:]) for row in rows}
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


def _without_forgotten(entry: FeedbackInput, item: _Item | None) -> FeedbackInput:
    """Return what may still be said: of a click or a reading that the learner took back, that the item was shown."""
    if entry.kind not in ("clicked", "read") or item is None or item.forgotten_at is None:
        return entry
    assert entry.occurred_at is not None
    return replace(entry, kind="shown") if entry.occurred_at <= item.forgotten_at else entry


def _deeds(
    learner: LearnerProfile,
    given: Sequence[FeedbackInput],
    checked: Sequence[FeedbackInput],
    items: dict[tuple[UUID | None, str], _Item],
) -> list[InteractionInput]:
    """Return what is to be recorded; what only says again what is known is left out."""
    deeds: dict[Any, InteractionInput] = {}
    undated: dict[Any, FeedbackInput] = {}
    for index, (asked, entry) in enumerate(zip(given, checked, strict=True)):
        if entry.kind not in RECORDED:
            continue
        item = items.get(_key(entry))
        verb = VERB_OF_REASON[entry.reason] if entry.kind == "dismissed" else entry.kind
        value = entry.value if verb == "rated" else None
        name: Any = index
        event_id = entry.event_id
        if entry.kind == "clicked" and item is not None:
            # One item is clicked once, whoever reports it, in however many tabs it is opened.
            if item.clicked_at is not None:
                continue
            event_id = f"{verb}:{entry.recommendation_id}:{item.resource_id}"
        elif entry.kind == "dismissed" and (item is not None or event_id):
            # Two tabs that turn the same thing down for the same reason say it once, each with an id of its own.
            name = verb, entry.resource_key
            undated[name] = entry
            if item is not None and not event_id:
                event_id = f"{verb}:{entry.recommendation_id}:{item.resource_id}"
        elif not event_id and asked.occurred_at is None:
            # Nothing tells it from what is said again but what was said last.
            name = entry.kind, entry.resource_key
            deeds.pop(name, None)
            undated[name] = entry
            if entry.kind == "rated" and item is not None:
                moment = entry.occurred_at.isoformat() if entry.occurred_at else ""
                event_id = f"{_rated_in(entry)}{value}:{moment}"
        # With the time as it was given: one that is cut to what is believed would be another with each report.
        deeds[name] = InteractionInput(verb, entry.resource_key, value, asked.occurred_at, event_id)
    known = _said_last(learner, undated)
    return [deed for name, deed in deeds.items() if name not in known]


def _rated_in(entry: FeedbackInput) -> str:
    """Return how the ids of ratings in one list begin; "" for those of no list."""
    return f"rated:{entry.recommendation_id}:" if entry.recommendation_id else ""


def _said_last(learner: LearnerProfile, wanted: Mapping[Any, FeedbackInput]) -> set[Any]:
    """Return the names of those entries that the learner's last word on the resource says already."""
    if not wanted:
        return set()
    rows = (
        Interaction.objects.using(router.db_for_write(Interaction))
        .filter(
            learner=learner,
            resource__tenant=learner.tenant,
            resource__key__in={entry.resource_key for entry in wanted.values()},
            verb__in=("rated", *DISMISSING),
        )
        .newest_first()
        .values_list("resource__key", "verb", "value", "event_id")
    )
    said: dict[tuple[str, str], list[tuple[str, float | None, str]]] = {}
    for key, verb, value, event_id in rows:
        said.setdefault(("rated" if verb == "rated" else "dismissed", key), []).append((verb, value, event_id))
    known = set()
    for name, entry in wanted.items():
        before = said.get((entry.kind, entry.resource_key))
        if not before:
            continue
        if entry.kind == "dismissed":
            is_known = before[0][0] == VERB_OF_REASON[entry.reason]
        else:
            # Rated alike in another list it is not the same report: what came of this list counts too.
            is_known = before[0][1] == scale_value("rated", entry.value) and any(
                event_id.startswith(_rated_in(entry)) for _, _, event_id in before
            )
        if is_known:
            known.add(name)
    return known


def _ratings(learner: LearnerProfile, resource_keys: set[str]) -> set[tuple[int, Any]]:
    """Return (item id, when and how it was rated) of a learner's items of some resources."""
    if not resource_keys:
        return set()
    rows = RecommendationItem.objects.using(router.db_for_write(RecommendationItem)).filter(
        list__learner=learner, resource__tenant=learner.tenant, resource__key__in=resource_keys
    )
    return {(pk, (at, value)) for pk, at, value in rows.values_list("pk", "rated_at", "rated_value")}


def _changes(
    learner: LearnerProfile,
    entries: Iterable[FeedbackInput],
    items: dict[tuple[UUID | None, str], _Item],
) -> dict[int, _Change]:
    changes: dict[int, _Change] = {}
    for entry in entries:
        item_id = items[_key(entry)].pk if _key(entry) in items else None
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
    """Return the item whose click led to a page, when its list is not named: the last one clicked.

    The same time of reading, to a tenth of a second, is the same report come again: it stays where it is, whatever was
    clicked since.
    """
    now = entry.occurred_at or timezone.now()
    read_s = min(float(entry.value or 0.0), LONGEST_READ_S)
    clicked = list(
        RecommendationItem.objects.filter(
            list__learner=learner,
            list__created_at__gte=now - READ_WITHIN - timedelta(days=1),
            resource__key=entry.resource_key,
            resource__tenant=learner.tenant,
            clicked_at__lte=now,
            clicked_at__gte=now - READ_WITHIN,
        )
        .order_by("-clicked_at", "-pk")
        .values_list("pk", "dwell_s")
    )
    again = [pk for pk, dwell_s in clicked if dwell_s == read_s]
    return next(iter([*again, *(pk for pk, _ in clicked)]), None)


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
    "(item.shown_at, item.clicked_at, item.dwell_s, item.dismissed_at) RETURNING item.id"
)


def _write(learner: LearnerProfile, changes: dict[int, _Change]) -> set[int]:
    """Write what changes; return the ids of the items that it changed."""
    if not changes:
        return set()
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
        return {int(row[0]) for row in cursor.fetchall()}
