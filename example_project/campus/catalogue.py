"""Finding materials: lists with filters, search, and the way back from a recommendation to the campus's own rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import Q
from django.shortcuts import get_object_or_404

from example_project.campus.models import Book, Course, Language, Level, Paper, Subject

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.http import QueryDict

MATERIALS = {"course": Course, "book": Book, "paper": Paper}


def get_material(kind: str, key: str) -> Any:
    """Return a published material, or raise Http404."""
    return get_object_or_404(MATERIALS[kind].objects.prefetch_related("subjects"), key=key)


def filters_of(query: QueryDict) -> dict[str, str]:
    """Return the filters that an address asks for; values that mean nothing are dropped."""
    allowed = {
        "kind": MATERIALS,
        "level": Level.values,
        "language": Language.values,
        "subject": set(Subject.objects.values_list("key", flat=True)),
    }
    return {name: query[name] for name, values in allowed.items() if query.get(name) in values}


def browse(filters: dict[str, str]) -> list[Any]:
    """Return all materials that pass the filters, by title."""
    conditions = Q()
    if "level" in filters:
        conditions &= Q(level=filters["level"])
    if "language" in filters:
        conditions &= Q(language=filters["language"])
    if "subject" in filters:
        conditions &= Q(subjects__key=filters["subject"])
    kinds = [filters["kind"]] if "kind" in filters else MATERIALS
    found = [
        material
        for kind in kinds
        for material in MATERIALS[kind].objects.filter(conditions).prefetch_related("subjects")
    ]
    return sorted(found, key=lambda material: material.title.casefold())


def search(words: str, filters: dict[str, str], user: Any, limit: int = 24) -> list[Any]:
    """Return materials that match by words or by meaning, best first."""
    from llmrec_django import api

    found = api.search(
        words,
        # Level and subject are the campus's own filters, applied after: ask for enough to fill the page.
        k=limit * 4,
        user=user,
        kinds=[filters["kind"]] if "kind" in filters else [],
        languages=[filters["language"]] if "language" in filters else [],
    )
    materials = materials_of(item.resource for item in found)
    return [
        material
        for material in materials
        if filters.get("level", material.level) == material.level
        and ("subject" not in filters or filters["subject"] in {subject.key for subject in material.subjects.all()})
    ][:limit]


def materials_of(resources: Iterable[Any]) -> list[Any]:
    """Return the campus's rows behind resources, in their order, in one query a kind."""
    resources = list(resources)
    found: dict[tuple[str, str], Any] = {}
    for kind, model in MATERIALS.items():
        ids = [resource.object_id for resource in resources if resource.kind == kind and resource.object_id]
        if ids:
            for material in model.objects.filter(pk__in=ids).prefetch_related("subjects"):
                found[kind, str(material.pk)] = material
    return [found[pair] for resource in resources if (pair := (resource.kind, resource.object_id)) in found]
