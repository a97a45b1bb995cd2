"""Following the host's saves and deletes, without ever breaking one.

Receivers are connected per registered model, so that every other model of the host keeps its fast deletes. Each
works inside a savepoint of the save's own transaction; whatever goes wrong is logged once per cause and left to
`llmrec_sync`.
"""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_in
from django.db import InterfaceError, OperationalError, router, transaction
from django.db.models import Model, QuerySet
from django.db.models.signals import m2m_changed, post_delete, post_save

from llmrec_django.conf import conf, resolve_tenant
from llmrec_django.models import LearnerProfile, Resource
from llmrec_django.models.base import is_supported
from llmrec_django.services import nudge
from llmrec_django.services.learners import merge_visitor
from llmrec_django.services.sync import remove_object, sync_pks
from llmrec_django.services.sync_activity import remove_activity, sync_activity_pks
from llmrec_django.sources import ActivitySource, ResourceSource, registry
from llmrec_django.sources.paths import resolve
from llmrec_django.sources.pausing import is_paused
from llmrec_django.sources.relations import m2m_fields, watched
from llmrec_django.web.identity import visitor_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from django.dispatch import Signal

    from llmrec_django.sources.base import Source

logger = logging.getLogger(__name__)

WATCH_LIMIT = 500
"""A save of one watched row refreshes at most so many resources; `llmrec_sync` does the rest."""

AWAY_S = 30.0
"""When our own database cannot be reached, saves do not try it again for so many seconds."""

_logged: set[tuple[str, str]] = set()
_away_until = 0.0


def connect() -> None:
    """Connect everything; called once, after the host's `llmrec.py` modules were read."""
    registry.subscribe(_connect_source)
    post_save.connect(resource_saved, sender=Resource, dispatch_uid="llmrec_django.resource_saved")
    post_save.connect(profile_saved, sender=LearnerProfile, dispatch_uid="llmrec_django.profile_saved")
    user_logged_in.connect(logged_in, dispatch_uid="llmrec_django.logged_in")
    if conf.DATABASE:
        # The database cannot cascade from another one.
        post_delete.connect(account_deleted, sender=get_user_model(), dispatch_uid="llmrec_django.account_deleted")


def _connect_source(source: Source) -> None:
    models = [model for model in apps.get_models() if _share_rows(model, source.model)]
    if isinstance(source, ActivitySource):
        for model in models:
            _connect(post_save, activity_saved, model)
            _connect(post_delete, activity_deleted, model)
        return
    for model in models:
        _connect(post_save, object_saved, model)
        _connect(post_delete, object_deleted, model)
    if isinstance(source, ResourceSource):
        for entry in watched(source):
            _connect(post_save, watched_saved, entry.model)
            _connect(post_delete, watched_deleted, entry.model)
        for field, _ in m2m_fields(source):
            _connect(m2m_changed, m2m_changed_for_object, field.remote_field.through)


def _connect(signal: Signal, receiver: Any, sender: type[Model]) -> None:
    # One receiver a sender, however many sources it serves: it asks the registry when it runs.
    signal.connect(receiver, sender=sender, dispatch_uid=f"llmrec_django.{receiver.__name__}.{sender._meta.label}")


def _attempt(what: str, using: str | None, work: Callable[[], object]) -> None:
    """Call `work`; undo and log what fails, and let the host's save go on.

    A statement that fails aborts the whole transaction on PostgreSQL, so there is a savepoint on our database and
    on the one the host is saving to (reading its rows may fail as well).
    """
    global _away_until
    ours = router.db_for_write(Resource)
    is_separate = using is not None and using != ours
    if is_separate and time.monotonic() < _away_until:
        return
    try:
        with ExitStack() as stack:
            for alias in dict.fromkeys([using or ours, ours]):
                stack.enter_context(transaction.atomic(using=alias))
            work()
    except Exception as exc:
        if is_separate and isinstance(exc, OperationalError | InterfaceError):
            _away_until = time.monotonic() + AWAY_S
        cause = (what, type(exc).__name__)
        if cause not in _logged:
            _logged.add(cause)
            logger.exception("%s failed; the save goes on, llmrec_sync repairs. Further ones are not logged.", what)


def _is_off(raw: bool = False) -> bool:
    return raw or is_paused() or not is_supported(router.db_for_write(Resource))


def object_saved(sender: type[Model], instance: Any, raw: bool = False, using: str | None = None, **_: Any) -> None:
    if _is_off(raw):
        return
    for source in registry.resources_touched_by(sender):
        _attempt(f"Syncing {source.name}", using, partial(sync_pks, source, [instance.pk], using=using))


def object_deleted(sender: type[Model], instance: Any, using: str | None = None, **_: Any) -> None:
    if _is_off():
        return
    source = registry.source_for(sender)
    # Deleting a child row with keep_parents=True leaves the parent's resource alone: it has its own signal.
    if source is None or source.model._meta.concrete_model is not sender._meta.concrete_model:
        return
    _attempt(f"Removing {source.name}", using, partial(remove_object, source.model, instance.pk))


def activity_saved(sender: type[Model], instance: Any, raw: bool = False, using: str | None = None, **_: Any) -> None:
    if _is_off(raw):
        return
    for source in registry.activities_touched_by(sender):
        _attempt(f"Recording {source.name}", using, partial(sync_activity_pks, source, [instance.pk], using=using))


