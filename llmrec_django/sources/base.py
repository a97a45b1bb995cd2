"""How a host describes its own models to this app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import Model, QuerySet

from llmrec_django.conf import resolve_tenant
from llmrec_django.sources.paths import prefetch_lookup, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import date


class Source:
    """What resource and activity sources share."""

    model: type[Model]
    """Set when the source is registered."""
    name: str = ""
    """Set when the source is registered, unless the class names it."""

    def __init__(self, model: type[Model]) -> None:
        self.model = model
        self.name = self.name or model._meta.label_lower

    def get_queryset(self) -> QuerySet[Any]:
        """Return the rows to read; the base manager, so that no default manager hides any."""
        return self.model._base_manager.all()

    def paths(self) -> Iterable[tuple[str, str]]:
        """Yield (option, path) of every path this source reads, for checks and prefetching."""
        return ()

    def prefetched(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return `queryset` with every relation loaded that a path crosses: no query a row."""
        lookups = {prefetch_lookup(self.model, path): None for _, path in self.paths()}
        return queryset.prefetch_related(*(lookup for lookup in lookups if lookup))

    def read(self, obj: Any, spec: str | Callable[[Any], Any]) -> Any:
        """Return what a path, the name of a method of this source, or a callable gives for `obj`."""
        if callable(spec):
            return spec(obj)
        method = self.method(spec)
        return method(obj) if method else resolve(obj, spec)

    def method(self, spec: Any) -> Callable[[Any], Any] | None:
        """Return the source's own method that `spec` names, if it names one."""
        # Only what the host's subclass adds: the path "url" means the host's column, unless url() is overridden.
        added = any(spec in vars(cls) for cls in type(self).__mro__ if cls.__module__ != __name__)
        found = getattr(self, spec) if added and isinstance(spec, str) else None
        return found if callable(found) else None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


class ResourceSource(Source):
    """One host model whose rows are learning resources, in the manner of a ModelAdmin."""

    name: str = ""
    """Prefix of resource keys ("course" gives "course:42"); default: app_label.model_name. Never change it later."""
    kind: str = "course"
    fields: Mapping[str, Any] = {"title": "title"}
    """Resource field → a path on the host's object ("author__name", "tags__name"), the name of a method of this
    class, or a callable. `translations` maps languages to such mappings:
    `{"zh-hans": {"title": "title_zh"}}`. Only what is named here is ever read, embedded or shown."""
    watch: Mapping[str, str] = {}
    """Related model ("app.Model") → path from its rows to the host's object: its saves refresh the resource.
    Reverse relations and many-to-many relations that a path in `fields` begins with are watched by themselves."""

    def is_recommendable(self, obj: Any) -> bool:
        """Return whether the resource may be shown at all (False unpublishes it and keeps its history)."""
        return True

    def visible_to(self, user: Any, queryset: QuerySet[Any]) -> QuerySet[Any] | None:
        """Narrow `queryset` (of the host's model) to rows that `user` (None: anonymous) may see; None: all."""
        return None

    def url(self, obj: Any) -> str:
        """Return the address of the host's page for `obj`: its `get_absolute_url()`, where there is one."""
        get_absolute_url = getattr(obj, "get_absolute_url", None)
        return str(get_absolute_url()) if callable(get_absolute_url) else ""

    def get_tenant(self, obj: Any) -> str:
        """Return the tenant that owns `obj`."""
        return resolve_tenant()

    def get_prerequisites(self, obj: Any) -> Iterable[Any]:
        """Return the host's objects to be done before `obj`, each alone or as (object, strength in [0, 1]).

        A source that defines this owns the prerequisites of its resources: those entered elsewhere are replaced.
        """
        return ()

    def get_competencies(self, obj: Any) -> Iterable[tuple[str, str, str, float]]:
        """Return (key, title, "teaches", "assesses" or "requires", strength in [0, 1]) of what `obj` is about.

        A source that defines this owns the competencies of its resources: those entered elsewhere are replaced.
        """
        return ()

    def paths(self) -> Iterable[tuple[str, str]]:
        for field, spec in _specs(self.fields):
            if isinstance(spec, str) and not self.method(spec):
                yield f"fields[{field!r}]", spec


class ActivitySource(Source):
    """One host model whose rows say that a learner did something with a resource.

    Every row becomes one interaction, follows the row's changes and goes with it. Register two sources with
    different verbs for a row that says two things (enrolled, and later completed). Instead of a path an option may
    name a method of the source; or override the `get_…` methods.
    """

    name: str = ""
    """Stored as the interaction's source; default: app_label.model_name, with ":verb" where `verb` is set."""
    verb: str = ""
    learner: str = "user"
    """Path to the account."""
    resource: str = ""
    """Path to an object of a registered resource model."""
    occurred_at: str = ""
    """Path to an aware datetime or a date; "" takes the time at which the row was first noticed."""
    value: str = ""
    """Path to a number: a rating on LLMREC["RATING_SCALE"], or a fraction in [0, 1]."""

    def __init__(self, model: type[Model]) -> None:
        is_named = bool(self.name)
        super().__init__(model)
        if not is_named and self.verb:
            self.name = f"{self.name}:{self.verb}"

    def get_verb(self, obj: Any) -> str | None:
        """Return the verb of a row; None: the row says nothing (any more)."""
        return self.verb or None

    def get_learner(self, obj: Any) -> Any:
        """Return the account behind a row; None skips it."""
        return self.read(obj, self.learner)

    def get_resource(self, obj: Any) -> Any:
        """Return the object of a registered resource model; None skips the row."""
        return self.read(obj, self.resource)

    def get_occurred_at(self, obj: Any) -> date | None:
        """Return when it happened (datetime or date); None: when the row was first noticed."""
        return self.read(obj, self.occurred_at) if self.occurred_at else None

    def get_value(self, obj: Any) -> Any:
        """Return the rating or progress, or None."""
        return self.read(obj, self.value) if self.value else None

    def paths(self) -> Iterable[tuple[str, str]]:
        for option in ("learner", "resource", "occurred_at", "value"):
            spec = getattr(self, option)
            if spec and not self.method(spec):
                yield option, spec


def _specs(fields: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """Yield (name, path or callable) of a mapping of fields, nested ones flattened."""
    for name, spec in fields.items():
        if isinstance(spec, dict):
            yield from ((f"{name}.{inner}", value) for inner, value in _specs(spec))
        else:
            yield name, spec
