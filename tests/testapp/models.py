"""A host that breaks assumptions: UUID keys, a custom user without a username, hidden rows, inherited tables."""

import uuid

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models


class MemberManager(BaseUserManager):
    def create_user(self, email, password=None, **extra):
        member = self.model(email=self.normalize_email(email), **extra)
        member.set_password(password)
        member.save(using=self._db)
        return member

    def create_superuser(self, email, password=None, **extra):
        return self.create_user(email, password, is_staff=True, is_superuser=True, **extra)


class Member(AbstractBaseUser, PermissionsMixin):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    email = models.EmailField(unique=True)
    is_staff = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)

    objects = MemberManager()
    USERNAME_FIELD = "email"


class Student(models.Model):
    """The account is one step further away."""

    user = models.OneToOneField(Member, models.CASCADE)


class Subject(models.Model):
    name = models.CharField(max_length=100)

    def __str__(self):
        return self.name


class Tag(models.Model):
    """A generic link with a text key, as the common tagging apps have it."""

    name = models.CharField(max_length=100)
    content_type = models.ForeignKey(ContentType, models.CASCADE)
    object_id = models.CharField(max_length=64)
    item = GenericForeignKey()


class VisibleManager(models.Manager):
    def get_queryset(self):
        return super().get_queryset().filter(deleted=False)


class Course(models.Model):
    """UUID key, soft deletion behind the default manager, HTML, subjects and lessons in other tables."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=2000)
    name_zh = models.CharField(max_length=200, blank=True)
    summary = models.TextField(blank=True)
    difficulty = models.CharField(max_length=50, blank=True)
    language = models.CharField(max_length=20, default="en")
    length = models.DurationField(null=True, blank=True)
    opens = models.DateField(null=True, blank=True)
    closes = models.DateField(null=True, blank=True)
    deleted = models.BooleanField(default=False)
    members_only = models.BooleanField(default=False)
    author = models.ForeignKey(Subject, models.SET_NULL, null=True, blank=True, related_name="written")
    subjects = models.ManyToManyField(Subject, blank=True, related_name="courses")
    requires = models.ManyToManyField("self", symmetrical=False, blank=True, related_name="unlocks")
    tags = GenericRelation(Tag)

    objects = VisibleManager()
    everything = models.Manager()

    def __str__(self):
        return self.name

    def get_absolute_url(self):
        return f"/courses/{self.pk}/"


class VideoCourse(Course):
    """Its own table beside its parent's."""

    seconds = models.PositiveIntegerField(default=0)


class FeaturedCourse(Course):
    """Another class, the same rows."""

    class Meta:
        proxy = True


class Lesson(models.Model):
    course = models.ForeignKey(Course, models.CASCADE, related_name="lessons")
    text = models.TextField()
    position = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["position", "pk"]


class Run(models.Model):
    """The resource is one step further away."""

    course = models.ForeignKey(Course, models.CASCADE, related_name="runs")


class Enrolment(models.Model):
    """No timestamp; the course and the account are reached over other tables."""

    run = models.ForeignKey(Run, models.CASCADE)
    student = models.ForeignKey(Student, models.CASCADE)
    cancelled = models.BooleanField(default=False)


class Rating(models.Model):
    course = models.ForeignKey(Course, models.CASCADE)
    user = models.ForeignKey(Member, models.CASCADE)
    stars = models.PositiveSmallIntegerField(null=True)
    given_on = models.DateField()


class Book(models.Model):
    """An integer key and a plain table; loans go through a many-to-many table of their own."""

    title = models.CharField(max_length=300)
    blurb = models.TextField(blank=True)
    authors = models.CharField(max_length=300, blank=True)
    shelves = models.ManyToManyField("Shelf", through="Shelving", blank=True)


class Shelf(models.Model):
    label = models.CharField(max_length=100)


class Shelving(models.Model):
    book = models.ForeignKey(Book, models.CASCADE)
    shelf = models.ForeignKey(Shelf, models.CASCADE)


class Loan(models.Model):
    """One row that says two things: borrowed, and later given back as read."""

    book = models.ForeignKey(Book, models.CASCADE)
    reader = models.ForeignKey(Member, models.CASCADE)
    borrowed_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)


class Paper(models.Model):
    """A text key."""

    doi = models.CharField(primary_key=True, max_length=200)
    title = models.CharField(max_length=300)
    abstract = models.TextField(blank=True)
