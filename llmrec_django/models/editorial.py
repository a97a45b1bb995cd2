"""Editorial rules: what the people who run a site want shown first, sooner, later or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import F, Q
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from llmrec_django import caching
from llmrec_django.models.base import LLMRecManager, LLMRecModel, LLMRecQuerySet
from llmrec_django.models.placement import Placement
from llmrec_django.models.resource import Resource

if TYPE_CHECKING:
    from datetime import datetime
    from typing import Any


def rules_cache_key(tenant: str) -> str:
    """Return where the rules of a tenant are cached."""
    return f"llmrec:editorial:{tenant}"


class EditorialRule(LLMRecModel):
    """A wish about one resource, or about all that fit, on one placement or everywhere.

    Who made and changed it stands in the admin's history.

    .. no_pii:
    """

    class Effect(models.TextChoices):
        PIN = "pin", pgettext_lazy("editorial rule", "show first")
        BOOST = "boost", pgettext_lazy("editorial rule", "show sooner")
        BURY = "bury", pgettext_lazy("editorial rule", "show later")
        EXCLUDE = "exclude", pgettext_lazy("editorial rule", "do not recommend")

    tenant = models.CharField(_("tenant"), max_length=64, default="default")
    name = models.CharField(_("name"), max_length=100, help_text=_("For you; learners do not see it."))
    effect = models.CharField(_("effect"), max_length=8, choices=Effect.choices)
    strength = models.FloatField(
        _("strength"),
        default=0.5,
        validators=[MinValueValidator(0.0), MaxValueValidator(2.0)],
        help_text=_("Of sooner and later: 1 is the way from the last place of a list to the first."),
    )
    enabled = models.BooleanField(_("enabled"), default=True)
    placement = models.ForeignKey(
        Placement,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="rules",
        verbose_name=_("placement"),
        help_text=_("Empty: everywhere."),
    )
    starts_at = models.DateTimeField(_("starts"), null=True, blank=True, help_text=_("Empty: at once."))
    ends_at = models.DateTimeField(_("ends"), null=True, blank=True, help_text=_("Empty: not yet."))

    resource = models.ForeignKey(
        Resource,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="rules",
        verbose_name=_("learning resource"),
        help_text=_("Empty: all that fit what is said below."),
    )
    kind = models.CharField(_("kind"), max_length=32, blank=True)
    language = models.CharField(_("language"), max_length=35, blank=True)
    level = models.CharField(_("level"), max_length=16, blank=True, choices=Resource.Level.choices)
    keyword = models.CharField(_("keyword"), max_length=255, blank=True, help_text=_("As it stands in the resource."))
    publisher = models.CharField(_("publisher"), max_length=255, blank=True)

    reason = models.CharField(
        _("reason"),
        max_length=200,
        blank=True,
        help_text=_("Shown to learners beside what is shown first or sooner, as “Chosen by the editors: …”."),
    )
    reason_translations = models.JSONField(
        _("reason in other languages"),
        default=dict,
        blank=True,
        help_text=_('By language, as {"zh-hans": "…"}.'),
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    objects = LLMRecManager.from_queryset(LLMRecQuerySet)()

    SET_FIELDS = ("kind", "language", "level", "keyword", "publisher")

    class Meta(LLMRecModel.Meta):
        verbose_name = _("editorial rule")
        verbose_name_plural = _("editorial rules")
        constraints = [
            models.CheckConstraint(
                condition=Q(ends_at__isnull=True) | Q(starts_at__isnull=True) | Q(ends_at__gt=F("starts_at")),
                name="llmrec_rule_ends_after_start",
                violation_error_message=_("The end must be later than the beginning."),
            ),
            models.CheckConstraint(
                condition=Q(resource__isnull=False) | ~Q(kind="", language="", level="", keyword="", publisher=""),
                name="llmrec_rule_is_about_something",
                violation_error_message=_("Name a resource, or say which ones it is about."),
            ),
            models.CheckConstraint(condition=Q(strength__gte=0, strength__lte=2), name="llmrec_rule_strength_range"),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Check what no constraint of the database can.

        Raises:
            ValidationError: a resource and a set at once, something of another tenant, or a reason that is no text.
        """
        if self.resource_id and any(getattr(self, name) for name in self.SET_FIELDS):
            raise ValidationError({"resource": gettext("Name a resource or say which ones, not both.")})
        if self.resource is not None and self.resource.tenant != self.tenant:
            raise ValidationError({"resource": gettext("The resource is of another tenant.")})
        if self.placement is not None and self.placement.tenant != self.tenant:
            raise ValidationError({"placement": gettext("The placement is of another tenant.")})
        told = self.reason_translations
        if not isinstance(told, dict) or not all(isinstance(text, str) and len(text) <= 200 for text in told.values()):
            raise ValidationError({"reason_translations": gettext('It must look like {"zh-hans": "…"}.')})

    def condition(self) -> Q:
        """Return which resources it is about, as a condition on the resource table."""
        if self.resource_id:
            return Q(pk=self.resource_id)
        wanted = Q()
        for name in ("kind", "level", "publisher"):
            if getattr(self, name):
                wanted &= Q(**{name: getattr(self, name)})
        if self.language:
            wanted &= Q(language__iexact=self.language)
        if self.keyword:
            wanted &= Q(keywords__contains=[self.keyword])
        return wanted

    def is_in_force(self, at: datetime) -> bool:
        """Return whether it counts at a moment (aware)."""
        begun = self.starts_at is None or self.starts_at <= at
        return self.enabled and begun and (self.ends_at is None or at < self.ends_at)

    def reasons(self) -> dict[str, str]:
        """Return what learners are told, by language tag; "" for every other language."""
        told = {tag.lower(): text.strip() for tag, text in self.reason_translations.items() if text.strip()}
        return told | ({"": self.reason.strip()} if self.reason.strip() else {})


@receiver([post_save, post_delete], sender=EditorialRule)
def _forget_cached(sender: Any, instance: EditorialRule, **kwargs: Any) -> None:
    """A rule counts for the next list, where servers share a cache."""
    key = rules_cache_key(instance.tenant)
    caching.drop(key)
    # Once more when others can read it: one who asked meanwhile has cached what was there before.
    transaction.on_commit(lambda: caching.drop(key), using=kwargs["using"])
