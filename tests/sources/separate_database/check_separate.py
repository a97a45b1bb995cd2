"""Run by test_separate_database.py, with the settings beside this file."""

import datetime as dt
import io

import pytest
from django.core.management import call_command
from django.db import OperationalError, connections, router

from llmrec_django import receivers
from llmrec_django.models import Interaction, LearnerProfile, Prerequisite, Resource
from llmrec_django.services.learners import get_learner, merge_visitor
from llmrec_django.services.privacy import export_learner, forget_learner
from llmrec_django.services.record import record
from llmrec_django.sources import paused
from llmrec_django.types import InteractionInput
from tests.testapp.models import Course, Enrolment, Member, Rating, Run, Student, Subject

pytestmark = pytest.mark.django_db(databases=["default", "recommendations"])


@pytest.fixture
def member():
    return Member.objects.create_user("a@example.org")


def test_each_table_is_in_one_database_only():
    def tables(alias):
        return set(connections[alias].introspection.table_names())

    assert connections["default"].vendor == "sqlite"
    ours = {name for name in tables("recommendations") if name.startswith("llmrec_django_")}
    assert "llmrec_django_resource" in ours
    assert not ours & tables("default")
    assert router.db_for_read(Course) == "default"
    assert (router.db_for_read(Resource), router.db_for_write(Resource)) == ("recommendations", "recommendations")


def test_saves_and_deletes_are_followed(member):
    course, later = Course.objects.create(name="Algebra"), Course.objects.create(name="Topology")
    later.requires.add(course)
    course.subjects.add(Subject.objects.create(name="maths"))
    student = Student.objects.create(user=member)
    enrolment = Enrolment.objects.create(run=Run.objects.create(course=course), student=student)
    assert Resource.objects.get(title="Algebra").keywords == ["maths"]
    assert Prerequisite.objects.count() == 1
    found = Interaction.objects.get()
    assert (found.learner.user_id, found.resource.title) == (member.pk, "Algebra")
    enrolment.delete()
    assert not Interaction.objects.exists()
    course.delete()
    assert Resource.objects.get().title == "Topology"


def test_the_command_backfills_and_repairs(member):
    with paused():
        course = Course.objects.create(name="Algebra")
        Rating.objects.create(course=course, user=member, stars=5, given_on=dt.date(2026, 1, 1))
    call_command("llmrec_sync", stdout=io.StringIO())
    assert Interaction.objects.get().value == 1.0
    with paused():
        course.delete()
    call_command("llmrec_sync", stdout=io.StringIO())
    assert not Resource.objects.exists()


def test_deleting_an_account_deletes_its_learner(member):
    course = Course.objects.create(name="Algebra")
    Rating.objects.create(course=course, user=member, stars=5, given_on=dt.date(2026, 1, 1))
    other = get_learner(visitor_key="v")
    member.delete()
    assert list(LearnerProfile.objects.all()) == [other]
    assert not Interaction.objects.exists()


def test_learners_are_found_merged_exported_and_forgotten(member):
    Course.objects.create(name="Algebra")
    visitor = get_learner(visitor_key="v")
    record(visitor, InteractionInput("viewed", Resource.objects.get().key))
    learner = merge_visitor("v", member)
    assert export_learner(learner)["interactions"][0]["title"] == "Algebra"
    assert LearnerProfile.objects.get().user == member
    assert Resource.objects.get().content_type.model_class() is Course
    forget_learner(learner)
    assert not LearnerProfile.objects.exists()
    assert Member.objects.exists()


def test_a_database_that_is_away_breaks_no_save_and_is_left_alone_for_a_while(monkeypatch):
    tries = []

    def refuse(*args, **kwargs):
        tries.append(1)
        raise OperationalError("connection refused")

    monkeypatch.setattr(receivers, "_away_until", 0.0)
    with monkeypatch.context() as away:
        away.setattr(connections["recommendations"], "cursor", refuse)
        for n in range(3):
            Course.objects.create(name=f"Saved {n}")
        Course.objects.get(name="Saved 0").delete()
    assert Course.objects.count() == 2
    assert len(tries) == 1
    receivers._away_until = 0.0
    Course.objects.get(name="Saved 1").save()
    assert Resource.objects.get().title == "Saved 1"
