"""Recording what learners do."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from numbers import Real
from typing import TYPE_CHECKING, Any

from django.db import connections, router

from llmrec_django.conf import conf, verb_named
from llmrec_django.exceptions import InvalidInteraction, UnknownResource
from llmrec_django.models import Interaction, LearnerProfile, Resource
from llmrec_django.models.base import is_supported
from llmrec_django.services.attribution import attribute_deeds
from llmrec_django.services.forgotten import NOT_FORGOTTEN
from llmrec_django.signals import interactions_recorded
from llmrec_django.sources.values import is_storable, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from llmrec_django.types import InteractionInput

CLOCK_TOLERANCE = timedelta(minutes=5)
"""Clocks of clients run ahead by so much; what is further ahead has not happened."""
OLDEST_FROM_LEARNER = timedelta(days=30)
"""A learner's own client cannot rewrite a longer past: older events count as this old."""
MAX_QUERY = 500
MAX_EVENT_ID = 255
MAX_SOURCE = 64


@dataclass(frozen=True, slots=True)
class _Row:
    """One checked interaction."""

    verb: str
    resource_key: str
    value: float | None
    query: str
    occurred_at: datetime
    event_id: str


def record(
    learner: LearnerProfile, interaction: InteractionInput, *, source: str = "site", trusted: bool = True
) -> tuple[Interaction | None, bool]:
    """Record one interaction, once per (learner, source, event_id).

    Ratings are given on LLMREC["RATING_SCALE"], every other value as a fraction in [0, 1].

    Args:
        trusted: False for what a learner's own client sends: only verbs with `learner_may_send` are taken, and
            the time is kept within the last 30 days.

    Returns:
        The stored row and whether it is new; (None, False) when nothing is stored: the learner opted out or
        took it back, or searches are not kept.

    Raises:
        InvalidInteraction: with the field that is wrong; UnknownResource for a key that does not exist.
    """
    _check_source(source)
    row = _check(interaction, trusted=trusted)
    stored = _store(learner, [row], source=source, fields=[""])
    if stored:
        return Interaction.objects.using(_alias()).get(pk=stored[0]), True
    if not _is_recorded(learner):
        return None, False
    known = Interaction.objects.using(_alias()).filter(learner_id=learner.pk, source=source, event_id=row.event_id)
    return known.first(), False


def record_many(
    learner: LearnerProfile, interactions: Iterable[InteractionInput], *, source: str = "site", trusted: bool = True
) -> int:
    """Record a batch, all or nothing, in two queries; return how many rows are new.

    Raises:
        InvalidInteraction, UnknownResource: `field` names the entry, as `interactions[3].verb`.
    """
    _check_source(source)
    rows, fields = [], []
    for index, interaction in enumerate(interactions):
        prefix = f"interactions[{index}]."
        try:
            rows.append(_check(interaction, trusted=trusted))
        except InvalidInteraction as exc:
            raise InvalidInteraction(f"{prefix}{exc.field}: {exc}", field=prefix + exc.field) from exc
        fields.append(prefix)
    return len(_store(learner, rows, source=source, fields=fields))


def _alias() -> str:
    return router.db_for_write(Interaction)


def _is_recorded(learner: LearnerProfile) -> bool:
    """Return whether anything may be stored: not on a database without our tables, not after an opt-out."""
    return not learner._state.adding and learner.personalise and is_supported(_alias())


def _check(interaction: InteractionInput, *, trusted: bool) -> _Row:
    verb = _check_verb(interaction.verb, trusted=trusted)
    query = _check_query(verb, interaction)
    if verb != "searched" and not interaction.resource_key:
        raise InvalidInteraction(
            f"Cannot record {verb!r} without a resource. Give the key of a learning resource.", "resource_key"
        )
    return _Row(
        verb=verb,
        resource_key=interaction.resource_key,
        value=scale_value(verb, interaction.value),
        query=query,
        occurred_at=check_time(interaction.occurred_at, trusted=trusted),
        event_id=_check_event_id(interaction),
    )


