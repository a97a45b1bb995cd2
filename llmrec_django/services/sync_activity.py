"""Keeping interactions equal to the host's activity rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.db import router, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from llmrec_django.conf import conf, verb_named
from llmrec_django.models import ForgottenDeed, Interaction, LearnerProfile, Resource
from llmrec_django.models.base import is_supported
from llmrec_django.services.attribution import attribute_deeds
from llmrec_django.services.forgotten import Forgotten
from llmrec_django.services.record import scale_value
from llmrec_django.services.sync import BATCH_SIZE, SyncCounts, _distinct, _pages, sync_pks
from llmrec_django.sources import registry, values

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.db.models import QuerySet

    from llmrec_django.sources import ActivitySource

OnError = "Callable[[Any, str], None] | None"


@dataclass(frozen=True, slots=True)
class _Said:
    """What one activity row says, in the host's terms."""

    pk: Any
    verb: str
    user_id: Any
    resource: tuple[int, str]
    """Content type id and object id."""
    value: float | None
    occurred_at: datetime | None


def sync_activity_pks(source: ActivitySource, pks: Sequence[Any], *, using: str | None = None) -> SyncCounts:
    """Bring the interactions of some activity rows up to date; the first error is raised, nothing is then kept."""
    counts = SyncCounts()
    if not is_supported(_alias()) or not pks:
        return counts
    queryset = source.get_queryset()
    queryset = queryset.using(using) if using else queryset
    with transaction.atomic(using=_alias()):
        for start in range(0, len(pks), BATCH_SIZE):
            page = list(pks[start : start + BATCH_SIZE])
            found = _distinct(source.prefetched(queryset.filter(pk__in=page)))
            _write(source, found, counts, using=using)
            remove_activity(source, {str(pk) for pk in page} - {str(obj.pk) for obj in found})
    return counts


def sync_activity(
    source: ActivitySource,
    queryset: QuerySet[Any] | None = None,
    *,
    batch_size: int = BATCH_SIZE,
    dry_run: bool = False,
    on_error: Callable[[Any, str], None] | None = None,
) -> SyncCounts:
    """Bring the interactions of an activity source up to date, in pages and constant memory.

    Args:
        queryset: Rows of the source's model; None: all, after which interactions without a row are removed.
        dry_run: Count what would be done and change nothing.
        on_error: Called with the primary key and the words of a row that cannot be used; the rest goes on.
            None: the first error is raised.
    """
    counts = SyncCounts()
    if not is_supported(_alias()):
        return counts
    rows = source.get_queryset() if queryset is None else queryset
    for page in _pages(source.prefetched(rows), batch_size):
        counts.seen += len(page)
        with transaction.atomic(using=_alias()):
            _write(source, page, counts, dry_run=dry_run, on_error=on_error)
    if queryset is None:
        _remove_orphans(source, counts, batch_size, dry_run=dry_run)
    return counts


def remove_activity(source: ActivitySource, event_ids: set[str]) -> int:
    """Delete the interactions of activity rows that are gone; return how many."""
    if not event_ids or not is_supported(_alias()):
        return 0
    return int(_stored(source).filter(event_id__in=event_ids).delete()[0])


def _alias() -> str:
    return router.db_for_write(Interaction)


def _stored(source: ActivitySource) -> QuerySet[Interaction]:
    return Interaction.objects.using(_alias()).filter(source=source.name)


def _write(
    source: ActivitySource,
    objects: Sequence[Any],
    counts: SyncCounts,
    *,
    using: str | None = None,
    dry_run: bool = False,
    on_error: Callable[[Any, str], None] | None = None,
) -> None:
    said, silent = [], set()
    for obj in objects:
        try:
            found = _read(source, obj)
        except Exception as exc:
            counts.errors += 1
            if on_error is None:
                raise
            on_error(obj.pk, f"{type(exc).__name__}: {exc}")
            continue
        if found is None:
            silent.add(str(obj.pk))
            counts.skipped += 1
        else:
            said.append(found)
    if silent and not dry_run:
        counts.deleted += remove_activity(source, silent)
    resources = _resources(said, using=using, dry_run=dry_run)
    learners = _learners(said, resources, dry_run=dry_run)
    _upsert(source, said, resources, learners, counts, dry_run=dry_run)


