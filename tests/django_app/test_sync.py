"""Resources follow the host's rows."""

import datetime as dt

import pytest
from django.contrib.contenttypes.models import ContentType

from llmrec_django.models import Interaction, LearnerProfile, Prerequisite, Resource, ResourceCompetency
from llmrec_django.services import sync
from llmrec_django.services.sync_activity import sync_activity
from llmrec_django.sources import paused, registry
from tests.testapp.models import Book, Course, Enrolment, Lesson, Member, Paper, Run, Student, Subject

pytestmark = pytest.mark.django_db


def resource(obj):
    return sync.resource_of(registry.source_for(obj), obj.pk)


def test_saving_a_host_object_makes_its_resource():
    course = Course.objects.create(
        name="Algebra", summary="<p>Groups</p>", difficulty="Introductory", length=dt.timedelta(minutes=90, seconds=1),
        name_zh="代数", language="zh_Hans", opens=dt.date(2026, 1, 1), closes=dt.date(2026, 1, 31),
    )  # fmt: skip
    found = Resource.objects.get(key=f"course:{course.pk}")
    assert (found.title, found.description, found.level) == ("Algebra", "<p>Groups</p>", "beginner")
    assert (found.duration_minutes, found.language, found.kind) == (91, "zh-hans", "course")
    assert found.translations == {"zh-hans": {"title": "代数"}}
    assert found.url == f"/courses/{course.pk}/"
    assert found.content_type == ContentType.objects.get_for_model(Course)
    assert found.object_id == str(course.pk)
    assert found.tenant == "default"
    assert found.published


def test_activity_over_paths():
    member = Member.objects.create_user("a@example.org")
    student = Student.objects.create(user=member)
    course = Course.objects.create(name="Algebra")
    enrolment = Enrolment.objects.create(run=Run.objects.create(course=course), student=student)
    found = Interaction.objects.get()
    assert (found.verb, found.resource.title, found.learner.user) == ("enrolled", "Algebra", member)
    enrolment.delete()
    assert not Interaction.objects.exists()