def _check_source(source: str) -> None:
    if not source or len(source) > MAX_SOURCE or not is_storable(source):
        raise InvalidInteraction(
            f"Cannot record from source {source[:80]!r}. It must have 1 to {MAX_SOURCE} characters. Shorten it.",
            "source",
        )


def _check_verb(name: Any, *, trusted: bool) -> str:
    verb = verb_named(name) if isinstance(name, str) else None
    if verb is not None and (trusted or conf.VERBS[verb].learner_may_send):
        return verb
    allowed = sorted(v for v, meaning in conf.VERBS.items() if trusted or meaning.learner_may_send)
    why = "unknown verb" if verb is None else "only a trusted source may report it"
    raise InvalidInteraction(f"Cannot record verb {name!r}: {why}. Use one of: {', '.join(allowed)}.", "verb")


def _check_query(verb: str, interaction: InteractionInput) -> str:
    query = text(interaction.query)
    if verb != "searched":
        if query:
            raise InvalidInteraction(
                f"Cannot record search words with {verb!r}. They belong to 'searched' alone. Leave them out.", "query"
            )
        return ""
    if interaction.resource_key:
        raise InvalidInteraction(
            f"Cannot record 'searched' on resource {interaction.resource_key!r}. A search has words, not a resource. "
            "Leave the resource out.",
            "resource_key",
        )
    if not query:
        raise InvalidInteraction("Cannot record 'searched' without words. Give the words in `query`.", "query")
    return query[:MAX_QUERY]


def scale_value(verb: str, value: Any) -> float | None:
    """Return a value as a fraction in [0, 1]: ratings from LLMREC["RATING_SCALE"], the rest as given.

    Percentages are refused rather than guessed, because 1 is both one percent and all of it.

    Raises:
        InvalidInteraction: not a number, out of range, or a rating without a value.
    """
    if value is None:
        if verb == "rated":
            raise InvalidInteraction("Cannot record 'rated' without a value. Give the rating.", "value")
        return None
    found = number(value)
    if found is None:
        raise InvalidInteraction(f"Cannot record value {value!r}. It is not a number. Give a number.", "value")
    low, high = conf.RATING_SCALE if verb == "rated" else (0.0, 1.0)
    if not math.isfinite(found) or not low <= found <= high:
        hint = "Give the rating on that scale." if verb == "rated" else "Give a fraction: 45 % is 0.45."
        raise InvalidInteraction(
            f"Cannot record value {value!r} with {verb!r}. It must be from {low:g} to {high:g}. {hint}", "value"
        )
    return (found - low) / (high - low)


def number(value: Any) -> float | None:
    """Return a number as a float, infinite where it is too large for one; None for what is none, as True and "3"."""
    if isinstance(value, bool) or not (isinstance(value, Real) or hasattr(value, "__float__")):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def check_time(moment: Any, *, trusted: bool) -> datetime:
    """Return when something happened (None: now), never in the future.

    Raises:
        InvalidInteraction: no aware datetime, or one that lies ahead.
    """
    now = datetime.now(UTC)
    if moment is None:
        return now
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise InvalidInteraction(
            f"Cannot record the time {moment!r}. It must be a datetime with a time zone. Add the zone.", "occurred_at"
        )
    when: datetime | None
    try:
        when = moment.astimezone(UTC)
    except OverflowError:  # In UTC it is before the first or after the last day that there is.
        when = None
    if when is None or when > now + CLOCK_TOLERANCE:
        what = "It lies in the future" if when else "There is no such time in UTC"
        raise InvalidInteraction(
            f"Cannot record the time {moment.isoformat()}. {what}. Check the clock and the time zone.", "occurred_at"
        )
    earliest = when if trusted else now - OLDEST_FROM_LEARNER
    return min(max(when, earliest), now)


