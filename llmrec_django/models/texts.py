"""What a language model wrote, and what it may cost: a cache of texts, drafts of goals, and counted calls."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from llmrec_django.models.base import LLMRecManager, LLMRecModel, LLMRecQuerySet
from llmrec_django.models.learner import LearnerProfile
from llmrec_django.models.resource import Resource


class Written(models.TextChoices):
    """How far a request to the language model is."""

    WAITING = "waiting", pgettext_lazy("text", "waiting")
    WRITTEN = "written", pgettext_lazy("text", "written")
    REFUSED = "refused", pgettext_lazy("text", "did not pass")
    FAILED = "failed", pgettext_lazy("text", "failed")


class WrittenText(LLMRecModel):
    """A reason or a summary, asked for or written. Two learners with the same evidence share one.

    `text` is only ever filled with what passed the validator. The facts are what the model is told: titles, kinds and
    numbers, nobody's name, and not whose they are.

    .. no_pii:
    """

    class Kind(models.TextChoices):
        REASON = "reason", pgettext_lazy("text", "reason")
        SUMMARY = "summary", pgettext_lazy("text", "summary")

    tenant = models.CharField(_("tenant"), max_length=64, default="default")
    kind = models.CharField(_("kind"), max_length=16, choices=Kind.choices)
    subject_hash = models.CharField(_("hash of the facts"), max_length=32)
    locale = models.CharField(_("language"), max_length=35)
    prompt_version = models.CharField(_("prompt version"), max_length=16)
    model = models.CharField(_("model"), max_length=255)
    resource = models.ForeignKey(
        Resource, models.CASCADE, related_name="written_texts", verbose_name=_("learning resource")
    )
    facts = models.JSONField(_("facts"), default=dict)
    state = models.CharField(_("state"), max_length=16, choices=Written.choices, default=Written.WAITING)
    text = models.TextField(_("text"), blank=True)
    error = models.TextField(_("error"), blank=True, help_text=_("Why there is no text: never the text itself."))
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    try_after = models.DateTimeField(_("not tried before"))
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    settled_at = models.DateTimeField(pgettext_lazy("when", "settled"), null=True, blank=True)

    objects = LLMRecManager.from_queryset(LLMRecQuerySet)()

    class Meta(LLMRecModel.Meta):
        verbose_name = _("written text")
        verbose_name_plural = _("written texts")
        constraints = [
            models.UniqueConstraint(
                fields=["resource", "kind", "subject_hash", "locale", "prompt_version", "model"],
                name="llmrec_written_text_unique",
            ),
            models.CheckConstraint(
                condition=Q(state=Written.WRITTEN) | Q(text=""), name="llmrec_written_text_only_if_written"
            ),
        ]
        indexes = [
            models.Index(fields=["subject_hash"], name="llmrec_written_text_subject"),
            models.Index(fields=["-id"], condition=Q(state=Written.WAITING), name="llmrec_written_text_waiting"),
        ]

    def __str__(self) -> str:
        return self.text or f"{self.get_kind_display()}: {self.get_state_display()}"


class GoalDraft(LLMRecModel):
    """What was understood of a learner's free text, for the learner to confirm. Deleted when they do.

    .. pii: what the learner wrote about their goals
    .. pii_types: other
    .. pii_retirement: local_api
    """

    class Source(models.TextChoices):
        RULES = "rules", pgettext_lazy("goal draft", "rules")
        MODEL = "model", pgettext_lazy("goal draft", "language model")

    learner = models.OneToOneField(LearnerProfile, models.CASCADE, related_name="goal_draft", verbose_name=_("learner"))
    text = models.TextField(_("what the learner wrote"))
    locale = models.CharField(_("language"), max_length=35)
    proposal = models.JSONField(_("proposal"), default=dict)
    source = models.CharField(_("understood by"), max_length=16, choices=Source.choices, default=Source.RULES)
    state = models.CharField(_("state"), max_length=16, choices=Written.choices, default=Written.WAITING)
    error = models.TextField(_("error"), blank=True)
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    try_after = models.DateTimeField(_("not tried before"))
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    objects = LLMRecManager.from_queryset(LLMRecQuerySet)()

    class Meta(LLMRecModel.Meta):
        verbose_name = _("draft of goals")
        verbose_name_plural = _("drafts of goals")

    def __str__(self) -> str:
        return gettext("draft of learner %(learner)s") % {"learner": self.learner_id}


class WriterUsage(LLMRecModel):
    """Calls of the language model in one hour of one tenant: what the budget is counted by.

    .. no_pii:
    """

    tenant = models.CharField(_("tenant"), max_length=64, default="default")
    hour = models.DateTimeField(_("hour"))
    calls = models.PositiveIntegerField(_("calls"), default=0)

    objects = LLMRecManager.from_queryset(LLMRecQuerySet)()

    class Meta(LLMRecModel.Meta):
        verbose_name = _("use of the language model")
        verbose_name_plural = _("uses of the language model")
        constraints = [models.UniqueConstraint(fields=["tenant", "hour"], name="llmrec_writer_usage_unique")]

    def __str__(self) -> str:
        return f"{self.tenant} {self.hour:%Y-%m-%d %H:00} {self.calls}"
