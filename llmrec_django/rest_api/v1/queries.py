"""Query parameters: validated once, described to OpenAPI. Unknown parameters are ignored."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from llmrec_django.models import Resource

MAX_ITEMS = 100
_LARGEST_ID = 2**63 - 1


class NameListField(serializers.ListField):
    """A parameter that may be given several times: `?kind=course&kind=book`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(child=serializers.CharField(max_length=35), required=False, max_length=20, **options)


class FilterQuery(serializers.Serializer):
    kind = NameListField(help_text="Only these kinds (course, lesson, book …); repeat the parameter for several.")
    language = NameListField(help_text="Only these languages; `zh` takes zh-hans too. Resources without one pass.")


class ResourceListQuery(FilterQuery):
    level = serializers.ListField(
        child=serializers.ChoiceField(Resource.Level.choices), required=False, help_text="Only these levels."
    )
    cursor = serializers.CharField(required=False, max_length=13, help_text="From `next` of the page before.")
    page_size = serializers.IntegerField(default=20, min_value=1, max_value=MAX_ITEMS)

    def validate_cursor(self, value: str) -> int:
        """Return the row id of the last resource of the page before; cursors are ids in base 36."""
        try:
            row_id = int(value, 36)
        except ValueError:
            row_id = -1
        if not 0 <= row_id <= _LARGEST_ID:
            raise serializers.ValidationError("This is no cursor of ours. Take it from `next`.", code="invalid_cursor")
        return row_id


class SimilarQuery(FilterQuery):
    k = serializers.IntegerField(default=10, min_value=1, max_value=MAX_ITEMS, help_text="How many resources.")


class SearchQuery(FilterQuery):
    q = serializers.CharField(max_length=500, help_text="Words, or a description of what is looked for.")
    k = serializers.IntegerField(default=20, min_value=1, max_value=MAX_ITEMS, help_text="How many resources.")


class RecommendationsQuery(FilterQuery):
    placement = serializers.SlugField(
        required=False, default="", max_length=64, help_text="Name of a placement; without one, the defaults."
    )
    k = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=MAX_ITEMS,
        help_text="How many resources; without it, the placement's size.",
    )