def _read(source: ActivitySource, obj: Any) -> _Said | None:
    """Return what a row says; None when it says nothing.

    Raises:
        Exception: the row says something that cannot be used, in words.
    """
    name = source.get_verb(obj)
    if name is None:
        return None
    verb = verb_named(name)
    if verb is None:
        raise ValueError(
            f"Cannot use verb {name!r} of {source!r}. It must be one of: {', '.join(sorted(conf.VERBS))}. "
            "Correct get_verb() or add it to LLMREC['VERBS']."
        )
    user, resource, value = source.get_learner(obj), source.get_resource(obj), source.get_value(obj)
    if user is None or resource is None or user.pk is None or (verb == "rated" and value is None):
        return None
    if not isinstance(user, get_user_model()):
        raise TypeError(
            f"Cannot take {user!r} for a learner. It is not a {get_user_model().__name__}. "
            f"Let `learner` of {source!r} lead to the account."
        )
    resource_source = registry.source_for(resource)
    if resource_source is None:
        raise TypeError(
            f"Cannot take {resource!r} for a resource. Its model is not registered. "
            f"Register it, or let `resource` of {source!r} lead to one that is."
        )
    content_type = ContentType.objects.get_for_model(resource_source.model)
    return _Said(
        pk=obj.pk,
        verb=verb,
        user_id=user.pk,
        resource=(content_type.pk, str(resource.pk)),
        value=scale_value(verb, value),
        occurred_at=values.moment(source.get_occurred_at(obj)),
    )


def _resources(said: Sequence[_Said], *, using: str | None, dry_run: bool) -> dict[tuple[int, str], tuple[int, str]]:
    """Return {(content type id, object id): (resource id, tenant)}; resources that are missing are synced first."""
    wanted = {entry.resource for entry in said}

    def stored() -> dict[tuple[int, str], tuple[int, str]]:
        rows = Resource.objects.using(_alias()).filter(
            content_type_id__in={content_type for content_type, _ in wanted},
            object_id__in={object_id for _, object_id in wanted},
        )
        return {(row[0], row[1]): (row[2], row[3]) for row in rows.values_list(*_RESOURCE_COLUMNS)}

    found = stored() if wanted else {}
    missing = wanted - found.keys()
    if not missing or dry_run:
        return found
    for source in registry.resources():
        content_type = ContentType.objects.get_for_model(source.model)
        sync_pks(source, [pk for owner, pk in missing if owner == content_type.pk], using=using)
    return stored()


_RESOURCE_COLUMNS = ("content_type_id", "object_id", "id", "tenant")


def _learners(
    said: Sequence[_Said], resources: dict[tuple[int, str], tuple[int, str]], *, dry_run: bool
) -> dict[tuple[str, Any], LearnerProfile]:
    """Return {(tenant, account id): profile}, made where there is none."""
    wanted = {(resources[entry.resource][1], entry.user_id) for entry in said if entry.resource in resources}
    profiles = LearnerProfile.objects.using(_alias())

    def stored() -> dict[tuple[str, Any], LearnerProfile]:
        rows = profiles.filter(tenant__in={t for t, _ in wanted}, user_id__in={u for _, u in wanted})
        # Most took nothing back, and cost no further query.
        took_back = Exists(ForgottenDeed.objects.filter(learner=OuterRef("pk")))
        return {(row.tenant, row.user_id): row for row in rows.only(*_LEARNER_COLUMNS).annotate(took_back=took_back)}

    found = stored() if wanted else {}
    missing = wanted - found.keys()
    if not missing:
        return found
    new = [LearnerProfile(tenant=tenant, user_id=user_id) for tenant, user_id in missing]
    if dry_run:
        return found | {(row.tenant, row.user_id): row for row in new}
    profiles.bulk_create(new, ignore_conflicts=True)
    return stored()


