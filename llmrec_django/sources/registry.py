"""Which host models are resources and activity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from django.apps import apps

from llmrec_django.conf import LLMRecConfigurationError
from llmrec_django.sources.base import ActivitySource, ResourceSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from django.core.checks import CheckMessage
    from django.db.models import Model

    from llmrec_django.sources.base import Source

ModelOrLabel = "type[Model] | str"
S = TypeVar("S", bound="type[Source]")


class AlreadyRegistered(LLMRecConfigurationError):
    """A model or a source name is registered twice."""


class NotRegistered(LLMRecConfigurationError):
    """A model or a source name is not registered."""


class Registry:
    """Resource sources by model, activity sources by name; empty until the host's `llmrec.py` modules are read."""

    def __init__(self) -> None:
        self._resources: dict[type[Model], ResourceSource] = {}
        self._activities: dict[str, ActivitySource] = {}
        self._listeners: list[Callable[[Source], None]] = []

    # Registering

    def add_resources(self, source: ResourceSource, *, replace: bool = False) -> None:
        """Register a resource source.

        Raises:
            AlreadyRegistered: its model, a proxy of it, or its name has one, and `replace` is False.
        """
        clashes = [
            model
            for model, known in self._resources.items()
            if _concrete(model) is _concrete(source.model) or known.name == source.name
        ]
        if clashes and not replace:
            known = self._resources[clashes[0]]
            raise AlreadyRegistered(
                f"Cannot register {source!r} for {source.model._meta.label}. {known!r} already stands for "
                f"{known.model._meta.label}. Use another model and name, or replace=True."
            )
        for model in clashes:
            del self._resources[model]
        self._resources[source.model] = source
        self._announce(source)

    def add_activity(self, source: ActivitySource, *, replace: bool = False) -> None:
        """Register an activity source.

        Raises:
            AlreadyRegistered: its name is taken, and `replace` is False.
        """
        known = self._activities.get(source.name)
        if known is not None and not replace:
            raise AlreadyRegistered(
                f"Cannot register {source!r} for {source.model._meta.label}. {known!r} already stands for "
                f"{known.model._meta.label}. Give the class another `name`, or use replace=True."
            )
        self._activities[source.name] = source
        self._announce(source)

    def unregister(self, model: type[Model] | str) -> None:
        """Forget the resource source and the activity sources of a model (for tests, and for hosts of hosts).

        Raises:
            NotRegistered: the model has none.
        """
        model = _model(model)
        activities = [name for name, source in self._activities.items() if source.model is model]
        if self._resources.pop(model, None) is None and not activities:
            raise NotRegistered(f"Cannot unregister {model._meta.label}. It is not registered. Register it first.")
        for name in activities:
            del self._activities[name]

    def subscribe(self, listener: Callable[[Source], None]) -> None:
        """Call `listener` with every source there is and will be."""
        if listener not in self._listeners:
            self._listeners.append(listener)
        for source in [*self.resources(), *self.activities()]:
            listener(source)

    def _announce(self, source: Source) -> None:
        for listener in self._listeners:
            listener(source)

    # Looking up

    def resources(self) -> list[ResourceSource]:
        return list(self._resources.values())

    def activities(self) -> list[ActivitySource]:
        return list(self._activities.values())

    def named(self, name: str) -> ResourceSource | ActivitySource:
        """Return the source with this name.

        Raises:
            NotRegistered: there is none; the message lists the names.
        """
        names: dict[str, ResourceSource | ActivitySource] = {s.name: s for s in self.resources()}
        names.update(self._activities)
        if name not in names:
            raise NotRegistered(f"Unknown source {name!r}, must be one of: {', '.join(sorted(names)) or 'none yet'}.")
        return names[name]

    def source_for(self, model: Any) -> ResourceSource | None:
        """Return the resource source of a model (or an object): its own, a proxy's or its nearest ancestor's."""
        model = model if isinstance(model, type) else type(model)
        if not hasattr(model, "_meta"):
            return None
        for ancestor in _concrete(model).__mro__:
            for registered, source in self._resources.items():
                if _concrete(registered) is ancestor:
                    return source
        return None

    def resources_touched_by(self, model: type[Model]) -> list[ResourceSource]:
        """Return the sources whose rows a save of `model` can change.

        With multi-table inheritance a row has several classes: saving a child changes its parent's columns, and
        saving the parent changes what the child shows. Proxies share the rows of their model.
        """
        return [source for source in self._resources.values() if _share_rows(source.model, model)]

    def activities_touched_by(self, model: type[Model]) -> list[ActivitySource]:
        """Return the activity sources whose rows a save of `model` can change."""
        return [source for source in self._activities.values() if _share_rows(source.model, model)]

    def check(self) -> list[CheckMessage]:
        """Return system check messages about every source (no query is made)."""
        from llmrec_django.sources.checking import check_activity_source, check_resource_source

        messages: list[CheckMessage] = []
        for resource in self.resources():
            messages += check_resource_source(resource, self)
        for activity in self.activities():
            messages += check_activity_source(activity, self)
        return messages


registry = Registry()


def register(*models: type[Model] | str, replace: bool = False) -> Callable[[S], S]:
    """Class decorator: the decorated `ResourceSource` describes the rows of each model ("app.Model" or a class).

    Raises:
        AlreadyRegistered: a model has a source, and `replace` is False.
    """

    def decorate(source_class: S) -> S:
        for model in _given(models, source_class, ResourceSource):
            registry.add_resources(source_class(model), replace=replace)  # type: ignore[arg-type]
        return source_class

    return decorate


def register_activity(*models: type[Model] | str, replace: bool = False) -> Callable[[S], S]:
    """Class decorator: the decorated `ActivitySource` turns the rows of each model into interactions.

    Raises:
        AlreadyRegistered: a source of this name exists, and `replace` is False.
    """

    def decorate(source_class: S) -> S:
        for model in _given(models, source_class, ActivitySource):
            registry.add_activity(source_class(model), replace=replace)  # type: ignore[arg-type]
        return source_class

    return decorate


def _given(models: Iterable[type[Model] | str], source_class: Any, base: type[Source]) -> list[type[Model]]:
    if not (isinstance(source_class, type) and issubclass(source_class, base)):
        raise LLMRecConfigurationError(
            f"Cannot register {source_class!r}. It is not a subclass of {base.__name__}. Derive it from that class."
        )
    found = [_model(model) for model in models]
    if not found:
        raise LLMRecConfigurationError(
            f"Cannot register {source_class.__name__}. No model was given. Write @register(Model)."
        )
    return found


def _model(model: type[Model] | str) -> type[Model]:
    found = apps.get_model(model) if isinstance(model, str) else model
    if not hasattr(found, "_meta") or found._meta.abstract:
        raise LLMRecConfigurationError(
            f"Cannot register {model!r}. It is not a concrete model. Register the models derived from it."
        )
    return found


def _concrete(model: type[Model]) -> type[Model]:
    return model._meta.concrete_model or model


def _share_rows(first: type[Model], second: type[Model]) -> bool:
    one, other = _concrete(first), _concrete(second)
    return issubclass(one, other) or issubclass(other, one)
