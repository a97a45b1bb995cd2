"""What goes in and out. Bodies with fields that are not listed here are refused, never silently obeyed."""

from __future__ import annotations

import math
from typing import Any

from django.utils import timezone
from django.utils.translation import get_language
from rest_framework import ISO_8601, serializers

from llmrec_django.models import Resource
from llmrec_django.models.texts import Written
from llmrec_django.rest_api.v1.describe import name_component
from llmrec_django.services.writing.goal_rules import MOST_MINUTES
from llmrec_django.services.writing.goals import LONGEST_TEXT
from llmrec_django.types import FeedbackInput, InteractionInput
from llmrec_django.web.lists import safe_url

MAX_BATCH = 100


class TextListField(serializers.ListField):
    """A list of texts; whatever else an import left in the column comes out as texts, or as an empty list."""

    def __init__(self, **options: Any) -> None:
        super().__init__(child=serializers.CharField(max_length=options.pop("item_length", None)), **options)

    def to_representation(self, data: Any) -> list[str]:
        return [str(item) for item in data if item is not None] if isinstance(data, list) else []


class SafeURLField(serializers.CharField):
    """An address that is safe in a link, else ""."""

    def to_representation(self, value: Any) -> str:
        return safe_url(str(value))


class FiniteField(serializers.FloatField):
    def to_representation(self, value: Any) -> float:  # type: ignore[override]
        # JSON has no NaN; a list must not fail for a number that nobody needs.
        return float(value) if math.isfinite(value) else 0.0


class NumberField(serializers.FloatField):
    """A number; true and false are none, though Python counts with them."""

    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool):
            self.fail("invalid")
        try:
            return super().to_internal_value(data)
        except OverflowError:  # a whole number that no float reaches; new releases of REST framework see to that
            self.fail("invalid")


class MomentField(serializers.DateTimeField):
    """An aware time, also on sites with USE_TZ = False; one that comes without a zone is in the site's."""

    def default_timezone(self) -> Any:
        return timezone.get_current_timezone()

    def enforce_timezone(self, value: Any) -> Any:
        try:
            return super().enforce_timezone(value)
        except OverflowError:  # the first or last day there is, in a zone in which it lies beyond that
            self.fail("overflow")


class Component(serializers.Serializer):
    """Base of the serializers: each is a component of the OpenAPI description, named after its class."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        name_component(cls)


class ResourceSerializer(Component):
    """One learning resource."""

    key = serializers.CharField(help_text="Stable name of the resource.")
    title = serializers.CharField(source="local_title", help_text="In the language of the request, if there is one.")
    description = serializers.CharField(source="local_description", allow_blank=True)
    kind = serializers.CharField()
    url = SafeURLField(allow_blank=True, help_text="Page of the resource, absolute or relative to the site.")
    image = SafeURLField(allow_blank=True)
    level = serializers.CharField(allow_blank=True, help_text="beginner, intermediate, advanced, or nothing.")
    language = serializers.CharField(allow_blank=True)
    duration_minutes = serializers.IntegerField(allow_null=True)
    authors = TextListField()
    keywords = TextListField()


class LocalTitleField(serializers.CharField):
    """The title of a resource in evidence, in the language of the request where there is one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(source="*", **options)

    def to_representation(self, value: Any) -> str:
        return str(value.local_title(get_language()))


class OwnResourceSerializer(Component):
    """A resource of the caller's own that has to do with a recommended one."""

    key = serializers.CharField(help_text="Stable name of the resource.")
    title = LocalTitleField()
    verb = serializers.CharField(allow_blank=True, help_text="The strongest thing the caller did with it.")
    share = FiniteField(help_text="Its part in what the caller's own resources and goals did for the score, 0 to 1.")
    learners = serializers.IntegerField(
        help_text="So many other learners, at least, chose both; 0: too few to say so, or not counted."
    )


class EvidenceSerializer(Component):
    """Why a resource is in a list. What is not known, or says nothing, is empty, 0 or null."""

    own = OwnResourceSerializer(
        many=True, help_text="The caller's resources without which it would stand lower, strongest first."
    )
    goal_share = FiniteField(help_text="The part of the caller's goals and interests, beside `own`.")
    goal_words = TextListField(help_text="Words of the caller's goals that it holds.")
    interests = TextListField(help_text="The caller's interests that it names.")
    competencies = TextListField(help_text="What both it and the first of `own` are about.")
    keywords = TextListField(help_text="Keywords of both it and the first of `own`.")
    unlocked_by = OwnResourceSerializer(many=True, help_text="What it asks for and the caller has done.")
    together = serializers.BooleanField(
        help_text="It is here for the caller's history as a whole; no single resource of it stands out."
    )
    among = OwnResourceSerializer(
        allow_null=True, help_text="With `together`: the caller's resource that did most, which is little."
    )
    popular = serializers.IntegerField(help_text="So many learners, at least, chose it in `popular_days` days.")
    popular_days = serializers.IntegerField()
    level = serializers.CharField(allow_blank=True, help_text="Its level, where that is the caller's.")
    minutes = serializers.IntegerField(help_text="How long it takes, where that fits into `minutes_per_week`.")
    minutes_per_week = serializers.IntegerField()
    new_days = serializers.IntegerField(allow_null=True, help_text="Its age in days, where that is why it is here.")
    rule = serializers.CharField(allow_blank=True, help_text="The editorial rule that placed it here.")
    parts = serializers.DictField(
        child=FiniteField(), help_text="What each source of a trained version added to the score."
    )


