"""The campus's own tables. Nothing here knows of recommendations: that is what llmrec.py beside it is for."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext_lazy as _


def in_language(english: str, chinese: str) -> str:
    """Return the text of the active language, or the other where it is missing."""
    first, second = (chinese, english) if (get_language() or "").startswith("zh") else (english, chinese)
    return first or second


class Subject(models.Model):
    key = models.SlugField(unique=True)
    name_en = models.CharField(_("name (English)"), max_length=100)
    name_zh = models.CharField(_("name (Chinese)"), max_length=100, blank=True)
    position = models.PositiveSmallIntegerField(_("position"), default=0)

    class Meta:
        ordering = ["position", "key"]
        verbose_name = _("subject")
        verbose_name_plural = _("subjects")

    def __str__(self) -> str:
        return in_language(self.name_en, self.name_zh)


class Level(models.TextChoices):
    BEGINNER = "beginner", _("Beginner")
    INTERMEDIATE = "intermediate", _("Intermediate")
    ADVANCED = "advanced", _("Advanced")


class Language(models.TextChoices):
    ENGLISH = "en", _("English")
    CHINESE = "zh-hans", _("Chinese")


class PublishedManager(models.Manager):
    """Like many a site's default manager, it hides drafts."""

    def get_queryset(self) -> models.QuerySet:
        return super().get_queryset().filter(published=True)


class Material(models.Model):
    """What courses, books and papers share."""

    key = models.SlugField(_("key"), max_length=100, unique=True)
    title_en = models.CharField(_("title (English)"), max_length=300)
    title_zh = models.CharField(_("title (Chinese)"), max_length=300, blank=True)
    level = models.CharField(_("level"), max_length=16, choices=Level)
    language = models.CharField(_("language"), max_length=16, choices=Language)
    subjects = models.ManyToManyField(Subject, verbose_name=_("subjects"), related_name="%(class)ss", blank=True)
    keywords = models.JSONField(_("keywords"), default=list, blank=True)
    published = models.BooleanField(_("published"), default=True)
    added_at = models.DateTimeField(_("added"), default=timezone.now)

    objects = PublishedManager()
    with_drafts = models.Manager()

    class Meta:
        abstract = True
        ordering = ["title_en"]

    def __str__(self) -> str:
        return self.title

    @property
    def title(self) -> str:
        return in_language(self.title_en, self.title_zh)

    @property
    def summary(self) -> str:
        raise NotImplementedError

    @property
    def kind(self) -> str:
        return self._meta.model_name

    @classmethod
    def kind_name(cls) -> str:
        """Return what a reader calls this kind of material."""
        return capfirst(cls._meta.verbose_name)

    def get_absolute_url(self) -> str:
        return reverse(f"campus:{self.kind}", args=[self.key])


class Course(Material):
    summary_en = models.TextField(_("summary (English)"))
    summary_zh = models.TextField(_("summary (Chinese)"), blank=True)
    instructor = models.CharField(_("instructor"), max_length=200)
    hours = models.PositiveSmallIntegerField(_("hours"))
    prerequisites = models.ManyToManyField(
        "self", verbose_name=_("prerequisites"), symmetrical=False, related_name="leads_to", blank=True
    )

    class Meta(Material.Meta):
        verbose_name = _("course")
        verbose_name_plural = _("courses")

    @property
    def summary(self) -> str:
        return in_language(self.summary_en, self.summary_zh)

    @property
    def byline(self) -> str:
        return self.instructor

    @property
    def extent(self) -> str:
        return ngettext("%(count)d hour", "%(count)d hours", self.hours) % {"count": self.hours}


class Lesson(models.Model):
    course = models.ForeignKey(Course, models.CASCADE, related_name="lessons")
    position = models.PositiveSmallIntegerField(_("position"))
    title_en = models.CharField(_("title (English)"), max_length=300)
    title_zh = models.CharField(_("title (Chinese)"), max_length=300, blank=True)

    class Meta:
        ordering = ["course", "position"]
        verbose_name = _("lesson")
        verbose_name_plural = _("lessons")
        constraints = [models.UniqueConstraint(fields=["course", "position"], name="campus_lesson_position")]

    def __str__(self) -> str:
        return self.title

    @property
    def title(self) -> str:
        return in_language(self.title_en, self.title_zh)


class Book(Material):
    # A library system brought its own keys.
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    summary_en = models.TextField(_("summary (English)"))
    summary_zh = models.TextField(_("summary (Chinese)"), blank=True)
    authors = models.JSONField(_("authors"), default=list)
    year = models.PositiveSmallIntegerField(_("year"))
    pages = models.PositiveSmallIntegerField(_("pages"))

    class Meta(Material.Meta):
        verbose_name = _("book")
        verbose_name_plural = _("books")

    @property
    def summary(self) -> str:
        return in_language(self.summary_en, self.summary_zh)

    @property
    def byline(self) -> str:
        return ", ".join(self.authors)

    @property
    def extent(self) -> str:
        return ngettext("%(count)d page", "%(count)d pages", self.pages) % {"count": self.pages}


class Paper(Material):
    abstract_en = models.TextField(_("abstract (English)"))
    abstract_zh = models.TextField(_("abstract (Chinese)"), blank=True)
    authors = models.JSONField(_("authors"), default=list)
    venue = models.CharField(_("venue"), max_length=300, blank=True)
    year = models.PositiveSmallIntegerField(_("year"))

    class Meta(Material.Meta):
        verbose_name = _("paper")
        verbose_name_plural = _("papers")

    @property
    def summary(self) -> str:
        return in_language(self.abstract_en, self.abstract_zh)

    @property
    def byline(self) -> str:
        return ", ".join(self.authors)

    @property
    def extent(self) -> str:
        return str(self.year)


