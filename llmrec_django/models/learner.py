"""The learner, and what they did."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q, Value
from django.db.models.functions import MD5, Cast, Concat
from django.utils.translation import gettext, pgettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from llmrec_django.models.base import LLMRecManager, LLMRecModel, LLMRecQuerySet, host_foreign_key
from llmrec_django.models.resource import Resource


class LearnerProfile(LLMRecModel):
    """The learner: an account of the host, an anonymous visitor, or the actor of an imported statement.

    .. pii: links to the account; goals and interests are free text the learner wrote
    .. pii_types: id, other
    .. pii_retirement: local_api
    """

    tenant = models.CharField(_("tenant"), max_length=64, default="default")
    user = host_foreign_key(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        verbose_name=_("account"),
        related_name="+",
    )
    visitor_key = models.CharField(_("visitor key"), max_length=255, null=True, blank=True)

    goals = models.TextField(_("goals"), blank=True, help_text=_("What the learner wants to be able to do."))
    interests = models.JSONField(_("interests"), default=list, blank=True)
    level = models.CharField(
        pgettext_lazy("of a learner", "level"), max_length=16, blank=True, choices=Resource.Level.choices
    )
    languages = models.JSONField(_("languages"), default=list, blank=True)
    minutes_per_week = models.PositiveIntegerField(_("minutes available per week"), null=True, blank=True)

    personalise = models.BooleanField(
        _("personal recommendations"),
        default=True,
        help_text=_("Off: this learner's activity is neither recorded nor used."),
    )
    history_from = models.DateTimeField(
        _("history begins"),
        null=True,
        blank=True,
        editable=False,
        help_text=_("The learner had everything before forgotten; it is not taken in again."),
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)

    content_hash = models.GeneratedField(
        expression=MD5(
            Concat(
                F("goals"),
                Value("\x1f"),
                Cast(F("interests"), models.TextField()),
                output_field=models.TextField(),
            )
        ),
        output_field=models.CharField(max_length=32),
        db_persist=True,
    )

    objects = LLMRecManager.from_queryset(LLMRecQuerySet)()

    class Meta(LLMRecModel.Meta):
        verbose_name = _("learner profile")
        verbose_name_plural = _("learner profiles")
        permissions = [("explain_learnerprofile", "Can see why a learner is recommended something")]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "user"],
                condition=Q(user__isnull=False),
                name="llmrec_profile_user_unique",
                violation_error_message=_("This account has a profile in this tenant already."),
            ),
            models.UniqueConstraint(
                fields=["tenant", "visitor_key"],
                condition=Q(visitor_key__isnull=False),
                name="llmrec_profile_visitor_unique",
                violation_error_message=_("This visitor key has a profile in this tenant already."),
            ),
            models.CheckConstraint(
                condition=Q(user__isnull=False) | Q(visitor_key__isnull=False),
                name="llmrec_profile_has_identity",
                violation_error_message=_("A learner needs an account or a visitor key."),
            ),
        ]
        indexes = [
            # Few, and to be left out of what is counted for others.
            models.Index(fields=["id"], condition=Q(personalise=False), name="llmrec_profile_opted_out"),
        ]

    def __str__(self) -> str:
        if self.user_id is not None:
            return gettext("user %(id)s") % {"id": self.user_id}
        return gettext("visitor %(key)s") % {"key": self.visitor_key}

    @property
    def text(self) -> str:
        """What an encoder sees of this learner: goals and interests, never a name."""
        return "\n".join(part for part in (self.goals.strip(), ", ".join(map(str, self.interests))) if part)


DISMISSING = ("dismissed", "known", "too_hard", "too_easy")
"""Verbs by which a learner says not to be shown a resource, or anything nearly the same, again."""

RESTORED = "restored"
"""What a dismissing verb becomes when the learner takes it back."""

NOT_DEEDS = (*DISMISSING, RESTORED)
"""Verbs that are no deeds but wishes: they have a way back of their own, and stay when a deed is forgotten."""

# So that they are in the catalogue of translations; LLMREC["VERBS"] says which verbs there are.
COMMON_VERBS = (
    pgettext_lazy("verb", "viewed"),
    pgettext_lazy("verb", "clicked"),
    pgettext_lazy("verb", "bookmarked"),
    pgettext_lazy("verb", "rated"),
    pgettext_lazy("verb", "enrolled"),
    pgettext_lazy("verb", "progressed"),
    pgettext_lazy("verb", "completed"),
    pgettext_lazy("verb", "passed"),
    pgettext_lazy("verb", "failed"),
    pgettext_lazy("verb", "borrowed"),
    pgettext_lazy("verb", "purchased"),
    pgettext_lazy("verb", "dismissed"),
    pgettext_lazy("verb", "known"),
    pgettext_lazy("verb", "too_hard"),
    pgettext_lazy("verb", "too_easy"),
    pgettext_lazy("verb", "restored"),
    pgettext_lazy("verb", "searched"),
)


def verb_label(verb: str) -> str:
    """Return a verb in the active language; the verb itself where no catalogue has it (with the context "verb")."""
    return pgettext("verb", verb)


class InteractionQuerySet(LLMRecQuerySet):
    def newest_first(self) -> InteractionQuerySet:
        """Order by time, then by arrival: clocks of real sites have many ties."""
        return self.order_by("-occurred_at", "-id")


class Interaction(LLMRecModel):
    """One thing a learner did. A row of a host's activity model follows that row; others never change.

    .. pii: what a learner did, and the words they searched for where the site keeps them
    .. pii_types: other
    .. pii_retirement: local_api
    """

    tenant = models.CharField(_("tenant"), max_length=64, default="default")
    learner = models.ForeignKey(
        LearnerProfile, models.CASCADE, related_name="interactions", verbose_name=_("learner"), db_index=False
    )
    resource = models.ForeignKey(
        Resource,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="interactions",
        verbose_name=_("learning resource"),
    )
    verb = models.CharField(_("verb"), max_length=32)
    value = models.FloatField(_("value"), null=True, blank=True, help_text=_("Rating or progress, 0 to 1."))
    query = models.CharField(_("search words"), max_length=500, blank=True)
    occurred_at = models.DateTimeField(_("occurred at"))
    received_at = models.DateTimeField(_("received at"), auto_now_add=True)
    source = models.CharField(_("source"), max_length=64, default="site")
    event_id = models.CharField(
        _("event id"), max_length=255, help_text=_("Unique for a source and learner: the same event counts once.")
    )

    objects = LLMRecManager.from_queryset(InteractionQuerySet)()

    class Meta(LLMRecModel.Meta):
        verbose_name = _("interaction")
        verbose_name_plural = _("interactions")
        constraints = [
            models.UniqueConstraint(fields=["source", "event_id", "learner"], name="llmrec_interaction_event_unique"),
            models.CheckConstraint(
                condition=Q(resource__isnull=False) | Q(verb="searched"), name="llmrec_interaction_has_resource"
            ),
        ]
        indexes = [
            models.Index(fields=["learner", "-occurred_at", "-id"], name="llmrec_interaction_history"),
            models.Index(fields=["tenant", "-occurred_at"], name="llmrec_interaction_recent"),
            models.Index(
                fields=["learner", "-occurred_at"],
                condition=Q(verb__in=DISMISSING),
                name="llmrec_interaction_dismissing",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.learner_id} {verb_label(self.verb)} {self.resource_id}"


class ForgottenDeed(LLMRecModel):
    """A resource of which a learner took back what they did with it. Nothing from up to then is taken in again.

    .. pii: that a learner once did something with a resource, not what
    .. pii_types: other
    .. pii_retirement: local_api
    """

    learner = models.ForeignKey(
        LearnerProfile, models.CASCADE, related_name="forgotten_deeds", verbose_name=_("learner"), db_index=False
    )
    resource = models.ForeignKey(Resource, models.CASCADE, related_name="+", verbose_name=_("learning resource"))
    forgotten_at = models.DateTimeField(pgettext_lazy("when", "forgotten"))
    # A copy without a time of its own would count as done when it comes.
    events = models.JSONField(
        _("forgotten events"), default=list, blank=True, help_text=_("Hashes of their sources and event ids.")
    )

    objects = LLMRecManager.from_queryset(LLMRecQuerySet)()

    class Meta(LLMRecModel.Meta):
        verbose_name = _("forgotten deed")
        verbose_name_plural = _("forgotten deeds")
        constraints = [models.UniqueConstraint(fields=["learner", "resource"], name="llmrec_forgotten_deed_unique")]

    def __str__(self) -> str:
        return f"{self.learner_id} {self.resource_id}"
