"""Contract tests for a host's own resource sources.

from llmrec_django.testing.sources import SourceContract

@pytest.mark.django_db
class TestCourseSource(SourceContract):
    model = Course

    def make_object(self):
        return Course.objects.create(title="Algebra")
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import QuerySet

from llmrec_django.sources import ResourceSource, registry
from llmrec_django.sources.checking import check_resource_source
from llmrec_django.sources.mapping import resource_values

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import Model


class SourceContract:
    """What every registered resource source must hold; derive a test class from it and fill in two things."""

    model: type[Model]
    """The registered model."""

    def make_object(self) -> Any:
        """Return a saved object that may be recommended; override it, or load rows in a fixture."""
        raise NotImplementedError("Define make_object(), or override objects().")

    def objects(self) -> Iterable[Any]:
        """Return the rows to look at; there must be at least one."""
        self.make_object()
        return self.source.get_queryset()[:200]

    @property
    def source(self) -> ResourceSource:
        source = registry.source_for(self.model)
        assert source is not None, f"{self.model._meta.label} is not registered."
        return source

    def test_the_declaration_is_sound(self) -> None:
        messages = check_resource_source(self.source, registry)
        assert not messages, messages

    def test_every_row_maps_and_has_a_title(self) -> None:
        objects = list(self.objects())
        assert objects, "There is no row to look at."
        for obj in objects:
            values = resource_values(self.source, obj)
            assert values["title"], f"{obj!r} has no title."

    def test_keys_are_stable_and_distinct(self) -> None:
        objects = list(self.objects())
        again = {obj.pk: obj for obj in self.source.get_queryset().filter(pk__in=[obj.pk for obj in objects])}
        keys = {}
        for obj in objects:
            first, second = resource_values(self.source, obj), resource_values(self.source, again[obj.pk])
            # Read twice, a row says the same; otherwise every sync would rewrite and embed it again.
            assert first == second, f"{obj!r} says something else when it is read again."
            keys[first["tenant"], first["key"]] = obj.pk
        assert len(keys) == len({obj.pk for obj in objects})

    def test_values_can_be_stored(self) -> None:
        for obj in self.objects():
            json.dumps(resource_values(self.source, obj), cls=DjangoJSONEncoder)

    def test_the_address_is_text(self) -> None:
        for obj in self.objects():
            assert isinstance(self.source.url(obj), str)

    def test_visible_to_narrows_the_queryset_it_is_given(self) -> None:
        objects = list(self.objects())
        rows = self.source.get_queryset().filter(pk__in=[obj.pk for obj in objects])
        for user in (None, self._account()):
            visible = self.source.visible_to(user, rows)
            if visible is None:
                continue
            assert isinstance(visible, QuerySet), f"visible_to({user!r}) gave {visible!r}, not a queryset."
            assert issubclass(visible.model, self.model)
            assert set(visible.values_list("pk", flat=True)) <= {obj.pk for obj in objects}

    def _account(self) -> Any:
        model: Any = get_user_model()
        return model._base_manager.first()
