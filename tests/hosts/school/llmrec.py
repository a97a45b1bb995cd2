"""What this site's models mean to the recommender."""

from llmrec_django.sources import ActivitySource, ResourceSource, register, register_activity
from tests.hosts.school.models import Course, Enrolment


@register(Course)
class CourseSource(ResourceSource):
    name = "course"
    fields = {"title": "title", "description": "summary"}

    def visible_to(self, user, queryset):
        return queryset if user is not None else queryset.filter(members_only=False)


@register_activity(Enrolment)
class EnrolmentActivity(ActivitySource):
    verb = "enrolled"
    resource = "course"
    occurred_at = "created_at"