class ItemSerializer(Component):
    """A resource in a list."""

    rank = serializers.IntegerField(help_text="From 1.")
    score = FiniteField(help_text="Higher is better; comparable inside one list only.")
    source = serializers.CharField(  # type: ignore[assignment]
        help_text="What brought it in: trained, content, popular, newest, similar, words, meaning."
    )
    resource = ResourceSerializer()
    reason = serializers.CharField(
        allow_blank=True, help_text="Why it is here, in the language of the request: plain text, not HTML."
    )
    reason_source = serializers.CharField(
        allow_blank=True, help_text="Who worded the reason: template or llm; ask for the list again for a better one."
    )
    summary = serializers.CharField(
        allow_blank=True, help_text="A long description in one or two sentences, where there is one."
    )
    evidence = EvidenceSerializer(allow_null=True, help_text="What the reason rests on; null where nothing is known.")


class RankedListSerializer(Component):
    """An ordered list, best first."""

    enabled = serializers.SerializerMethodField(help_text="False while the site shows no recommendations.")
    items = ItemSerializer(many=True)

    def get_enabled(self, result: Any) -> bool:
        return bool(self.context["enabled"])


class RecommendationsSerializer(RankedListSerializer):
    """An ordered list, best first, and how it was made."""

    recommendation_id = serializers.UUIDField(
        allow_null=True, help_text="Names the list in feedback; null for a list that is not kept."
    )

    placement = serializers.CharField(allow_blank=True)
    is_personal = serializers.BooleanField(help_text="True when the caller's own history or profile chose an item.")
    fallback = serializers.CharField(
        allow_blank=True, help_text="The last fallback that was needed: popular or newest; empty without one."
    )


class ResourcePageSerializer(Component):
    """One page of the catalogue."""

    items = ResourceSerializer(many=True)
    next = serializers.URLField(allow_null=True, help_text="Address of the next page; null on the last.")


class StrictSerializer(Component):
    """Refuses fields it does not know: a client that sends `user` or `source` must learn that it has no say."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = sorted(str(name)[:50] for name in data if name not in self.fields)
            if unknown:
                message = f"Unknown field. Allowed: {', '.join(self.fields)}."
                raise serializers.ValidationError(dict.fromkeys(unknown[:10], message), code="unknown_field")
        return super().to_internal_value(data)


class InteractionSerializer(StrictSerializer):
    """One thing the caller did. Who did it is known from the request."""

    verb = serializers.CharField(max_length=32, help_text="viewed, clicked, bookmarked, rated, dismissed, searched.")
    resource_key = serializers.CharField(max_length=255, required=False, default="", trim_whitespace=False)
    value = NumberField(required=False, allow_null=True, default=None, help_text="The rating, with rated.")
    occurred_at = MomentField(
        required=False,
        allow_null=True,
        default=None,
        format=ISO_8601,
        input_formats=[ISO_8601],
        help_text="ISO 8601; now, if left out. Older than 30 days counts as 30 days old.",
    )
    event_id = serializers.CharField(
        max_length=255,
        required=False,
        default="",
        allow_blank=True,
        help_text="Your own id of the event: sent twice, it counts once. Use one where you may retry.",
    )
    query = serializers.CharField(
        max_length=500, required=False, default="", help_text="The words searched for, with searched."
    )

    def to_internal_value(self, data: Any) -> InteractionInput:
        return InteractionInput(**super().to_internal_value(data))


class InteractionBatchSerializer(StrictSerializer):
    """Several things the caller did."""

    interactions = serializers.ListField(
        child=InteractionSerializer(), min_length=1, max_length=MAX_BATCH, help_text="All are recorded, or none."
    )


class FeedbackSerializer(StrictSerializer):
    """One thing the caller did about a recommended resource."""

    kind = serializers.CharField(max_length=16, help_text="shown, clicked, read, rated, dismissed.")
    resource_key = serializers.CharField(max_length=255, trim_whitespace=False)
    recommendation_id = serializers.UUIDField(
        required=False, allow_null=True, default=None, help_text="Of the list it was in; needed for shown and clicked."
    )
    value = NumberField(
        required=False, allow_null=True, default=None, help_text="The rating with rated, the seconds with read."
    )
    reason = serializers.CharField(
        max_length=16,
        required=False,
        default="",
        allow_blank=True,
        help_text="With dismissed: not_interested (when left out), already_know, too_hard, too_easy.",
    )
    occurred_at = MomentField(
        required=False,
        allow_null=True,
        default=None,
        format=ISO_8601,
        input_formats=[ISO_8601],
        help_text="ISO 8601; now, if left out. Older than 30 days counts as 30 days old.",
    )
    event_id = serializers.CharField(
        max_length=255,
        required=False,
        default="",
        allow_blank=True,
        help_text="Your own id of what the caller did: sent twice, it counts once. Use one with rated and dismissed, "
        "where you may retry.",
    )

    def to_internal_value(self, data: Any) -> FeedbackInput:
        return FeedbackInput(**super().to_internal_value(data))


class FeedbackBatchSerializer(StrictSerializer):
    """Several things the caller did about recommended resources."""

    feedback = serializers.ListField(
        child=FeedbackSerializer(), min_length=1, max_length=MAX_BATCH, help_text="All are taken in, or none."
    )


class FeedbackTakenSerializer(Component):
    """What became of feedback."""

    changed = serializers.IntegerField(
        help_text="Items of lists that it changed: what was known already changes nothing."
    )


class ResourceKeySerializer(StrictSerializer):
    """Names one resource."""

    resource_key = serializers.CharField(max_length=255, trim_whitespace=False)


class DeedSerializer(Component):
    """One thing that shapes the caller's lists."""

    resource = ResourceSerializer()
    verb = serializers.CharField()
    occurred_at = serializers.DateTimeField()
    weight = FiniteField(help_text="Above 0 it speaks for what is like it, below against; 1 is the most.")


