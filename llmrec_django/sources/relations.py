"""Which other tables a resource source's text comes from, and how to get back from their rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation

from llmrec_django.sources.base import ResourceSource
from llmrec_django.sources.paths import parts, relation_named

if TYPE_CHECKING:
    from django.db.models import Model


@dataclass(frozen=True, slots=True)
class Watched:
    """Rows of `model` lead over `path` to the objects of the source."""

    model: type[Model]
    path: str


def watched(source: ResourceSource) -> list[Watched]:
    """Return the tables to watch: those the source names, and those its paths enter by a reverse relation."""
    found = [Watched(apps.get_model(label), path) for label, path in source.watch.items()]
    for relation in _first_relations(source):
        back = _way_back(relation)
        if back:
            found.append(Watched(relation.related_model, back))
    for field, is_reverse in m2m_fields(source):
        through = field.remote_field.through
        if not through._meta.auto_created:
            name = field.m2m_reverse_field_name() if is_reverse else field.m2m_field_name()
            found.append(Watched(through, name))
    return list(dict.fromkeys(found))


def m2m_fields(source: ResourceSource) -> list[tuple[Any, bool]]:
    """Return (field, whether the source's model is at its far end) of many-to-many relations that matter.

    Those that paths begin with; all of the model's own where the source names prerequisites or competencies,
    because what these hooks read cannot be known.
    """
    found = [
        (relation.field, True) if relation.auto_created else (relation, False)
        for relation in _first_relations(source)
        if relation.many_to_many and hasattr(relation, "remote_field")
    ]
    for hook in ("get_prerequisites", "get_competencies"):
        if getattr(type(source), hook) is not getattr(ResourceSource, hook):
            found += [(field, False) for field in source.model._meta.many_to_many]
    return list(dict.fromkeys(found))


def _way_back(relation: Any) -> str | None:
    """Return the step from a row at the far end of a reverse relation back to the source's object."""
    if isinstance(relation, GenericRelation):
        for field in relation.related_model._meta.private_fields:
            if isinstance(field, GenericForeignKey) and field.fk_field == relation.object_id_field_name:
                return str(field.name)
        return None
    if not relation.auto_created or relation.many_to_many or relation.field.remote_field.parent_link:
        return None  # A parent link is the other half of the same object; saving it is a save of the object.
    return str(relation.field.name)


def _first_relations(source: ResourceSource) -> list[Any]:
    names = dict.fromkeys(parts(path)[0] for _, path in source.paths())
    relations = (relation_named(source.model, name) for name in names)
    return [relation for relation in relations if relation is not None]