def _check_event_id(interaction: InteractionInput) -> str:
    event_id = interaction.event_id.strip()
    if len(event_id) > MAX_EVENT_ID or not is_storable(event_id):
        raise InvalidInteraction(
            f"Cannot record event id {event_id[:40]!r}. It must be at most {MAX_EVENT_ID} characters that a database "
            "can hold. Shorten or hash it.",
            "event_id",
        )
    if event_id:
        return event_id
    moment = interaction.occurred_at or datetime.now(UTC)
    parts = (interaction.verb, interaction.resource_key, interaction.value, moment.isoformat(), interaction.query)
    return hashlib.sha256("\x1f".join(map(str, parts)).encode("utf-8", "replace")).hexdigest()[:32]


def _store(learner: LearnerProfile, rows: Sequence[_Row], *, source: str, fields: Sequence[str]) -> list[int]:
    """Insert the rows that are new; return their ids."""
    if not conf.RECORD_SEARCHES:
        kept = [(row, name) for row, name in zip(rows, fields, strict=True) if row.verb != "searched"]
        rows, fields = [row for row, _ in kept], [name for _, name in kept]
    if not rows or not _is_recorded(learner):
        return []
    resource_ids = _resource_ids(learner.tenant, rows, fields)
    ids = _insert(learner, rows, resource_ids, source)
    if ids:
        attribute_deeds((learner.pk, resource_ids.get(row.resource_key), row.verb) for row in rows)
        interactions_recorded.send_robust(sender=Interaction, learner=learner, interaction_ids=ids, source=source)
    return ids


def _resource_ids(tenant: str, rows: Sequence[_Row], fields: Sequence[str]) -> dict[str, int]:
    keys = {row.resource_key for row in rows if row.resource_key}
    # A key that cannot be stored cannot be asked for either.
    known = dict(
        Resource.objects.using(_alias())
        .filter(tenant=tenant, key__in=[key for key in keys if is_storable(key)])
        .values_list("key", "id")
    )
    for row, prefix in zip(rows, fields, strict=True):
        if row.resource_key and row.resource_key not in known:
            where = f"{prefix}resource_key: " if prefix else ""
            raise UnknownResource(
                f"{where}Cannot find resource {row.resource_key!r} in tenant {tenant!r}. No resource has this key. "
                "Import or sync it first.",
                field=f"{prefix}resource_key",
            )
    return known


def _insert(learner: LearnerProfile, rows: Sequence[_Row], resource_ids: dict[str, int], source: str) -> list[int]:
    """Insert in one statement that reads the learner, the opt-out and what is forgotten at that very moment."""
    connection = connections[_alias()]
    quote = connection.ops.quote_name
    sql = (
        f"INSERT INTO {quote(Interaction._meta.db_table)} "
        "(tenant, learner_id, source, received_at, resource_id, verb, value, query, occurred_at, event_id) "
        "SELECT learner.tenant, learner.id, %s, statement_timestamp(), row.* "
        f"FROM {quote(LearnerProfile._meta.db_table)} learner, "
        "unnest(%s::bigint[], %s::text[], %s::float8[], %s::text[], %s::timestamptz[], %s::text[]) "
        "AS row(resource_id, verb, value, query, occurred_at, event_id) "
        "WHERE learner.id = %s AND learner.personalise "
        "AND (learner.history_from IS NULL OR row.occurred_at > learner.history_from) "
        f"AND {NOT_FORGOTTEN} "
        "ON CONFLICT DO NOTHING RETURNING id"
    )
    columns: list[list[Any]] = [
        [resource_ids.get(row.resource_key) for row in rows],
        [row.verb for row in rows],
        [row.value for row in rows],
        [row.query for row in rows],
        [row.occurred_at for row in rows],
        [row.event_id for row in rows],
    ]
    with connection.cursor() as cursor:
        cursor.execute(sql, [source, *columns, learner.pk, source])
        return [row[0] for row in cursor.fetchall()]
