"""The host's side: settings, sources, cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib.contenttypes.models import ContentType
from django.core.checks import ERROR, run_checks
from django.db import router

from llmrec_django.conf import conf
from llmrec_django.models import Resource
from llmrec_django.services.doctor.findings import Finding, fail, ok, warn
from llmrec_django.sources import registry

if TYPE_CHECKING:
    from collections.abc import Iterator

PRIVATE_CACHES = ("LocMemCache", "DummyCache")


def examine_settings() -> Iterator[Finding]:
    states = {
        True: ok("enabled", "recommends"),
        False: warn("enabled", "switched off: tags and API return nothing", "Set LLMREC['ENABLED'] = True."),
        "shadow": warn("enabled", "shadow: lists are computed, not shown", "Set LLMREC['ENABLED'] = True."),
    }
    yield states.get(conf.ENABLED, fail("enabled", repr(conf.ENABLED), "Use True, False or 'shadow'."))
    messages = run_checks(tags=["llmrec_django"])
    for message in messages:
        make = fail if message.level >= ERROR else warn
        yield make(f"check {message.id}", str(message.msg), str(message.hint or ""))
    if not messages:
        yield ok("checks", "no complaints")


def examine_sources() -> Iterator[Finding]:
    """Compare the host's rows with the resources made from them."""
    sources = registry.resources()
    if not sources:
        yield ok("sources", "none registered: resources come from imports, the admin or the API")
    for source in sources:
        kind = ContentType.objects.get_for_model(source.model, for_concrete_model=False)
        concrete = ContentType.objects.get_for_model(source.model)
        n_host = source.get_queryset().count()
        n_ours = Resource.objects.filter(content_type__in={kind.pk, concrete.pk}).count()
        name = f"source {source.name}"
        if n_host == n_ours:
            yield ok(name, f"{n_host:,} objects, all known")
        else:
            yield warn(name, f"{n_host:,} objects, {n_ours:,} resources", "Run manage.py llmrec_sync.")
    activities = registry.activities()
    if activities:
        yield ok("activity", f"read from {', '.join(source.name for source in activities)}")
    if sources and not router.db_for_write(Resource):
        yield fail("sources", "no database takes resources", "Look at DATABASE_ROUTERS.")


def examine_cache() -> Iterator[Finding]:
    backend = str(settings.CACHES.get("default", {}).get("BACKEND", ""))
    if backend.rsplit(".", 1)[-1] in PRIVATE_CACHES:
        yield warn(
            "cache",
            f"{backend} is private to each process: limits of the REST API count per process",
            "Use a shared cache (Redis, Memcached, database) where several processes serve.",
        )
    else:
        yield ok("cache", backend)
