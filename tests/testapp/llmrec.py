"""What this host's models mean to the recommender."""

from llmrec_django.sources import ActivitySource, ResourceSource, register, register_activity
from tests.testapp.models import Book, Course, Enrolment, Loan, Rating


@register(Course)
class CourseSource(ResourceSource):
    name = "course"
    kind = "course"
    fields = {
        "title": "name",
        "description": "summary",
        "body": "lessons__text",
        "keywords": "all_keywords",
        "level": "difficulty",
        "language": "language",
        "duration_minutes": "length",
        "available_from": "opens",
        "available_until": "closes",
        "translations": {"zh-hans": {"title": "name_zh"}},
    }

    def get_queryset(self):
        return super().get_queryset().prefetch_related("subjects", "tags")

    def all_keywords(self, course):
        return [subject.name for subject in course.subjects.all()] + [tag.name for tag in course.tags.all()]

    def is_recommendable(self, course):
        return not course.deleted

    def visible_to(self, user, queryset):
        return None if user is not None else queryset.filter(members_only=False)

    def get_prerequisites(self, course):
        return course.requires.all()

    def get_competencies(self, course):
        return [(f"subject-{s.pk}", s.name, "teaches", 0.5) for s in course.subjects.all()]


@register(Book)
class BookSource(ResourceSource):
    name = "book"
    kind = "book"
    fields = {
        "title": "title",
        "description": "blurb",
        "authors": "authors",
        "keywords": "shelves__label",
        "url": lambda book: f"/books/{book.pk}/",
    }


@register("testapp.Paper")
class PaperSource(ResourceSource):
    name = "paper"
    kind = "paper"
    fields = {"title": "title", "description": "abstract"}


@register_activity(Enrolment)
class EnrolmentSource(ActivitySource):
    verb = "enrolled"
    learner = "student.user"
    resource = "run.course"

    def get_verb(self, enrolment):
        return None if enrolment.cancelled else self.verb


@register_activity(Rating)
class RatingSource(ActivitySource):
    verb = "rated"
    resource = "course"
    occurred_at = "given_on"
    value = "stars"


@register_activity(Loan)
class BorrowedSource(ActivitySource):
    verb = "borrowed"
    learner = "reader"
    resource = "book"
    occurred_at = "borrowed_at"


@register_activity(Loan)
class FinishedSource(ActivitySource):
    verb = "completed"
    learner = "reader"
    resource = "book"
    occurred_at = "finished_at"

    def get_verb(self, loan):
        return self.verb if loan.finished_at else None
