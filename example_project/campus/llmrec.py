"""What the campus tells llmrec_django about its own models: which are resources, and which rows are activity.

This file is all that a site has to write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from example_project.campus.models import (
    Book,
    Bookmark,
    Certificate,
    Course,
    Enrolment,
    LessonProgress,
    Loan,
    Paper,
    Rating,
)
from llmrec_django.sources import ActivitySource, ResourceSource, register, register_activity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import QuerySet


class MaterialSource(ResourceSource):
    fields = {
        "title": "title_en",
        "description": "summary_en",
        "translations": {"zh-hans": {"title": "title_zh", "description": "summary_zh"}},
        "keywords": "get_keywords",
        "authors": "authors",
        "language": "language",
        "level": "level",
        # Read by the encoder, shown to nobody: what a resource is about counts more when it is said twice.
        "body": "get_subjects",
        # For the colour of a card; and a path, so that a changed subject refreshes the resource.
        "extra": {"subjects": "subjects__key"},
    }

    def get_queryset(self) -> QuerySet[Any]:
        return super().get_queryset().prefetch_related("subjects")

    def get_keywords(self, material: Any) -> list[str]:
        names = [name for subject in material.subjects.all() for name in (subject.name_en, subject.name_zh)]
        return [name for name in (*names, *material.keywords) if name]

    def get_subjects(self, material: Any) -> str:
        return "\n".join(f"Subject: {subject.name_en}\n学科：{subject.name_zh}" for subject in material.subjects.all())

    def is_recommendable(self, obj: Any) -> bool:
        return obj.published

    def visible_to(self, user: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(published=True)


@register(Course)
class CourseSource(MaterialSource):
    name = "course"
    kind = "course"
    fields = {
        **MaterialSource.fields,
        "authors": lambda course: [course.instructor],
        "duration_minutes": lambda course: course.hours * 60,
        # Lesson titles say what a course is about.
        "body": "get_body",
    }
    watch = {"campus.Lesson": "course"}

    def get_queryset(self) -> QuerySet[Any]:
        return super().get_queryset().prefetch_related("lessons", "prerequisites")

    def get_body(self, course: Course) -> str:
        lessons = (f"{lesson.title_en} {lesson.title_zh}".strip() for lesson in course.lessons.all())
        return "\n".join([self.get_subjects(course), *lessons])

    def get_prerequisites(self, obj: Course) -> Iterable[Course]:
        return obj.prerequisites.all()


@register(Book)
class BookSource(MaterialSource):
    name = "book"
    kind = "book"


@register(Paper)
class PaperSource(MaterialSource):
    name = "paper"
    kind = "paper"
    fields = {
        **MaterialSource.fields,
        "description": "abstract_en",
        "translations": {"zh-hans": {"title": "title_zh", "description": "abstract_zh"}},
        "publisher": "venue",
    }


@register_activity(Enrolment)
class EnrolmentActivity(ActivitySource):
    verb = "enrolled"
    learner = "student.user"
    resource = "run.course"
    occurred_at = "enrolled_at"


@register_activity(Certificate)
class CertificateActivity(ActivitySource):
    verb = "completed"
    learner = "enrolment.student.user"
    resource = "enrolment.run.course"
    occurred_at = "issued_at"


@register_activity(LessonProgress)
class LessonProgressActivity(ActivitySource):
    verb = "progressed"
    learner = "enrolment.student.user"
    resource = "lesson.course"
    occurred_at = "updated_at"
    value = "fraction"


@register_activity(Loan)
class LoanActivity(ActivitySource):
    verb = "borrowed"
    learner = "borrower.user"
    resource = "book"
    occurred_at = "borrowed_on"


@register_activity(Bookmark)
class BookmarkActivity(ActivitySource):
    verb = "bookmarked"
    learner = "student.user"
    resource = "paper"
    occurred_at = "saved_at"


@register_activity(Rating)
class RatingActivity(ActivitySource):
    verb = "rated"
    learner = "student.user"
    resource = "item"
    occurred_at = "rated_at"
    value = "stars"
