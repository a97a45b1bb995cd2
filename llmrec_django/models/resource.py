"""Learning resources: whatever can be recommended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q, Value
from django.db.models.functions import MD5, Cast, Concat
from django.utils.translation import get_language, gettext, gettext_noop, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from llmrec_django.models.base import LLMRecManager, LLMRecModel, LLMRecQuerySet, host_foreign_key

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.models.functions import Now


class TSVectorField(models.Field):
    """A PostgreSQL tsvector column, made without django.contrib.postgres (Django 6 asks hosts to install that)."""

    def db_type(self, connection: Any) -> str:
        return "tsvector"


class SearchVector(models.Func):
    """The words of a resource with their places, title first.

    Every character of a script written without spaces (Han, kana, Hangul) is a word of its own, so that phrase
    queries find Chinese text without a segmenter.
    """

    output_field = TSVectorField()
    template = (
        "setweight(to_tsvector('simple'::regconfig, {title}), 'A') || "
        "setweight(to_tsvector('simple'::regconfig, {keywords}), 'B') || "
        "setweight(to_tsvector('simple'::regconfig, {rest}), 'C')"
    )

    def as_sql(self, compiler: Any, connection: Any, **extra: Any) -> tuple[str, list[Any]]:  # type: ignore[override]
        columns = [compiler.compile(expression)[0] for expression in self.get_source_expressions()]
        title, keywords, description, translations = columns

        def spaced(text: str) -> str:
            return f"regexp_replace({text}, '([\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff])', ' \\1 ', 'g')"

        return (
            self.template.format(
                title=spaced(title),
                keywords=spaced(f"{keywords}::text"),
                # A tsvector holds at most 1 MB; 200,000 characters stay below it in any script.
                rest=spaced(f"left({description} || ' ' || {translations}::text, 200000)"),
            ),
            [],
        )


SEPARATOR = Value("\x1f")

# So that they are in the catalogue of translations; other kinds are as good.
COMMON_KINDS = (
    gettext_noop("course"),
    gettext_noop("lesson"),
    gettext_noop("module"),
    gettext_noop("video"),
    gettext_noop("article"),
    gettext_noop("book"),
    gettext_noop("paper"),
    gettext_noop("exercise"),
)


class ResourceQuerySet(LLMRecQuerySet):
    def in_tenant(self, tenant: str) -> ResourceQuerySet:
        return self.filter(tenant=tenant)

    def available(self, at: datetime | Now) -> ResourceQuerySet:
        """Keep published resources whose dates include `at` (aware, or the database's own clock)."""
        return self.filter(
            Q(available_from__isnull=True) | Q(available_from__lte=at),
            Q(available_until__isnull=True) | Q(available_until__gt=at),
            published=True,
        )


class Resource(LLMRecModel):
    """One learning resource; field names follow schema.org and LRMI.

    .. no_pii:
    """

    class Level(models.TextChoices):
        BEGINNER = "beginner", _("Beginner")
        INTERMEDIATE = "intermediate", _("Intermediate")
        ADVANCED = "advanced", _("Advanced")

    tenant = models.CharField(_("tenant"), max_length=64, default="default")
    key = models.CharField(
        _("key"), max_length=255, help_text=_("Stable name of the resource for clients, unique in its tenant.")
    )
    content_type = host_foreign_key("contenttypes.ContentType", null=True, blank=True, editable=False, related_name="+")
    # Text, because a host's keys may be integers or UUIDs.
    object_id = models.CharField(_("object id"), max_length=255, blank=True, editable=False)

    title = models.CharField(_("title"), max_length=1000, blank=True)
    description = models.TextField(_("description"), blank=True)
    body = models.TextField(
        _("further text"), blank=True, help_text=_("Read by the encoder only (a transcript, say); never shown.")
    )
    translations = models.JSONField(
        _("translations"),
        default=dict,
        blank=True,
        help_text=_('Title and description by language, as {"zh-hans": {"title": "…", "description": "…"}}.'),
    )
    kind = models.CharField(
        _("kind"), max_length=32, default="course", help_text=_("course, lesson, video, article, book, paper …")
    )
    authors = models.JSONField(_("authors"), default=list, blank=True)
    publisher = models.CharField(_("publisher"), max_length=255, blank=True)
    keywords = models.JSONField(_("keywords"), default=list, blank=True)
    language = models.CharField(
        _("language"), max_length=35, blank=True, help_text=_("Language tag such as en or zh-hans.")
    )
    level = models.CharField(_("level"), max_length=16, blank=True, choices=Level.choices)
    duration_minutes = models.PositiveIntegerField(_("duration in minutes"), null=True, blank=True)
    url = models.CharField(_("web address"), max_length=2000, blank=True)
    license = models.CharField(_("licence"), max_length=255, blank=True)
    image = models.CharField(_("image address"), max_length=2000, blank=True)
    extra = models.JSONField(_("extra"), default=dict, blank=True)

    published = models.BooleanField(_("published"), default=True)
    available_from = models.DateTimeField(_("available from"), null=True, blank=True)
    available_until = models.DateTimeField(_("available until"), null=True, blank=True)

    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)

    # The database computes these two, so that bulk_create(), update(), COPY and raw SQL keep them true.
    content_hash = models.GeneratedField(
        expression=MD5(
            Concat(
                F("title"),
                SEPARATOR,
                F("description"),
                SEPARATOR,
                F("body"),
                SEPARATOR,
                Cast(F("keywords"), models.TextField()),
                SEPARATOR,
                Cast(F("translations"), models.TextField()),
                output_field=models.TextField(),
            )
        ),
        output_field=models.CharField(max_length=32),
        db_persist=True,
    )
    search_words = models.GeneratedField(
        expression=SearchVector(F("title"), F("keywords"), F("description"), F("translations")),
        output_field=TSVectorField(),
        db_persist=True,
    )

    objects = LLMRecManager.from_queryset(ResourceQuerySet)()

    class Meta(LLMRecModel.Meta):
        verbose_name = _("learning resource")
        verbose_name_plural = _("learning resources")
        constraints = [
            models.UniqueConstraint(fields=["tenant", "key"], name="llmrec_resource_key_unique"),
            models.UniqueConstraint(
                fields=["tenant", "content_type", "object_id"],
                condition=Q(content_type__isnull=False),
                name="llmrec_resource_object_unique",
            ),
            models.CheckConstraint(
                condition=Q(available_from__isnull=True)
                | Q(available_until__isnull=True)
                | Q(available_until__gt=F("available_from")),
                name="llmrec_resource_dates_ordered",
                violation_error_message=_("The end must be later than the beginning."),
            ),
        ]
        indexes = [
            models.Index(fields=["tenant", "-created_at"], name="llmrec_resource_newest"),
            models.Index(fields=["content_type", "object_id"], name="llmrec_resource_object"),
        ]

    def __str__(self) -> str:
        return self.local_title or self.key

    @property
    def local_title(self) -> str:
        """The title in the active language, where there is one."""
        return self._localised("title") or self.title

    @property
    def local_description(self) -> str:
        """The description in the active language, where there is one."""
        return self._localised("description") or self.description

    @property
    def kind_label(self) -> str:
        """The kind in the active language; a site names its own kinds in its own catalogue of translations."""
        return kind_label(self.kind)

    def _localised(self, field: str) -> str:
        language = (get_language() or "").lower()
        # Raw SQL may have stored anything that is JSON; a page must not fail for it.
        if not isinstance(self.translations, dict) or not language:
            return ""
        for tag in (language, language.split("-")[0]):
            entry = self.translations.get(tag)
            if isinstance(entry, dict) and entry.get(field):
                return str(entry[field])
        return ""


