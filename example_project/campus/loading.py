"""Writes the campus's content and its demo people into the database; running it again changes nothing."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.utils import timezone

from example_project.campus.models import (
    Book,
    Bookmark,
    Certificate,
    Course,
    CourseRun,
    Enrolment,
    Lesson,
    LessonProgress,
    Loan,
    Paper,
    Rating,
    Student,
    Subject,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import Model

CONTENT = Path(__file__).parent / "content"


def read(name: str) -> list[dict[str, Any]]:
    """Return the entries of one content file."""
    return json.loads((CONTENT / f"{name}.json").read_text(encoding="utf-8"))


@transaction.atomic
def load_content() -> int:
    """Create or update subjects, courses, books and papers; return how many materials there are."""
    subjects = {}
    for position, entry in enumerate(read("subjects")):
        subjects[entry["key"]], _ = Subject.objects.update_or_create(
            key=entry["key"], defaults={"name_en": entry["en"], "name_zh": entry["zh"], "position": position}
        )
    entries = {Course: read("courses"), Book: read("books"), Paper: read("papers")}
    for model, rows in entries.items():
        for entry in rows:
            material = _save_material(model, entry)
            _set_related(material.subjects, [subjects[key] for key in entry["subjects"]])
            if model is Course:
                _save_lessons(material, entry["lessons"])
    courses = {course.key: course for course in Course.with_drafts.all()}
    for entry in entries[Course]:
        _set_related(courses[entry["key"]].prerequisites, [courses[key] for key in entry["prerequisites"]])
        CourseRun.objects.get_or_create(
            course=courses[entry["key"]], term="2026", defaults={"starts_on": datetime.date(2026, 9, 1)}
        )
    return sum(len(rows) for rows in entries.values())


# Fields that content files name and a model has under the same name.
SHARED_FIELDS = (
    "title_en", "title_zh", "summary_en", "summary_zh", "abstract_en", "abstract_zh", "level", "language",
    "keywords", "hours", "instructor", "authors", "year", "pages", "venue",
)  # fmt: skip


def _save_material(model: type[Model], entry: dict[str, Any]) -> Any:
    """Save a material only where it differs, so that a second start asks for no new embedding."""
    values = {name: entry[name] for name in SHARED_FIELDS if name in entry}
    material = model.with_drafts.filter(key=entry["key"]).first() or model(key=entry["key"])
    if material._state.adding or any(getattr(material, name) != value for name, value in values.items()):
        for name, value in values.items():
            setattr(material, name, value)
        material.save()
    return material


def _set_related(manager: Any, objects: list[Any]) -> None:
    if set(manager.values_list("pk", flat=True)) != {obj.pk for obj in objects}:
        manager.set(objects)


def _save_lessons(course: Course, entries: list[dict[str, str]]) -> None:
    wanted = [(number, entry["title_en"], entry["title_zh"]) for number, entry in enumerate(entries, start=1)]
    if list(course.lessons.values_list("position", "title_en", "title_zh")) != wanted:
        course.lessons.filter(position__gt=len(wanted)).delete()
        for position, english, chinese in wanted:
            Lesson.objects.update_or_create(
                course=course, position=position, defaults={"title_en": english, "title_zh": chinese}
            )


@transaction.atomic
def load_people(personas: Iterable[dict[str, Any]], activity: Iterable[dict[str, Any]]) -> int:
    """Create the personas and learners with their activity, unless they are there; return the number of students.

    Args:
        personas: Entries with key, name_en, name_zh, language, about_en, about_zh, goals
            and, where those are not English, goals_en.
        activity: Entries with learner, name, language, kind, key, verb, value and at (days ago), any order.
    """
    if Student.objects.exists():
        return Student.objects.count()
    personas = {entry["key"]: entry for entry in personas}
    events = sorted(activity, key=lambda event: -event["at"])
    names = {event["learner"]: event for event in events}
    students = {}
    for position, (key, entry) in enumerate(personas.items()):
        students[key] = _add_student(key, entry, position=position, is_persona=True)
    for key, event in names.items():
        if key not in students:
            entry = {"name_en": event["name"], "language": event["language"]}
            students[key] = _add_student(key, entry, position=len(personas))
    ActivityWriter(students).write(events)
    return len(students)


def _add_student(key: str, entry: dict[str, Any], **extra: Any) -> Student:
    user = get_user_model()(username=key)
    user.set_unusable_password()
    user.save()
    fields = ("name_en", "name_zh", "language", "about_en", "about_zh", "goals", "goals_en")
    return Student.objects.create(
        user=user, key=key, **{name: entry[name] for name in fields if name in entry}, **extra
    )


class ActivityWriter:
    """Turns generated events into rows of the campus's own tables."""

    def __init__(self, students: dict[str, Student]) -> None:
        self.students = students
        self.now = timezone.now()
        self.materials: dict[tuple[str, str], Any] = {
            (model._meta.model_name, material.key): material
            for model in (Course, Book, Paper)
            for material in model.objects.all()
        }
        self.runs = {run.course_id: run for run in CourseRun.objects.all()}
        self.types = ContentType.objects.get_for_models(Course, Book, Paper)

    def write(self, events: Iterable[dict[str, Any]]) -> None:
        for event in events:
            material = self.materials[event["kind"], event["key"]]
            at = self.now - datetime.timedelta(days=event["at"])
            getattr(self, f"_{event['verb']}")(self.students[event["learner"]], material, event.get("value"), at)

    def _enrolled(self, student: Student, course: Course, value: float | None, at: datetime.datetime) -> Enrolment:
        run = self.runs[course.pk]
        return Enrolment.objects.get_or_create(run=run, student=student, defaults={"enrolled_at": at})[0]

    def _progressed(self, student: Student, course: Course, value: float | None, at: datetime.datetime) -> None:
        enrolment = self._enrolled(student, course, None, at)
        lessons = list(course.lessons.all())
        for lesson in lessons[: round((value or 0) * len(lessons))]:
            LessonProgress.objects.get_or_create(enrolment=enrolment, lesson=lesson, defaults={"updated_at": at})

    def _completed(self, student: Student, course: Course, value: float | None, at: datetime.datetime) -> None:
        self._progressed(student, course, 1.0, at)
        enrolment = self._enrolled(student, course, None, at)
        Certificate.objects.get_or_create(enrolment=enrolment, defaults={"issued_at": at})

    def _borrowed(self, student: Student, book: Book, value: float | None, at: datetime.datetime) -> None:
        Loan.objects.create(book=book, borrower=student, borrowed_on=at.date())

    def _bookmarked(self, student: Student, paper: Paper, value: float | None, at: datetime.datetime) -> None:
        Bookmark.objects.get_or_create(paper=paper, student=student, defaults={"saved_at": at})

    def _rated(self, student: Student, item: Any, value: float | None, at: datetime.datetime) -> None:
        Rating.objects.update_or_create(
            student=student,
            content_type=self.types[type(item)],
            object_id=str(item.pk),
            defaults={"stars": round(value or 3), "rated_at": at},
        )

    def _viewed(self, student: Student, item: Any, value: float | None, at: datetime.datetime) -> None:
        """The campus keeps no page visits: llmrec_django's beacon does."""


def load_goals() -> None:
    """Give personas' goals and languages to their learner profiles, where a real site would have a settings page."""
    from llmrec_django import api

    for student in Student.objects.filter(is_persona=True).exclude(goals="").select_related("user"):
        profile = api.get_learner(student.user)
        if not profile.goals:
            # An English encoder understands little of what is written in Chinese.
            is_english = settings.LLMREC["ENCODER"] == "minilm"
            profile.goals = "\n".join(filter(None, [student.goals, student.goals_en if is_english else ""]))
            # Who reads Chinese here reads English too; the other way round few do.
            profile.languages = ["en"] if student.language == "en" else []
            profile.save()


def ensure_placements() -> None:
    """Create the named places of the campus's pages; how their lists are made is edited in the admin."""
    from llmrec_django.models import Placement

    Placement.objects.get_or_create(name="home", defaults={"size": 6})
    Placement.objects.get_or_create(name="my-learning", defaults={"size": 6, "diversity": 0.5})


def ensure_admin(username: str, password: str) -> None:
    """Create the demo administrator."""
    users = get_user_model().objects
    if not users.filter(username=username).exists():
        users.create_superuser(username, password=password)
