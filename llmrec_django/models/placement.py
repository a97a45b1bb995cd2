"""Named places on the host's pages that show recommendations."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from llmrec_django.models.base import LLMRecManager, LLMRecModel, LLMRecQuerySet
from llmrec_django.models.experiments import Experiment


class Placement(LLMRecModel):
    """A surface ("home", "after-lesson") and how its list is made.

    .. no_pii:
    """

    class Seen(models.TextChoices):
        HIDE = "hide", _("hide everything the learner has touched")
        DECAY = "decay", _("hide for as long as each verb says")
        SHOW = "show", _("show again")

    class ExploreBy(models.TextChoices):
        UNIFORM = "uniform", pgettext_lazy("exploration", "all alike")
        SCORE = "score", pgettext_lazy("exploration", "better scores more often")

    tenant = models.CharField(_("tenant"), max_length=64, default="default")
    name = models.SlugField(_("name"), max_length=64)
    title = models.CharField(_("title"), max_length=200, blank=True, help_text=_("Heading shown above the list."))
    enabled = models.BooleanField(_("enabled"), default=True)
    size = models.PositiveSmallIntegerField(
        pgettext_lazy("of a list", "size"), default=10, validators=[MinValueValidator(1), MaxValueValidator(100)]
    )
    kinds = models.JSONField(_("kinds"), default=list, blank=True, help_text=_("Empty: all kinds."))
    languages = models.JSONField(_("languages"), default=list, blank=True, help_text=_("Empty: the learner's."))
    diversity = models.FloatField(
        _("diversity"),
        default=0.3,
        validators=[MinValueValidator(0.0), MaxValueValidator(1.0)],
        help_text=_("0: most relevant first; 1: as different from each other as can be."),
    )
    seen = models.CharField(_("already seen"), max_length=8, choices=Seen.choices, default=Seen.DECAY)

    explore_places = models.PositiveSmallIntegerField(
        _("places for exploration"),
        default=0,
        validators=[MaxValueValidator(100)],
        help_text=_("So many places at the end of the list are drawn by lot from what comes next; 0: none."),
    )
    explore_pool = models.PositiveSmallIntegerField(
        _("drawn from the next"), default=20, validators=[MinValueValidator(1), MaxValueValidator(200)]
    )
    explore_by = models.CharField(_("chances"), max_length=8, choices=ExploreBy.choices, default=ExploreBy.UNIFORM)
    experiment = models.ForeignKey(
        Experiment,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="placements",
        verbose_name=_("experiment"),
        help_text=_("Its arms are dealt to the learners who come here."),
    )

    objects = LLMRecManager.from_queryset(LLMRecQuerySet)()

    class Meta(LLMRecModel.Meta):
        verbose_name = _("placement")
        verbose_name_plural = _("placements")
        constraints = [
            models.UniqueConstraint(fields=["tenant", "name"], name="llmrec_placement_name_unique"),
            models.CheckConstraint(condition=Q(size__gte=1, size__lte=100), name="llmrec_placement_size_range"),
            models.CheckConstraint(
                condition=Q(diversity__gte=0, diversity__lte=1), name="llmrec_placement_diversity_range"
            ),
        ]

    def __str__(self) -> str:
        return self.title or self.name