def kind_label(kind: str) -> str:
    """Return a kind in the active language; the kind itself where no catalogue has it."""
    return gettext(kind) if kind else ""


class Competency(LLMRecModel):
    """Something a learner can know or do.

    .. no_pii:
    """

    tenant = models.CharField(_("tenant"), max_length=64, default="default")
    key = models.CharField(_("key"), max_length=255)
    title = models.CharField(_("title"), max_length=500)
    description = models.TextField(_("description"), blank=True)

    objects = LLMRecManager.from_queryset(LLMRecQuerySet)()

    class Meta(LLMRecModel.Meta):
        verbose_name = _("competency")
        verbose_name_plural = _("competencies")
        constraints = [models.UniqueConstraint(fields=["tenant", "key"], name="llmrec_competency_key_unique")]

    def __str__(self) -> str:
        return self.title or self.key


class ResourceCompetency(LLMRecModel):
    """A resource teaches, assesses or requires a competency.

    .. no_pii:
    """

    class Relation(models.TextChoices):
        TEACHES = "teaches", _("teaches")
        ASSESSES = "assesses", _("assesses")
        REQUIRES = "requires", _("requires")

    resource = models.ForeignKey(
        Resource, models.CASCADE, related_name="competency_links", verbose_name=_("learning resource")
    )
    competency = models.ForeignKey(
        Competency, models.CASCADE, related_name="resource_links", verbose_name=_("competency")
    )
    relation = models.CharField(_("relation"), max_length=16, choices=Relation.choices, default=Relation.TEACHES)
    strength = models.FloatField(
        _("strength"), default=1.0, validators=[MinValueValidator(0.0), MaxValueValidator(1.0)]
    )

    objects = LLMRecManager.from_queryset(LLMRecQuerySet)()

    class Meta(LLMRecModel.Meta):
        verbose_name = _("competency of a resource")
        verbose_name_plural = _("competencies of resources")
        constraints = [
            models.UniqueConstraint(
                fields=["resource", "competency", "relation"], name="llmrec_resource_competency_unique"
            ),
            models.CheckConstraint(
                condition=Q(strength__gte=0, strength__lte=1), name="llmrec_competency_strength_range"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.resource_id} {self.get_relation_display()} {self.competency_id}"


class Prerequisite(LLMRecModel):
    """`resource` asks for `requires` to be done first.

    .. no_pii:
    """

    resource = models.ForeignKey(
        Resource, models.CASCADE, related_name="prerequisites", verbose_name=_("learning resource")
    )
    requires = models.ForeignKey(
        Resource, models.CASCADE, related_name="unlocks", verbose_name=pgettext_lazy("of a resource", "requires")
    )
    strength = models.FloatField(
        _("strength"),
        default=1.0,
        validators=[MinValueValidator(0.0), MaxValueValidator(1.0)],
        help_text=_("1 is a hard requirement, less is advice."),
    )

    objects = LLMRecManager.from_queryset(LLMRecQuerySet)()

    class Meta(LLMRecModel.Meta):
        verbose_name = pgettext_lazy("between resources", "prerequisite")
        verbose_name_plural = pgettext_lazy("between resources", "prerequisites")
        constraints = [
            models.UniqueConstraint(fields=["resource", "requires"], name="llmrec_prerequisite_unique"),
            models.CheckConstraint(
                condition=~Q(resource=F("requires")),
                name="llmrec_prerequisite_not_itself",
                violation_error_message=_("A resource cannot require itself."),
            ),
            models.CheckConstraint(
                condition=Q(strength__gte=0, strength__lte=1), name="llmrec_prerequisite_strength_range"
            ),
        ]

    def __str__(self) -> str:
        return gettext("%(resource)s needs %(requires)s") % {
            "resource": self.resource_id,
            "requires": self.requires_id,
        }
