"""What was recommended to whom, and what became of it."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from llmrec_django.models.base import LLMRecManager, LLMRecModel, LLMRecQuerySet
from llmrec_django.models.experiments import Experiment
from llmrec_django.models.learner import LearnerProfile
from llmrec_django.models.resource import Resource
from llmrec_django.models.versions import ModelVersion


class RecommendationList(LLMRecModel):
    """One list that was computed: for whom, where, and how.

    .. pii: what was recommended to a learner
    .. pii_types: other
    .. pii_retirement: local_api
    """

    id = models.UUIDField(_("recommendation id"), primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.CharField(_("tenant"), max_length=64, default="default")
    learner = models.ForeignKey(
        LearnerProfile,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="recommendation_lists",
        verbose_name=_("learner"),
        db_index=False,
    )
    placement = models.CharField(_("placement"), max_length=64, blank=True)
    version = models.ForeignKey(
        ModelVersion, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("model version")
    )
    experiment = models.ForeignKey(
        Experiment, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("experiment")
    )
    arm = models.CharField(pgettext_lazy("of an experiment", "arm"), max_length=32, blank=True)
    k = models.PositiveSmallIntegerField(_("asked for"))
    is_personal = models.BooleanField(pgettext_lazy("of a list", "personal"), default=False)
    is_shadow = models.BooleanField(
        pgettext_lazy("of a list", "not shown"), default=False, help_text=_("Computed while the site showed no lists.")
    )
    fallback = models.CharField(_("fallback"), max_length=16, blank=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    objects = LLMRecManager.from_queryset(LLMRecQuerySet)()

    class Meta(LLMRecModel.Meta):
        verbose_name = _("recommendation list")
        verbose_name_plural = _("recommendation lists")
        indexes = [
            models.Index(fields=["learner", "-created_at"], name="llmrec_list_of_learner"),
            models.Index(fields=["tenant", "-created_at"], name="llmrec_list_newest"),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class RecommendationItem(LLMRecModel):
    """One resource in a list: why it is there, and what its learner did about it. Each deed counts once.

    .. pii: what was recommended to a learner, why, and what they did about it
    .. pii_types: other
    .. pii_retirement: local_api
    """

    class DismissReason(models.TextChoices):
        NOT_INTERESTED = "not_interested", _("Not interested")
        ALREADY_KNOW = "already_know", _("I know this already")
        TOO_HARD = "too_hard", _("Too hard")
        TOO_EASY = "too_easy", _("Too easy")

    class ReasonSource(models.TextChoices):
        TEMPLATE = "template", pgettext_lazy("reason written by", "template")
        LLM = "llm", pgettext_lazy("reason written by", "language model")

    list = models.ForeignKey(
        RecommendationList,
        models.CASCADE,
        related_name="items",
        verbose_name=_("recommendation list"),
        db_index=False,
    )
    rank = models.PositiveSmallIntegerField(_("rank"))
    resource = models.ForeignKey(Resource, models.CASCADE, related_name="+", verbose_name=_("learning resource"))
    score = models.FloatField(_("score"))
    source = models.CharField(pgettext_lazy("of a recommended item", "brought in by"), max_length=16, blank=True)
    propensity = models.FloatField(
        _("propensity"), default=1.0, help_text=_("How probable it was that this resource got this place.")
    )
    is_exploration = models.BooleanField(pgettext_lazy("of a recommended item", "explored"), default=False)

    components = models.JSONField(
        _("parts of the score"), default=dict, blank=True, help_text=_("Source and what it added.")
    )
    evidence = models.JSONField(_("evidence"), default=dict, blank=True)
    reason = models.TextField(pgettext_lazy("why something is recommended", "reason"), blank=True)
    reason_source = models.CharField(
        _("reason written by"), max_length=8, blank=True, choices=ReasonSource.choices, default=""
    )

    shown_at = models.DateTimeField(pgettext_lazy("when", "shown"), null=True, blank=True)
    clicked_at = models.DateTimeField(pgettext_lazy("when", "clicked"), null=True, blank=True)
    dwell_s = models.FloatField(_("seconds read after the click"), null=True, blank=True)
    completed_at = models.DateTimeField(pgettext_lazy("when", "completed"), null=True, blank=True)
    rated_at = models.DateTimeField(pgettext_lazy("when", "rated"), null=True, blank=True)
    rated_value = models.FloatField(_("rating"), null=True, blank=True, help_text=_("0 to 1."))
    dismissed_at = models.DateTimeField(pgettext_lazy("when", "dismissed"), null=True, blank=True)
    dismiss_reason = models.CharField(
        _("reason for dismissing"), max_length=16, blank=True, choices=DismissReason.choices, default=""
    )
    # Verbs are settings, so they have no columns of their own.
    outcomes = models.JSONField(
        _("outcomes"), default=dict, blank=True, help_text=_("Verb and time of what the learner did with it later.")
    )

    objects = LLMRecManager.from_queryset(LLMRecQuerySet)()

    class Meta(LLMRecModel.Meta):
        verbose_name = _("recommended item")
        verbose_name_plural = _("recommended items")
        constraints = [models.UniqueConstraint(fields=["list", "resource"], name="llmrec_item_once_in_list")]
        indexes = [
            # All that reports ask of what was seen: they read a span of time and none of the wide rows.
            models.Index(
                fields=["shown_at"],
                include=["list", "resource", "clicked_at", "completed_at", "dismissed_at", "outcomes"],
                condition=models.Q(shown_at__isnull=False),
                name="llmrec_item_shown",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.rank}. {self.resource_id}"