class DismissedSerializer(Component):
    """One thing that the caller turned down."""

    resource = ResourceSerializer()
    reason = serializers.CharField(help_text="not_interested, already_know, too_hard, too_easy.")
    occurred_at = serializers.DateTimeField()


class InsightSerializer(Component):
    """What the caller's lists are made from."""

    personalise = serializers.BooleanField(source="learner.personalise")
    goals = serializers.CharField(source="learner.goals", allow_blank=True)
    interests = TextListField(source="learner.interests")
    level = serializers.CharField(
        allow_blank=True, help_text="What lists lean to: beginner, intermediate, advanced, or nothing."
    )
    stated_level = serializers.CharField(source="learner.level", allow_blank=True)
    history = DeedSerializer(many=True, help_text="Newest first.")
    dismissed = DismissedSerializer(many=True, help_text="Newest first.")


class RecordedSerializer(Component):
    """What became of reported interactions."""

    recorded = serializers.IntegerField(
        help_text="How many are new: repeated events, and those of a learner who switched recording off, are not."
    )


class ProfileSerializer(StrictSerializer):
    """What the caller says about themselves."""

    goals = serializers.CharField(max_length=LONGEST_TEXT, required=False, allow_blank=True)
    interests = TextListField(item_length=100, max_length=50, required=False)
    level = serializers.CharField(
        max_length=16, required=False, allow_blank=True, help_text="beginner, intermediate, advanced, or nothing."
    )
    languages = TextListField(item_length=35, max_length=20, required=False)
    minutes_per_week = serializers.IntegerField(min_value=0, max_value=MOST_MINUTES, required=False, allow_null=True)
    personalise = serializers.BooleanField(required=False, help_text="False: activity is neither recorded nor used.")

    def validate_level(self, value: str) -> str:
        # Not a ChoiceField: OpenAPI would call it LevelEnum, a name that hosts have for levels of their own.
        if value and value not in Resource.Level.values:
            allowed = ", ".join(Resource.Level.values)
            raise serializers.ValidationError(f"Unknown level {value!r}. Use one of: {allowed}.", code="invalid_choice")
        return value


class GoalTextSerializer(StrictSerializer):
    """What the caller wants to be able to do, in their own words."""

    text = serializers.CharField(max_length=LONGEST_TEXT)


class ProposalSerializer(StrictSerializer):
    """What is understood of goals, or how the caller corrects it."""

    level = serializers.CharField(
        max_length=16, required=False, allow_blank=True, help_text="beginner, intermediate, advanced, or nothing."
    )
    languages = TextListField(item_length=35, max_length=20, required=False)
    minutes_per_week = serializers.IntegerField(min_value=0, max_value=MOST_MINUTES, required=False, allow_null=True)
    topics = TextListField(item_length=60, max_length=8, required=False)


class GoalDraftSerializer(Component):
    """What is understood of the caller's goals so far."""

    text = serializers.CharField()
    proposal = ProposalSerializer()
    source = serializers.CharField(help_text="Who understood it: rules or model.")  # type: ignore[assignment]
    wait = serializers.SerializerMethodField(help_text="True while a language model still reads it.")

    def get_wait(self, draft: Any) -> bool:
        return bool(draft.state == Written.WAITING)


class MistakeSerializer(Component):
    """One thing that is wrong with a request."""

    field = serializers.CharField(allow_blank=True)
    code = serializers.CharField()
    detail = serializers.CharField()
    index = serializers.IntegerField(required=False, help_text="Place of the entry in a list, from 0.")


class ErrorSerializer(Component):
    """Every answer that is no success."""

    code = serializers.CharField()
    detail = serializers.CharField()
    errors = MistakeSerializer(many=True, required=False)  # type: ignore[assignment]
