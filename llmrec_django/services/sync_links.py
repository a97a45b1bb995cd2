"""Prerequisites and competencies that a source names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.contenttypes.models import ContentType
from django.db import router, transaction

from llmrec_django.models import Competency, Prerequisite, Resource, ResourceCompetency
from llmrec_django.sources import ResourceSource, registry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Link = tuple[Any, ...]


def sync_links(
    source: ResourceSource, objects: Sequence[Any], *, on_error: Callable[[Any, str], None] | None = None
) -> int:
    """Make the links of these host objects' resources equal to what the source says; return rows changed.

    Only for hooks that the source defines. Links to objects without a resource (yet) are left out.

    Raises:
        Exception: whatever a hook raises, unless `on_error(pk, words)` is given.
    """
    wants_prerequisites = _defines(source, "get_prerequisites")
    wants_competencies = _defines(source, "get_competencies")
    if not objects or not (wants_prerequisites or wants_competencies):
        return 0
    prerequisites: dict[str, dict[tuple[int, str], float]] = {}
    competencies: dict[str, dict[tuple[str, str, str], float]] = {}
    for obj in objects:
        try:
            if wants_prerequisites:
                prerequisites[str(obj.pk)] = _prerequisites(source, obj)
            if wants_competencies:
                competencies[str(obj.pk)] = _competencies(source, obj)
        except Exception as exc:
            if on_error is None:
                raise
            on_error(obj.pk, f"{type(exc).__name__}: {exc}")
    using = router.db_for_write(Resource)
    with transaction.atomic(using=using, savepoint=False):
        rows = {
            row.object_id: row
            for row in Resource.objects.using(using)
            .filter(
                content_type_id=ContentType.objects.get_for_model(source.model).pk,
                object_id__in=[str(obj.pk) for obj in objects],
            )
            .only("id", "tenant", "object_id")
        }
        changed = _save_prerequisites(rows, prerequisites, using)
        return changed + _save_competencies(rows, competencies, using)


def _defines(source: ResourceSource, hook: str) -> bool:
    return getattr(type(source), hook) is not getattr(ResourceSource, hook)


def _prerequisites(source: ResourceSource, obj: Any) -> dict[tuple[int, str], float]:
    """Return {(content type id, object id): strength}."""
    wanted = {}
    for entry in source.get_prerequisites(obj):
        required, strength = entry if isinstance(entry, tuple) else (entry, 1.0)
        required_source = registry.source_for(required)
        if required_source is not None and required.pk is not None:
            content_type = ContentType.objects.get_for_model(required_source.model)
            wanted[(content_type.pk, str(required.pk))] = _strength(strength)
    return wanted


def _competencies(source: ResourceSource, obj: Any) -> dict[tuple[str, str, str], float]:
    """Return {(key, title, relation): strength}."""
    wanted = {}
    for key, title, relation, strength in source.get_competencies(obj):
        if relation not in ResourceCompetency.Relation.values:
            raise ValueError(
                f"Cannot link competency {key!r} by {relation!r}. It must be one of: "
                f"{', '.join(ResourceCompetency.Relation.values)}. Correct get_competencies()."
            )
        wanted[(str(key)[:255], str(title or key)[:500], relation)] = _strength(strength)
    return wanted


def _strength(value: Any) -> float:
    strength = float(value)
    if not 0 <= strength <= 1:
        raise ValueError(f"Cannot use strength {value!r}. It must be in [0, 1]. Correct it in the source.")
    return strength


def _save_prerequisites(rows: dict[str, Resource], wanted: dict[str, dict[tuple[int, str], float]], using: str) -> int:
    identities = {identity for links in wanted.values() for identity in links}
    required = {
        (row.content_type_id, row.object_id): row
        for row in Resource.objects.using(using)
        .filter(
            content_type_id__in={content_type for content_type, _ in identities},
            object_id__in={object_id for _, object_id in identities},
        )
        .only("id", "tenant", "content_type_id", "object_id")
    }
    links: dict[Link, float] = {}
    for object_id, entries in wanted.items():
        row = rows.get(object_id)
        for identity, strength in entries.items():
            other = required.get(identity)
            if row and other and other.pk != row.pk and other.tenant == row.tenant:
                links[(row.pk, other.pk)] = strength
    owners = [rows[object_id].pk for object_id in wanted if object_id in rows]
    return _replace(Prerequisite, ("resource_id", "requires_id"), owners, links, using)


def _save_competencies(
    rows: dict[str, Resource], wanted: dict[str, dict[tuple[str, str, str], float]], using: str
) -> int:
    entries = [
        (rows[object_id], link, strength)
        for object_id, links in wanted.items()
        if object_id in rows
        for link, strength in links.items()
    ]
    titles = {(row.tenant, key): title for row, (key, title, _), _ in entries}
    competencies = Competency.objects.using(using)
    competencies.bulk_create(
        [Competency(tenant=tenant, key=key, title=title) for (tenant, key), title in titles.items()],
        ignore_conflicts=True,  # A title that an editor improved stays.
    )
    ids = {
        (row.tenant, row.key): row.pk
        for row in competencies.filter(
            tenant__in={tenant for tenant, _ in titles}, key__in={key for _, key in titles}
        ).only("id", "tenant", "key")
    }
    links: dict[Link, float] = {
        (row.pk, ids[(row.tenant, key)], relation): strength for row, (key, _, relation), strength in entries
    }
    owners = [rows[object_id].pk for object_id in wanted if object_id in rows]
    return _replace(ResourceCompetency, ("resource_id", "competency_id", "relation"), owners, links, using)


def _replace(model: Any, identity: tuple[str, ...], owners: list[int], wanted: dict[Link, float], using: str) -> int:
    """Make the rows of `owners` equal to `wanted`, touching only what differs."""
    if not owners:
        return 0
    stored = {
        tuple(getattr(row, name) for name in identity): row
        for row in model.objects.using(using).filter(resource_id__in=owners)
    }
    gone = [row.pk for link, row in stored.items() if link not in wanted]
    moved = [row for link, row in stored.items() if link in wanted and row.strength != wanted[link]]
    for row in moved:
        row.strength = wanted[tuple(getattr(row, name) for name in identity)]
    new = [
        model(**dict(zip(identity, link, strict=True)), strength=strength)
        for link, strength in wanted.items()
        if link not in stored
    ]
    manager = model.objects.using(using)
    if gone:
        manager.filter(pk__in=gone).delete()
    if moved:
        manager.bulk_update(moved, ["strength"], batch_size=100)
    if new:
        manager.bulk_create(new, ignore_conflicts=True)
    return len(gone) + len(moved) + len(new)