class Student(models.Model):
    """A member of the campus; activity hangs on the student, not on the account."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, related_name="student")
    key = models.SlugField(unique=True)
    name_en = models.CharField(_("name (English)"), max_length=100)
    name_zh = models.CharField(_("name (Chinese)"), max_length=100, blank=True)
    language = models.CharField(_("language"), max_length=16, choices=Language, default=Language.ENGLISH)
    about_en = models.TextField(_("about (English)"), blank=True)
    about_zh = models.TextField(_("about (Chinese)"), blank=True)
    goals = models.TextField(_("goals"), blank=True, help_text=_("In the student's own words."))
    goals_en = models.TextField(_("goals (English)"), blank=True, help_text=_("Where the own words are not."))
    is_persona = models.BooleanField(_("demo persona"), default=False)
    position = models.PositiveSmallIntegerField(_("position"), default=0)

    class Meta:
        ordering = ["position", "key"]
        verbose_name = _("student")
        verbose_name_plural = _("students")

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        return in_language(self.name_en, self.name_zh)

    @property
    def about(self) -> str:
        return in_language(self.about_en, self.about_zh)

    @property
    def goal(self) -> str:
        return in_language(self.goals_en or self.goals, self.goals)


class CourseRun(models.Model):
    """A course as it is given in one term; students enrol in a run."""

    course = models.ForeignKey(Course, models.CASCADE, related_name="runs")
    term = models.CharField(_("term"), max_length=32)
    starts_on = models.DateField(_("starts on"))

    class Meta:
        ordering = ["-starts_on"]
        verbose_name = _("course run")
        verbose_name_plural = _("course runs")
        constraints = [models.UniqueConstraint(fields=["course", "term"], name="campus_run_term")]

    def __str__(self) -> str:
        return f"{self.course} ({self.term})"


class Enrolment(models.Model):
    run = models.ForeignKey(CourseRun, models.CASCADE, related_name="enrolments")
    student = models.ForeignKey(Student, models.CASCADE, related_name="enrolments")
    enrolled_at = models.DateTimeField(_("enrolled at"), default=timezone.now)

    class Meta:
        verbose_name = _("enrolment")
        verbose_name_plural = _("enrolments")
        constraints = [models.UniqueConstraint(fields=["run", "student"], name="campus_enrolment_once")]

    def __str__(self) -> str:
        return f"{self.student}: {self.run}"


class Certificate(models.Model):
    """Issued when a course is completed."""

    enrolment = models.OneToOneField(Enrolment, models.CASCADE, related_name="certificate")
    issued_at = models.DateTimeField(_("issued at"), default=timezone.now)

    class Meta:
        verbose_name = _("certificate")
        verbose_name_plural = _("certificates")

    def __str__(self) -> str:
        return str(self.enrolment)


class LessonProgress(models.Model):
    enrolment = models.ForeignKey(Enrolment, models.CASCADE, related_name="progress")
    lesson = models.ForeignKey(Lesson, models.CASCADE, related_name="progress")
    fraction = models.FloatField(
        _("fraction"), default=1.0, validators=[MinValueValidator(0.0), MaxValueValidator(1.0)]
    )
    updated_at = models.DateTimeField(_("updated at"), default=timezone.now)

    class Meta:
        verbose_name = _("lesson progress")
        verbose_name_plural = _("lesson progress")
        constraints = [
            models.UniqueConstraint(fields=["enrolment", "lesson"], name="campus_progress_once"),
            models.CheckConstraint(condition=Q(fraction__gte=0, fraction__lte=1), name="campus_progress_range"),
        ]

    def __str__(self) -> str:
        return f"{self.enrolment}: {self.lesson}"


class Loan(models.Model):
    book = models.ForeignKey(Book, models.CASCADE, related_name="loans")
    borrower = models.ForeignKey(Student, models.CASCADE, related_name="loans")
    # The library's system keeps dates, not times.
    borrowed_on = models.DateField(_("borrowed on"), default=timezone.localdate)
    returned_on = models.DateField(_("returned on"), null=True, blank=True)

    class Meta:
        ordering = ["-borrowed_on"]
        verbose_name = _("loan")
        verbose_name_plural = _("loans")

    def __str__(self) -> str:
        return f"{self.borrower}: {self.book}"


class Bookmark(models.Model):
    """A paper on a student's reading list."""

    paper = models.ForeignKey(Paper, models.CASCADE, related_name="bookmarks")
    student = models.ForeignKey(Student, models.CASCADE, related_name="bookmarks")
    saved_at = models.DateTimeField(_("saved at"), default=timezone.now)

    class Meta:
        verbose_name = _("bookmark")
        verbose_name_plural = _("bookmarks")
        constraints = [models.UniqueConstraint(fields=["paper", "student"], name="campus_bookmark_once")]

    def __str__(self) -> str:
        return f"{self.student}: {self.paper}"


class Rating(models.Model):
    """One to five stars for a course, a book or a paper."""

    student = models.ForeignKey(Student, models.CASCADE, related_name="ratings")
    content_type = models.ForeignKey(ContentType, models.CASCADE)
    object_id = models.CharField(max_length=36)
    item = GenericForeignKey()
    stars = models.PositiveSmallIntegerField(_("stars"), validators=[MinValueValidator(1), MaxValueValidator(5)])
    rated_at = models.DateTimeField(_("rated at"), default=timezone.now)

    class Meta:
        verbose_name = _("rating")
        verbose_name_plural = _("ratings")
        constraints = [
            models.UniqueConstraint(fields=["student", "content_type", "object_id"], name="campus_rating_once"),
            models.CheckConstraint(condition=Q(stars__gte=1, stars__lte=5), name="campus_rating_range"),
        ]

    def __str__(self) -> str:
        return f"{self.student}: {self.item} ({self.stars})"