_LEARNER_COLUMNS = ("id", "tenant", "user_id", "personalise", "history_from")


def _upsert(
    source: ActivitySource,
    said: Sequence[_Said],
    resources: dict[tuple[int, str], tuple[int, str]],
    learners: dict[tuple[str, Any], LearnerProfile],
    counts: SyncCounts,
    *,
    dry_run: bool,
) -> None:
    now = timezone.now()
    oldest = _oldest_kept(now)
    known: dict[str, list[Interaction]] = {}
    for stored_row in _stored(source).filter(event_id__in=[str(entry.pk) for entry in said]) if said else ():
        known.setdefault(stored_row.event_id, []).append(stored_row)
    taken_back = Forgotten({row.pk for row in learners.values() if getattr(row, "took_back", False)}, using=_alias())
    created, changed, strangers = [], [], []
    for entry in said:
        resource_id, tenant = resources.get(entry.resource, (None, ""))
        learner = learners.get((tenant, entry.user_id))
        stored = known.get(str(entry.pk), [])
        if resource_id is None or learner is None or not learner.personalise:
            counts.skipped += 1
            continue
        # The row moved to another account: what the first one did is undone.
        own = [row for row in stored if row.learner_id == learner.pk]
        strangers += [row.pk for row in stored if row not in own]
        row = next(iter(own), None)
        occurred_at = min(entry.occurred_at or (row.occurred_at if row else now), now)
        forgotten = learner.history_from is not None and occurred_at <= learner.history_from
        wanted = {
            "tenant": tenant,
            "resource_id": resource_id,
            "verb": entry.verb,
            "value": entry.value,
            "occurred_at": occurred_at,
        }
        new = Interaction(learner=learner, source=source.name, event_id=str(entry.pk), **wanted)
        # What is still to come is taken in with the time of today, as what has no time.
        is_taken_back = taken_back.holds(new, is_dated=entry.occurred_at is not None and entry.occurred_at <= now)
        if row is None and (forgotten or is_taken_back or (oldest and occurred_at < oldest)):
            counts.skipped += 1
        elif row is None:
            created.append(new)
        elif all(getattr(row, name) == value for name, value in wanted.items()):
            counts.unchanged += 1
        elif is_taken_back:
            strangers.append(row.pk)
        else:
            for name, value in wanted.items():
                setattr(row, name, value)
            changed.append(row)
    counts.created += len(created)
    counts.updated += len(changed)
    counts.deleted += len(strangers)
    if dry_run:
        return
    rows = Interaction.objects.using(_alias())
    if strangers:
        rows.filter(pk__in=strangers).delete()
    if created or changed:
        rows.bulk_create(
            [*created, *changed],
            update_conflicts=True,
            unique_fields=["learner", "source", "event_id"],
            update_fields=["tenant", "resource", "verb", "value", "occurred_at"],
        )
        attribute_deeds((row.learner_id, row.resource_id, row.verb) for row in [*created, *changed])


def _oldest_kept(now: datetime) -> datetime | None:
    """Return before when activity is not taken in: `llmrec_prune` would delete it again."""
    days = conf.RETENTION_DAYS["interactions"]
    return None if days is None else now - timedelta(days=days)


def _remove_orphans(source: ActivitySource, counts: SyncCounts, batch_size: int, *, dry_run: bool) -> None:
    key = source.model._meta.pk
    rows = _stored(source).order_by("pk")
    page = list(rows.values_list("pk", "event_id")[:batch_size])
    while page:
        pks = []
        for _, event_id in page:
            try:
                pks.append(key.to_python(event_id))
            except Exception:  # noqa: BLE001, S112 - a text that cannot be a key has no row
                continue
        there = {str(pk) for pk in source.get_queryset().filter(pk__in=pks).values_list("pk", flat=True)}
        gone = [row_id for row_id, event_id in page if event_id not in there]
        counts.deleted += len(gone)
        if gone and not dry_run:
            Interaction.objects.using(_alias()).filter(pk__in=gone).delete()
        page = list(rows.filter(pk__gt=page[-1][0]).values_list("pk", "event_id")[:batch_size])
