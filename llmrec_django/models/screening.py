"""What the safety screen found in a resource, and what people decided about it."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from llmrec_django.conf import conf
from llmrec_django.engine.safety import RULES_ID
from llmrec_django.models.base import LLMRecManager, LLMRecModel, LLMRecQuerySet
from llmrec_django.models.resource import Resource


def rules_id() -> str:
    """Return what names the rules that count on this site."""
    ignored = ",".join(sorted(conf.SCREEN["IGNORE"]))
    return f"{RULES_ID}-{ignored}"[:120] if ignored else RULES_ID


def screen_id() -> str:
    """Return what has looked at a resource once nothing is left to do: the rules and the site's classifier."""
    path, version = conf.SCREEN["CLASSIFIER"], conf.SCREEN["CLASSIFIER_VERSION"]
    return f"{rules_id()} {path}@{version}"[:255] if path else rules_id()


class ResourceScreeningQuerySet(LLMRecQuerySet):
    def held(self) -> ResourceScreeningQuerySet:
        """Keep rows whose resource is shown to nobody."""
        return self.filter(status__in=(ResourceScreening.Status.FLAGGED, ResourceScreening.Status.BLOCKED))

    def passed(self) -> ResourceScreeningQuerySet:
        """Keep rows whose text was looked at by everything there is, or cleared by a person."""
        status = ResourceScreening.Status
        return self.filter(Q(status=status.CLEAR, screen_id=screen_id()) | Q(status=status.CLEARED))


class ResourceScreening(LLMRecModel):
    """The last look at a resource's text. A resource without one, or with one of another text, is to be screened.

    .. no_pii:
    """

    class Status(models.TextChoices):
        CLEAR = "clear", pgettext_lazy("screening", "nothing found")
        FLAGGED = "flagged", pgettext_lazy("screening", "waits for a person")
        CLEARED = "cleared", pgettext_lazy("screening", "cleared by a person")
        BLOCKED = "blocked", pgettext_lazy("screening", "kept out by a person")

    resource = models.OneToOneField(
        Resource, models.CASCADE, related_name="screening", verbose_name=_("learning resource")
    )
    status = models.CharField(_("status"), max_length=16, choices=Status.choices)
    content_hash = models.CharField(_("content hash"), max_length=32, help_text=_("Of the text that was looked at."))
    screen_id = models.CharField(_("screen"), max_length=255, help_text=_("The rules and the classifier that looked."))
    findings = models.JSONField(_("findings"), default=list, blank=True)
    screened_at = models.DateTimeField(_("screened"))

    objects = LLMRecManager.from_queryset(ResourceScreeningQuerySet)()

    class Meta(LLMRecModel.Meta):
        verbose_name = _("screened resource")
        verbose_name_plural = _("screened resources")
        indexes = [
            # Read by every candidate query: a handful of rows among all.
            models.Index(
                fields=["resource"], condition=Q(status__in=["flagged", "blocked"]), name="llmrec_screening_held"
            ),
        ]

    def __str__(self) -> str:
        return gettext("%(status)s: resource %(resource)s") % {
            "status": self.get_status_display(),
            "resource": self.resource_id,
        }


class ScreeningReview(LLMRecModel):
    """A person's decision about a screened resource: who, when, why, and about which text. Never changed.

    The account is named by its key, so that the record outlives it.

    .. no_pii:
    """

    class Decision(models.TextChoices):
        CLEARED = "cleared", pgettext_lazy("screening", "cleared")
        BLOCKED = "blocked", pgettext_lazy("screening", "kept out")

    resource = models.ForeignKey(
        Resource, models.CASCADE, related_name="screening_reviews", verbose_name=_("learning resource")
    )
    decision = models.CharField(_("decision"), max_length=16, choices=Decision.choices)
    why = models.TextField(_("why"))
    reviewer_key = models.CharField(_("account"), max_length=255)
    content_hash = models.CharField(_("content hash"), max_length=32)
    findings = models.JSONField(_("findings"), default=list, blank=True)
    reviewed_at = models.DateTimeField(pgettext_lazy("when", "decided"), auto_now_add=True)

    objects = LLMRecManager.from_queryset(LLMRecQuerySet)()

    class Meta(LLMRecModel.Meta):
        verbose_name = _("decision about a screened resource")
        verbose_name_plural = _("decisions about screened resources")

    def __str__(self) -> str:
        return gettext("%(decision)s: resource %(resource)s") % {
            "decision": self.get_decision_display(),
            "resource": self.resource_id,
        }
