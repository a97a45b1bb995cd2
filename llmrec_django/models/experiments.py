"""Experiments: which learners get which way of making lists."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from llmrec_django.models.base import LLMRecManager, LLMRecModel, LLMRecQuerySet
from llmrec_django.models.versions import ModelVersion

if TYPE_CHECKING:
    from datetime import datetime


def new_salt() -> str:
    """Return what makes the arms of one experiment independent of those of every other."""
    return secrets.token_hex(8)


class Experiment(LLMRecModel):
    """A comparison of ways to make lists, on the placements that name it.

    .. no_pii:
    """

    tenant = models.CharField(_("tenant"), max_length=64, default="default")
    name = models.SlugField(_("name"), max_length=64)
    description = models.TextField(_("description"), blank=True)
    starts_at = models.DateTimeField(_("starts"), null=True, blank=True, help_text=_("Empty: at once."))
    ends_at = models.DateTimeField(_("ends"), null=True, blank=True, help_text=_("Empty: not yet."))
    # Another salt deals all learners anew.
    salt = models.CharField(_("salt"), max_length=32, default=new_salt, editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    objects = LLMRecManager.from_queryset(LLMRecQuerySet)()

    class Meta(LLMRecModel.Meta):
        verbose_name = _("experiment")
        verbose_name_plural = _("experiments")
        constraints = [
            models.UniqueConstraint(fields=["tenant", "name"], name="llmrec_experiment_name_unique"),
            models.CheckConstraint(
                condition=Q(ends_at__isnull=True) | Q(starts_at__isnull=True) | Q(ends_at__gt=F("starts_at")),
                name="llmrec_experiment_ends_after_start",
                violation_error_message=_("An experiment must end after it starts."),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def is_running(self, at: datetime) -> bool:
        """Return whether lists made at `at` (aware) belong to it."""
        return (self.starts_at is None or self.starts_at <= at) and (self.ends_at is None or at < self.ends_at)


class ExperimentArm(LLMRecModel):
    """One of the ways that an experiment compares. The first by name that changes nothing is the usual control.

    .. no_pii:
    """

    experiment = models.ForeignKey(
        Experiment, models.CASCADE, related_name="arms", verbose_name=_("experiment"), db_index=False
    )
    name = models.SlugField(_("name"), max_length=32)
    weight = models.PositiveSmallIntegerField(
        pgettext_lazy("of an arm", "share"),
        default=1,
        validators=[MinValueValidator(0)],
        help_text=_("Learners it gets, in proportion to the shares of the others."),
    )
    version = models.ForeignKey(
        ModelVersion,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("model version"),
        help_text=_("Empty: the one that serves."),
    )
    settings = models.JSONField(
        pgettext_lazy("of an arm", "settings"),
        default=dict,
        blank=True,
        help_text=_('What differs from the placement, as {"diversity": 0.6, "size": 8}.'),
    )

    objects = LLMRecManager.from_queryset(LLMRecQuerySet)()

    class Meta(LLMRecModel.Meta):
        verbose_name = _("arm of an experiment")
        verbose_name_plural = _("arms of experiments")
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["experiment", "name"], name="llmrec_arm_name_unique")]

    def __str__(self) -> str:
        return self.name
