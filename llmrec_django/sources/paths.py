"""Following a path such as `run__course` or `lessons.text` from a host's object, and knowing what it crosses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from django.core.exceptions import FieldDoesNotExist, ObjectDoesNotExist
from django.db.models import Manager, Model, QuerySet


class PathError(Exception):
    """A path does not exist on the model; the message names the step."""


def parts(path: str) -> list[str]:
    """Split a path at `__` or `.`."""
    return path.replace("__", ".").split(".")


def resolve(obj: Any, path: str) -> Any:
    """Return what `path` leads to from `obj`.

    Follows foreign keys, reverse and many-to-many relations (the result is then a list), properties, methods
    without arguments and keys of JSON values. A missing link anywhere gives None; `""` gives `obj` itself.

    Raises:
        PathError: a step does not exist.
    """
    value = obj
    for name in parts(path) if path else []:
        if isinstance(value, list):
            value = _flat(_step(item, name) for item in value if item is not None)
        else:
            value = _step(value, name)
    return value


def _flat(values: Iterable[Any]) -> list[Any]:
    result: list[Any] = []
    for value in values:
        result.extend(value) if isinstance(value, list) else result.append(value)
    return [value for value in result if value is not None]


def _step(value: Any, name: str) -> Any:
    if value is None:
        return None
    if isinstance(value, Mapping):
        found = value.get(name)
    else:
        attribute = accessor(type(value), name) if isinstance(value, Model) else name
        try:
            found = getattr(value, attribute)
        except ObjectDoesNotExist:
            return None
        except AttributeError as exc:
            if hasattr(type(value), attribute):
                raise  # A property failed inside; that is not a wrong path.
            raise PathError(f"{type(value).__name__} has no {name!r}") from exc
    if isinstance(found, Manager | QuerySet):
        return list(found.all())
    if callable(found) and not isinstance(found, type):
        if getattr(found, "alters_data", False):
            raise PathError(f"{type(value).__name__}.{name} changes data and is not called")
        found = found()
        if isinstance(found, Manager | QuerySet):
            return list(found.all())
    return list(found) if isinstance(found, tuple | set | frozenset) else found


@cache
def accessor(model: type[Model], name: str) -> str:
    """Return the attribute for a step: the name itself, or `lesson_set` for a reverse relation named as in queries."""
    if hasattr(model, name):
        return name
    relation = relation_named(model, name)
    found = getattr(relation, "get_accessor_name", lambda: None)()
    return str(found) if found else name


def relation_named(model: type[Model], name: str) -> Any:
    """Return the relation (field or reverse relation) that a step crosses, or None."""
    for relation in model._meta.related_objects:
        if name in (relation.get_accessor_name(), relation.name):
            return relation
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:
        return None
    return field if field.is_relation else None


def prefetch_lookup(model: type[Model], path: str) -> str | None:
    """Return the argument of `prefetch_related` that loads every relation `path` crosses, or None."""
    crossed: list[str] = []
    for name in parts(path) if path else []:
        relation = relation_named(model, name)
        if relation is None:
            break
        crossed.append(accessor(model, name))
        if relation.related_model is None:  # A generic foreign key: its rows are of many models.
            break
        model = relation.related_model
    return "__".join(crossed) or None


def check_path(model: type[Model], path: str) -> None:
    """Raise PathError when a step cannot exist, as far as the models can tell without an object."""
    for name in parts(path) if path else []:
        relation = relation_named(model, name)
        if relation is None:
            if not hasattr(model, name) and not _is_concrete(model, name):
                raise PathError(f"{model._meta.label} has no {name!r}")
            return  # A value, a property or a method: what lies behind it is known at run time only.
        if relation.related_model is None:
            return
        model = relation.related_model


def _is_concrete(model: type[Model], name: str) -> bool:
    return any(name in (field.name, field.attname) for field in model._meta.concrete_fields)
