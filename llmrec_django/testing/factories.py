"""Rows for tests, made with factory-boy. Hosts may use them too; nothing else of this app imports factory-boy."""

# factory-boy's declarations carry no types.
# mypy: disable-error-code="no-untyped-call,attr-defined"

from __future__ import annotations

from typing import Any

import factory
from django.contrib.auth import get_user_model
from django.utils import timezone
from factory.django import DjangoModelFactory

from llmrec_django.models import Interaction, LearnerProfile, Resource


class ResourceFactory(DjangoModelFactory):
    """A published course with a title of its own."""

    class Meta:
        model = Resource

    key = factory.Sequence(lambda number: f"course:{number}")
    title = factory.Sequence(lambda number: f"Course number {number}")
    kind = "course"
    language = "en"


class LearnerProfileFactory(DjangoModelFactory):
    """A visitor; `LearnerProfileFactory(user=account)` makes the profile of an account."""

    class Meta:
        model = LearnerProfile

    visitor_key = factory.Maybe(
        "user", yes_declaration=None, no_declaration=factory.Sequence(lambda number: f"visitor-{number}")
    )
    user = None


class InteractionFactory(DjangoModelFactory):
    """A new visitor has viewed a new resource just now; tenants of the three agree."""

    class Meta:
        model = Interaction

    tenant = "default"
    learner = factory.SubFactory(LearnerProfileFactory, tenant=factory.SelfAttribute("..tenant"))
    resource = factory.SubFactory(ResourceFactory, tenant=factory.SelfAttribute("..tenant"))
    verb = "viewed"
    occurred_at = factory.LazyFunction(timezone.now)
    event_id = factory.Sequence(lambda number: f"event-{number}")


def make_account(name: str = "learner", **values: Any) -> Any:
    """Return an account of the host's user model, whatever its name field is called."""
    model: Any = get_user_model()
    return model._default_manager.create(**{model.USERNAME_FIELD: name, **values})
