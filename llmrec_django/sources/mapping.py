"""Turning a host's object into the columns of a `Resource`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils import translation

from llmrec_django.models import Resource
from llmrec_django.sources import values
from llmrec_django.sources.logs import warn_once

if TYPE_CHECKING:
    from llmrec_django.sources.base import ResourceSource

COLUMNS = {
    "title": values.text,
    "description": values.text,
    "body": values.text,
    "kind": values.text,
    "publisher": values.text,
    "license": values.text,
    "url": values.address,
    "image": values.address,
    "authors": values.names,
    "keywords": values.keywords,
    "language": values.language,
    "level": values.level,
    "duration_minutes": values.minutes,
    "published": values.flag,
    "available_from": values.moment,
    "available_until": values.end,
    "extra": values.json_object,
    "translations": values.translations,
}
"""Resource field → how a host's value becomes one of its own."""

MAX_KEY = 255


class UnusableRow(Exception):
    """A host's row cannot become a resource; the message says why."""


def resource_key(source: ResourceSource, pk: Any) -> str:
    """Return the stable key of a host's row; a very long one ends in a digest."""
    key = f"{source.name}:{pk}"
    if len(key) <= MAX_KEY:
        return key
    digest = hashlib.sha256(key.encode()).hexdigest()[:32]
    return f"{key[: MAX_KEY - 33]}~{digest}"


def resource_values(source: ResourceSource, obj: Any) -> dict[str, Any]:
    """Return the columns of the resource that stands for `obj`, with its `tenant`, `key` and `object_id`.

    Reads in the site's default language, so that lazy texts and translated addresses do not depend on who saved.

    Raises:
        UnusableRow: the primary key cannot be stored. Whatever the source itself raises passes through.
    """
    object_id = str(obj.pk)
    if obj.pk is None or "\x00" in object_id or len(object_id) > MAX_KEY:
        raise UnusableRow(
            f"Cannot name a resource after primary key {object_id[:40]!r}. It must be set and at most {MAX_KEY} "
            "characters. Leave the row out in get_queryset()."
        )
    with translation.override(settings.LANGUAGE_CODE):
        columns: dict[str, Any] = {"kind": source.kind}
        for field, spec in source.fields.items():
            columns[field] = COLUMNS[field](_read(source, obj, spec))
        if "url" not in source.fields:
            columns["url"] = values.address(source.url(obj))
        columns["kind"] = columns["kind"] or source.kind
        columns["published"] = columns.get("published", True) and bool(source.is_recommendable(obj))
    _order_dates(source, columns)
    _cut(source, columns)
    return {"tenant": source.get_tenant(obj), "key": resource_key(source, obj.pk), "object_id": object_id, **columns}


def _read(source: ResourceSource, obj: Any, spec: Any) -> Any:
    if isinstance(spec, Mapping):
        return {name: _read(source, obj, inner) for name, inner in spec.items()}
    return source.read(obj, spec)


def _order_dates(source: ResourceSource, columns: dict[str, Any]) -> None:
    start, end = columns.get("available_from"), columns.get("available_until")
    if start and end and end <= start:
        # Never available: the table refuses such a pair, and showing it would be wrong.
        warn_once(f"{source!r}: rows that end before they start are not published.")
        columns["available_until"] = None
        columns["published"] = False


def _cut(source: ResourceSource, columns: dict[str, Any]) -> None:
    for name, value in columns.items():
        limit = getattr(Resource._meta.get_field(name), "max_length", None)
        if limit and isinstance(value, str) and len(value) > limit:
            warn_once(f"{source!r}: {name} is cut at {limit} characters.")
            # Half an address leads nowhere.
            columns[name] = "" if name in ("url", "image") else value[:limit]
