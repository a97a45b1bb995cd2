"""What every table of this app shares: where it may live and how it points at the host's tables."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import connections, models, router


def is_supported(using: str) -> bool:
    """Return whether this app's tables exist on the database alias `using` (PostgreSQL only)."""
    return connections[using].vendor == "postgresql"


class LLMRecQuerySet(models.QuerySet):
    """Base of this app's querysets."""


class LLMRecManager(models.Manager):
    """Reads nothing where the tables cannot exist.

    A host's developers and CI may run on SQLite. There the migrations make no tables, and every read through this
    manager (dumpdata, admin, our own services) finds nothing instead of failing.
    """

    def get_queryset(self) -> models.QuerySet[Any]:
        queryset = super().get_queryset()
        return queryset if is_supported(queryset.db) else queryset.none()


def cascade(collector: Any, field: Any, sub_objs: Any, using: str) -> None:
    """Delete our rows with the host's row they belong to, where both are in one PostgreSQL database.

    Plain CASCADE would query a table that a SQLite host does not have, or look in the host's database for tables
    that live in another one (there a receiver deletes the rows).
    """
    if is_supported(using) and router.db_for_write(field.model) == using and sub_objs:
        models.CASCADE(collector, field, sub_objs, using)


cascade.lazy_sub_objs = True  # type: ignore[attr-defined]  # Django must not evaluate sub_objs before asking us.


def host_foreign_key(to: str, **options: Any) -> models.ForeignKey[Any, Any]:
    """Return a foreign key to a table of the host.

    With `LLMREC["DATABASE"]` set the two tables live in different databases, so the database cannot hold a
    constraint. Read from the settings directly: models and migrations must agree and both load before `conf`.
    """
    separate = bool((getattr(settings, "LLMREC", None) or {}).get("DATABASE"))
    return models.ForeignKey(to, on_delete=cascade, db_constraint=not separate, **options)


class LLMRecModel(models.Model):
    """Base of this app's models; each has an `objects` made from `LLMRecManager`."""

    class Meta:
        abstract = True
        # CreateModel, AddField … do nothing on other databases, and checks skip them.
        required_db_vendor = "postgresql"
