"""How a host describes its own models to this app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from django.db.models import Model, QuerySet


class ResourceSource:
    """One host model whose rows are learning resources, in the manner of a ModelAdmin."""

    model: type[Model]
    """Set by `register`."""
    name: str = ""
    """Prefix of resource keys ("course" gives "course:42"); default: app_label.model_name."""
    kind: str = "course"
    fields: Mapping[str, str | Callable[[Any], Any]] = {"title": "title"}
    """Resource field → a path on the host's object ("author__name", "tags__name"), a method of this class, or a
    callable. Only what is named here is ever read, embedded or shown."""
    watch: Mapping[str, str] = {}
    """Related model ("app.Model") → path from its rows to the host's object: its saves refresh the resource."""

    def get_queryset(self) -> QuerySet[Any]:
        """Return the rows that may become resources; the base manager, so that no default manager hides any."""
        return self.model._base_manager.all()

    def is_recommendable(self, obj: Any) -> bool:
        """Return whether the resource may be shown at all (False unpublishes it)."""
        return True

    def visible_to(self, user: Any, queryset: QuerySet[Any]) -> QuerySet[Any] | None:
        """Narrow `queryset` (of the host's model) to rows that `user` (None: anonymous) may see; None: all."""
        return None

    def url(self, obj: Any) -> str:
        """Return the address of the host's page for `obj`."""
        return ""


class ActivitySource:
    """One host model whose rows say that a learner did something with a resource."""

    model: type[Model]
    verb: str = ""
    learner: str = "user"
    """Path to the account."""
    resource: str = ""
    """Path to an object of a registered resource model."""
    occurred_at: str = ""
    """Path to an aware datetime or a date; "" takes the time at which the row was first noticed."""
    value: str = ""
    """Path to a number: a rating on LLMREC["RATING_SCALE"], or progress in [0, 1]."""

    def get_queryset(self) -> QuerySet[Any]:
        return self.model._base_manager.all()

    def get_verb(self, obj: Any) -> str | None:
        """Return the verb of a row; None skips it."""
        return self.verb

    def get_occurred_at(self, obj: Any) -> datetime | None:
        raise NotImplementedError
