"""System checks of what hosts registered. No query is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.apps import apps
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004

from llmrec_django.conf import conf, verb_named
from llmrec_django.sources.base import ActivitySource
from llmrec_django.sources.mapping import COLUMNS
from llmrec_django.sources.paths import PathError, check_path

if TYPE_CHECKING:
    from llmrec_django.sources.base import ResourceSource, Source
    from llmrec_django.sources.registry import Registry

MAX_ACTIVITY_NAME = 64
MAX_RESOURCE_NAME = 100
TRANSLATABLE = ("title", "description")


def check_resource_source(source: ResourceSource, registry: Registry) -> list[CheckMessage]:
    """Return messages about fields, paths, watched models and inheritance."""
    messages = _check_fields(source) + _check_paths(source) + _check_watch(source)
    if len(source.name) > MAX_RESOURCE_NAME or ":" in source.name:
        messages.append(
            Error(
                f"{source!r} has an unusable name.",
                hint=f"Choose at most {MAX_RESOURCE_NAME} characters without a colon.",
                obj=source.model,
                id="llmrec_django.E101",
            )
        )
    for other in registry.resources():
        if other is not source and issubclass(source.model, other.model):
            messages.append(
                Warning(
                    f"{source.model._meta.label} and its parent {other.model._meta.label} are both resources: one row "
                    "becomes two resources.",
                    hint=f"Leave these rows out in get_queryset() of {other!r}, or register one of the models.",
                    obj=source.model,
                    id="llmrec_django.W101",
                )
            )
    return messages


def check_activity_source(source: ActivitySource, registry: Registry) -> list[CheckMessage]:
    """Return messages about the verb, the paths and where they lead."""
    messages = _check_paths(source)
    overrides_verb = type(source).get_verb is not ActivitySource.get_verb
    if verb_named(source.verb) is None and not (overrides_verb and not source.verb):
        messages.append(
            Error(
                f"{source!r} has the unknown verb {source.verb!r}.",
                hint=f"Use one of: {', '.join(sorted(conf.VERBS))}, or add it to LLMREC['VERBS'].",
                obj=source.model,
                id="llmrec_django.E105",
            )
        )
    if len(source.name) > MAX_ACTIVITY_NAME:
        messages.append(
            Error(
                f"{source!r} has a name of more than {MAX_ACTIVITY_NAME} characters.",
                hint="Give the class a shorter `name`.",
                obj=source.model,
                id="llmrec_django.E101",
            )
        )
    if not source.resource and type(source).get_resource is ActivitySource.get_resource:
        messages.append(
            Error(
                f"{source!r} does not say which resource a row is about.",
                hint="Set `resource` to the path from a row to an object of a registered model.",
                obj=source.model,
                id="llmrec_django.E106",
            )
        )
    if not registry.resources():
        messages.append(
            Warning(
                f"{source!r} is registered, but no resource model is.",
                hint="Register the model that its `resource` leads to.",
                obj=source.model,
                id="llmrec_django.W102",
            )
        )
    return messages


def _check_fields(source: ResourceSource) -> list[CheckMessage]:
    messages: list[CheckMessage] = []
    for field, spec in source.fields.items():
        if field not in COLUMNS:
            messages.append(
                Error(
                    f"{source!r} fills the unknown field {field!r}.",
                    hint=f"Use one of: {', '.join(sorted(COLUMNS))}.",
                    obj=source.model,
                    id="llmrec_django.E102",
                )
            )
        elif isinstance(spec, dict) and field not in ("translations", "extra"):
            messages.append(
                Error(
                    f"{source!r} gives a mapping for {field!r}.",
                    hint="Only `translations` and `extra` take mappings.",
                    obj=source.model,
                    id="llmrec_django.E102",
                )
            )
    if "title" not in source.fields:
        messages.append(
            Error(
                f"{source!r} does not say where the title comes from.",
                hint='Add "title" to `fields`.',
                obj=source.model,
                id="llmrec_django.E103",
            )
        )
    return messages


def _check_paths(source: Source) -> list[CheckMessage]:
    messages: list[CheckMessage] = []
    for option, path in source.paths():
        try:
            check_path(source.model, path)
        except PathError as exc:
            messages.append(
                Error(
                    f"{source!r}: {option} = {path!r} leads nowhere: {exc}.",
                    hint="Correct the path, or name a method of the source.",
                    obj=source.model,
                    id="llmrec_django.E104",
                )
            )
    return messages


def _check_watch(source: ResourceSource) -> list[CheckMessage]:
    messages: list[CheckMessage] = []
    for label, path in source.watch.items():
        try:
            check_path(apps.get_model(label), path)
        except (LookupError, ValueError, PathError) as exc:
            messages.append(
                Error(
                    f"{source!r}: watch[{label!r}] = {path!r} leads nowhere: {exc}.",
                    hint='Write {"app.Model": "path from its rows to the object"}.',
                    obj=source.model,
                    id="llmrec_django.E107",
                )
            )
    return messages
