"""Sending this app's tables to a database of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import router

from llmrec_django.conf import conf

if TYPE_CHECKING:
    from collections.abc import Callable

APP_LABEL = "llmrec_django"


class LLMRecRouter:
    """Reads, writes and migrates this app's tables on LLMREC["DATABASE"]; says nothing about other apps.

    Without that setting it says nothing at all, so it may stay in DATABASE_ROUTERS.
    """

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return self._alias_for(model, hints, router.db_for_read)

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        return self._alias_for(model, hints, router.db_for_write)

    def allow_relation(self, one: Any, other: Any, **hints: Any) -> bool | None:
        """Let our rows name rows of the host by their key; the foreign keys have no database constraint then."""
        labels = {one._meta.app_label, other._meta.app_label}
        return True if self._alias() and APP_LABEL in labels else None

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        alias = self._alias()
        if alias is None or app_label != APP_LABEL:
            return None
        return db == alias

    def _alias_for(self, model: Any, hints: dict[str, Any], ask: Callable[[Any], str]) -> str | None:
        alias = self._alias()
        if alias is None:
            return None
        if model._meta.app_label == APP_LABEL:
            return alias
        instance = hints.get("instance")
        if instance is not None and instance._meta.app_label == APP_LABEL:
            # `learner.user`: Django would look in the learner's own database, where no accounts are.
            return ask(model)
        return None

    def _alias(self) -> str | None:
        alias: str | None = conf.DATABASE
        return alias