def activity_deleted(sender: type[Model], instance: Any, using: str | None = None, **_: Any) -> None:
    if _is_off():
        return
    for source in registry.activities_touched_by(sender):
        _attempt(f"Removing {source.name}", using, partial(remove_activity, source, {str(instance.pk)}))


def watched_saved(sender: type[Model], instance: Any, raw: bool = False, using: str | None = None, **_: Any) -> None:
    if not _is_off(raw):
        _refresh_watchers(sender, instance, using)


def watched_deleted(sender: type[Model], instance: Any, using: str | None = None, origin: Any = None, **_: Any) -> None:
    if not _is_off():
        _refresh_watchers(sender, instance, using, origin=origin)


def _refresh_watchers(sender: type[Model], instance: Any, using: str | None, origin: Any = None) -> None:
    for source in registry.resources():
        for entry in watched(source):
            if entry.model._meta.concrete_model is not sender._meta.concrete_model:
                continue
            if _is_of(origin, source.model):
                continue  # The objects themselves are being deleted; refreshing them first is in vain.
            _attempt(
                f"Syncing {source.name} after {sender._meta.label}",
                using,
                partial(_refresh_from, source, instance, entry.path, using),
            )


def _refresh_from(source: ResourceSource, instance: Any, path: str, using: str | None) -> None:
    found = resolve(instance, path)
    objects = found if isinstance(found, list) else [found]
    _refresh(source, (obj.pk for obj in objects if isinstance(obj, source.model)), using)


def _is_of(origin: Any, model: type[Model]) -> bool:
    return issubclass(origin.model if isinstance(origin, QuerySet) else type(origin), model)


def _refresh(source: ResourceSource, pks: Iterable[Any], using: str | None) -> None:
    distinct = list(dict.fromkeys(pk for pk in pks if pk is not None))
    if len(distinct) > WATCH_LIMIT:
        logger.info("source=%s refreshes=%d limit=%d: run llmrec_sync", source.name, len(distinct), WATCH_LIMIT)
    sync_pks(source, distinct[:WATCH_LIMIT], using=using)


def m2m_changed_for_object(
    sender: type[Model],
    instance: Any,
    action: str,
    reverse: bool,
    model: type[Model],
    pk_set: set[Any] | None = None,
    using: str | None = None,
    **_: Any,
) -> None:
    """Refresh the objects at either end of a changed many-to-many relation."""
    if _is_off() or action not in ("post_add", "post_remove", "pre_clear", "post_clear"):
        return
    for source in registry.resources():
        for field, is_far_end in m2m_fields(source):
            if field.remote_field.through is not sender:
                continue
            if reverse == is_far_end:
                changed = partial(_refresh, source, [instance.pk], using)
                work = None if action == "pre_clear" else changed
            elif action == "pre_clear":
                # The other side is being cleared, and will not say what it removed: look before.
                work = partial(_remember, source, field, is_far_end, instance, using)
            elif action == "post_clear":
                cleared = instance.__dict__.get("_llmrec_cleared", {}).pop((source.name, field), [])
                work = partial(_refresh, source, cleared, using)
            else:
                work = partial(_refresh, source, pk_set or (), using)
            if work is not None:
                _attempt(f"Syncing {source.name} after {sender._meta.label}", using, work)


def _remember(source: ResourceSource, field: Any, is_far_end: bool, instance: Any, using: str | None) -> None:
    """Keep on `instance` the keys of the source's objects that a relation links to it, before it is cleared."""
    near, far = field.m2m_field_name(), field.m2m_reverse_field_name()
    wanted, given = (far, near) if is_far_end else (near, far)
    rows = field.remote_field.through._base_manager.using(using).filter(**{given: instance.pk})
    cleared = instance.__dict__.setdefault("_llmrec_cleared", {})
    cleared[source.name, field] = list(rows.values_list(wanted, flat=True))


def resource_saved(sender: Any, raw: bool = False, **_: Any) -> None:
    """Tell the workers about a resource saved in the admin, over the API or by the host's own code."""
    _attempt("Nudging", None, nudge.nudge_embedding)


def profile_saved(sender: Any, instance: LearnerProfile, update_fields: frozenset[str] | None = None, **_: Any) -> None:
    """Tell the workers about goals and interests, which they turn into a vector."""
    if instance.text and (update_fields is None or {"goals", "interests"} & update_fields):
        _attempt("Nudging", None, nudge.nudge_embedding)


def account_deleted(sender: Any, instance: Any, using: str | None = None, **_: Any) -> None:
    """Delete what belongs to an account whose row lived in another database."""
    ours = router.db_for_write(LearnerProfile)
    if is_supported(ours):
        learners = LearnerProfile.objects.using(ours).filter(user_id=instance.pk)
        _attempt("Removing the learner of a deleted account", using, learners.delete)


def logged_in(sender: Any, request: Any, user: Any, **_: Any) -> None:
    """Give an anonymous visitor's history to the account that logs in."""
    key = visitor_key(request)
    if key and is_supported(router.db_for_write(LearnerProfile)):
        _attempt(
            "Merging a visitor's history",
            user._state.db,
            lambda: merge_visitor(key, user, tenant=resolve_tenant(request)),
        )


def _share_rows(first: type[Model], second: type[Model]) -> bool:
    one, other = first._meta.concrete_model or first, second._meta.concrete_model or second
    return issubclass(one, other) or issubclass(other, one)
