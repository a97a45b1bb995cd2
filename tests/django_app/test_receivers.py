"""The host's saves and deletes are followed, and never broken."""

import datetime as dt
import io
import logging

import pytest
from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.signals import user_logged_in
from django.core import serializers
from django.core.management import call_command
from django.db import connection, models, transaction

from llmrec_django import receivers
from llmrec_django.models import Interaction, LearnerProfile, Prerequisite, Resource, ResourceCompetency
from llmrec_django.services import nudge
from llmrec_django.services.record import record
from llmrec_django.sources import ActivitySource, ResourceSource, paused, registry
from llmrec_django.types import InteractionInput
from llmrec_django.web import identity
from tests.testapp.models import (
    Book,
    Course,
    Enrolment,
    FeaturedCourse,
    Lesson,
    Loan,
    Member,
    Paper,
    Rating,
    Run,
    Shelf,
    Shelving,
    Student,
    Subject,
    Tag,
    VideoCourse,
)

KEY = "0123456789abcdef0123456789abcdef"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _forget_logged_causes():
    receivers._logged.clear()


def of(obj):
    """The resource of a host object, or None."""
    source = registry.source_for(obj)
    return Resource.objects.filter(key=f"{source.name}:{obj.pk}").first()


@pytest.fixture
def course():
    return Course.objects.create(name="Algebra")


@pytest.fixture
def student():
    return Student.objects.create(user=Member.objects.create_user("a@example.org"))


class TestResources:
    def test_saving_creates_updates_and_deleting_removes(self, course):
        assert of(course).title == "Algebra"
        course.name = "Topology"
        course.save(update_fields=["name"])
        assert of(course).title == "Topology"
        pk = course.pk
        course.delete()
        assert not Resource.objects.filter(key=f"course:{pk}").exists()

    def test_integer_and_text_keys(self):
        assert of(Book.objects.create(title="x")).object_id.isdigit()
        paper = Paper.objects.create(doi="10.1000/182", title="y")
        assert of(paper).key == "paper:10.1000/182"
        paper.delete()
        assert not Resource.objects.filter(key__startswith="paper:").exists()

    def test_hidden_rows_are_synced(self, course):
        course.deleted = True
        course.save()
        assert of(course).published is False

    def test_a_save_that_changes_nothing_the_source_reads_writes_nothing(self, course):
        before = of(course).updated_at
        course.save()
        course.members_only = True
        course.save()
        assert of(course).updated_at == before

    def test_an_f_expression_on_the_instance_is_read_from_the_database(self):
        book = Book.objects.create(title="x")
        book.title = models.functions.Concat(models.F("title"), models.Value("y"))
        book.save()
        assert of(book).title == "xy"

    def test_a_child_table_a_proxy_and_the_parent_are_one_resource(self):
        video = VideoCourse.objects.create(name="Film", seconds=5)
        assert of(video).title == "Film"
        FeaturedCourse.everything.get(pk=video.pk).save()
        assert Resource.objects.count() == 1
        parent = Course.objects.get(pk=video.pk)
        parent.name = "Moving pictures"
        parent.save()
        assert of(video).title == "Moving pictures"

    def test_deleting_only_the_child_row_keeps_the_resource(self):
        video = VideoCourse.objects.create(name="Film")
        pk = video.pk
        video.delete(keep_parents=True)
        assert Resource.objects.filter(key=f"course:{pk}").exists()
        Course.objects.get(pk=pk).delete()
        assert not Resource.objects.exists()

    def test_a_source_on_the_child_follows_saves_of_the_parent(self):
        class VideoSource(ResourceSource):
            name = "video"
            fields = {"title": "name"}

        registry.add_resources(VideoSource(VideoCourse))
        try:
            video = VideoCourse.objects.create(name="Film")
            parent = Course.objects.get(pk=video.pk)
            parent.name = "Changed"
            parent.save()
            Course.objects.create(name="No film")
            assert list(Resource.objects.filter(key__startswith="video:").values_list("title", flat=True)) == [
                "Changed"
            ]
            Course.objects.get(pk=video.pk).delete()
            assert not Resource.objects.filter(key__startswith="video:").exists()
        finally:
            registry.unregister(VideoCourse)

    def test_queryset_delete_removes_every_resource(self):
        for n in range(3):
            Book.objects.create(title=str(n))
        Book.objects.filter(title__in=["0", "1"]).delete()
        assert Resource.objects.get().title == "2"

    def test_a_rolled_back_save_leaves_no_resource(self):
        with transaction.atomic():
            Book.objects.create(title="x")
            assert Resource.objects.exists()
            transaction.set_rollback(True)
        assert not Resource.objects.exists()

    def test_fixtures_and_paused_saves_are_left_to_the_command(self, course):
        data = serializers.serialize("json", [Book(pk=10**6, title="From a fixture")])
        for entry in serializers.deserialize("json", data):
            entry.save()
        with paused():
            Book.objects.create(title="Loaded in bulk")
            course.delete()
        assert list(Resource.objects.values_list("title", flat=True)) == ["Algebra"]
        call_command("llmrec_sync", verbosity=0, stdout=io.StringIO())
        assert set(Resource.objects.values_list("title", flat=True)) == {"From a fixture", "Loaded in bulk"}


class TestRelatedTables:
    def test_lessons_refresh_their_course(self, course):
        lesson = Lesson.objects.create(course=course, text="rings")
        assert of(course).body == "rings"
        lesson.text = "fields"
        lesson.save()
        assert of(course).body == "fields"
        lesson.delete()
        assert of(course).body == ""

    def test_deleting_a_course_with_lessons_leaves_nothing(self, course):
        for n in range(3):
            Lesson.objects.create(course=course, text=str(n))
        course.delete()
        assert not Resource.objects.exists()

    def test_many_to_many_from_both_sides(self, course):
        subject = Subject.objects.create(name="maths")
        other = Course.objects.create(name="Other")
        course.subjects.add(subject)
        assert of(course).keywords == ["maths"]
        subject.courses.add(other)
        assert of(other).keywords == ["maths"]
        subject.courses.remove(other)
        assert of(other).keywords == []
        subject.courses.clear()
        assert of(course).keywords == []
        course.subjects.set([subject])
        assert of(course).keywords == ["maths"]
        course.subjects.clear()
        assert of(course).keywords == []
        assert not ResourceCompetency.objects.exists()

    def test_prerequisites_follow_their_relation_from_both_sides(self, course):
        later = Course.objects.create(name="Later")
        later.requires.add(course)
        assert Prerequisite.objects.get().resource == of(later)
        course.unlocks.clear()
        assert not Prerequisite.objects.exists()

    def test_a_many_to_many_table_of_the_hosts_own(self):
        book, shelf = Book.objects.create(title="x"), Shelf.objects.create(label="physics")
        link = Shelving.objects.create(book=book, shelf=shelf)
        assert of(book).keywords == ["physics"]
        link.delete()
        assert of(book).keywords == []
        book.shelves.add(shelf)
        assert of(book).keywords == ["physics"]

    def test_generic_relations_and_named_tables_are_watched(self, course):
        class Tagged(ResourceSource):
            name = "course"
            fields = {"title": "name", "keywords": "tags__name", "publisher": "author__name"}
            watch = {"testapp.Subject": "written"}

        before = registry.source_for(Course)
        registry.add_resources(Tagged(Course), replace=True)
        try:
            Tag.objects.create(item=course, name="hot").save()
            assert of(course).keywords == ["hot"]
            author = Subject.objects.create(name="Noether")
            course.author = author
            course.save()
            author.name = "Emmy Noether"
            author.save()
            assert of(course).publisher == "Emmy Noether"
        finally:
            registry.add_resources(before, replace=True)

    def test_a_row_that_many_resources_show_refreshes_a_bounded_number(self, course, monkeypatch):
        monkeypatch.setattr(receivers, "WATCH_LIMIT", 2)
        subject = Subject.objects.create(name="maths")
        for n in range(4):
            Course.objects.create(name=str(n)).subjects.add(subject)
        subject.courses.clear()
        assert Resource.objects.exclude(keywords=[]).count() == 2


class TestActivity:
    def test_over_paths_and_un_enrolling(self, course, student):
        enrolment = Enrolment.objects.create(run=Run.objects.create(course=course), student=student)
        found = Interaction.objects.get()
        assert (found.verb, found.resource, found.learner.user) == ("enrolled", of(course), student.user)
        enrolment.cancelled = True
        enrolment.save()
        assert not Interaction.objects.exists()
        enrolment.cancelled = False
        enrolment.save()
        assert Interaction.objects.count() == 1
        enrolment.delete()
        assert not Interaction.objects.exists()

    def test_a_resource_that_was_missed_is_made_first(self, student):
        with paused():
            course = Course.objects.create(name="Missed")
        Rating.objects.create(course=course, user=student.user, stars=3, given_on=dt.date(2026, 1, 1))
        assert Interaction.objects.get().resource.title == "Missed"

    def test_two_verbs_of_one_row(self, student):
        book = Book.objects.create(title="x")
        loan = Loan.objects.create(book=book, reader=student.user, borrowed_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
        assert [i.verb for i in Interaction.objects.all()] == ["borrowed"]
        loan.finished_at = dt.datetime(2026, 1, 9, tzinfo=dt.UTC)
        loan.save()
        assert {i.verb for i in Interaction.objects.all()} == {"borrowed", "completed"}
        loan.delete()
        assert not Interaction.objects.exists()

    def test_deleting_the_account_takes_the_learner_along(self, course, student):
        Rating.objects.create(course=course, user=student.user, stars=3, given_on=dt.date(2026, 1, 1))
        student.user.delete()
        assert not LearnerProfile.objects.exists()
        assert not Interaction.objects.exists()

    def test_queries_of_a_save_are_bounded(self, course, student, django_assert_max_num_queries):
        Rating.objects.create(course=course, user=student.user, stars=3, given_on=dt.date(2026, 1, 1))
        other = Course.objects.create(name="Other")
        with django_assert_max_num_queries(15):
            Rating.objects.create(course=other, user=student.user, stars=3, given_on=dt.date(2026, 1, 1))


class TestFailing:
    @pytest.fixture
    def broken(self):
        """Break the book source in the given way for a test."""
        before = registry.source_for(Book)

        def break_with(read):
            class Broken(ResourceSource):
                name = "book"
                fields = {"title": read}

            registry.add_resources(Broken(Book), replace=True)

        yield break_with
        registry.add_resources(before, replace=True)

    def test_code_that_raises_is_logged_once_and_the_save_goes_on(self, broken, caplog):
        broken(lambda book: 1 / 0)
        with caplog.at_level(logging.ERROR, "llmrec_django"):
            books = [Book.objects.create(title=str(n)) for n in range(3)]
        assert Book.objects.count() == len(books)
        assert not Resource.objects.exists()
        assert [record.getMessage().split(";")[0] for record in caplog.records] == ["Syncing book failed"]

    def test_a_failing_statement_does_not_abort_the_hosts_transaction(self, broken):
        def read(book):
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 / 0")

        broken(read)
        with transaction.atomic():
            Book.objects.create(title="x")
            assert Book.objects.count() == 1
        assert Book.objects.get().title == "x"

    def test_a_missing_table_breaks_nothing(self, course):
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE llmrec_django_resource RENAME TO hidden")
        try:
            course.name = "Saved all the same"
            course.save()
            Lesson.objects.create(course=course, text="x")
            course.subjects.add(Subject.objects.create(name="maths"))
            book = Book.objects.create(title="x")
            book.delete()
        finally:
            with connection.cursor() as cursor:
                cursor.execute("ALTER TABLE hidden RENAME TO llmrec_django_resource")
        assert Course.objects.get().name == "Saved all the same"
        course.save()
        assert of(course).title == "Saved all the same"

    def test_a_broken_activity_row_is_saved(self, course, student):
        Rating.objects.create(course=course, user=student.user, stars=99, given_on=dt.date(2026, 1, 1))
        assert Rating.objects.count() == 1
        assert not Interaction.objects.exists()

    def test_nothing_is_asked_of_a_database_that_is_not_postgresql(self, course, monkeypatch):
        monkeypatch.setattr(receivers, "is_supported", lambda using: False)
        monkeypatch.setattr(receivers, "sync_pks", None)
        monkeypatch.setattr(receivers, "remove_object", None)
        book = Book.objects.create(title="x")
        book.delete()
        course.subjects.add(Subject.objects.create(name="maths"))
        assert not receivers._logged


class TestRegisteredLater:
    def test_a_model_registered_after_start_is_followed_and_forgotten_when_unregistered(self):
        class SubjectSource(ResourceSource):
            name = "subject"
            fields = {"title": "name"}

        class NamedActivity(ActivitySource):
            verb = "viewed"
            learner = "user"
            resource = "user"

        registry.add_resources(SubjectSource(Subject))
        registry.add_activity(NamedActivity(Student))
        try:
            assert of(Subject.objects.create(name="maths")).title == "maths"
        finally:
            registry.unregister(Subject)
            registry.unregister(Student)
        Subject.objects.create(name="physics")
        assert Resource.objects.count() == 1

    def test_models_nobody_registered_keep_their_fast_deletes(self):
        for signal in (models.signals.post_save, models.signals.post_delete):
            assert not signal.has_listeners(Member)


class TestNudging:
    @pytest.fixture
    def nudges(self, monkeypatch):
        calls = []
        monkeypatch.setattr(nudge, "nudge_embedding", lambda: calls.append(1))
        return calls

    def test_resources_and_profile_texts_nudge(self, nudges):
        Resource.objects.create(key="x", title="x")
        assert len(nudges) == 1
        learner = LearnerProfile.objects.create(visitor_key="v")
        assert len(nudges) == 1
        learner.goals = "learn topology"
        learner.save()
        assert len(nudges) == 2
        learner.save(update_fields=["level"])
        assert len(nudges) == 2

    def test_synced_rows_nudge_once_and_only_when_something_changed(self, nudges, course):
        assert len(nudges) == 1
        course.save()
        assert len(nudges) == 1


class TestLogin:
    @pytest.fixture(autouse=True)
    def _cookie(self, settings):
        settings.LLMREC = {"VISITOR_COOKIE": "visitor"}

    def log_in(self, rf, user, **cookies):
        request = rf.get("/")
        request.COOKIES.update(cookies)
        user_logged_in.send(sender=type(user), request=request, user=user)

    def test_the_visitors_history_becomes_the_accounts(self, rf, course, student):
        request = rf.get("/")
        request.COOKIES["visitor"] = KEY
        request.user = AnonymousUser()
        # As the pages record it before the login.
        visitor = identity.get_learner(identity.caller(request))
        record(visitor, InteractionInput("viewed", of(course).key))
        self.log_in(rf, student.user, visitor=KEY)
        assert Interaction.objects.get().learner.user == student.user
        assert LearnerProfile.objects.count() == 1

    def test_a_login_without_the_cookie_or_with_nonsense_makes_nothing(self, rf, student):
        self.log_in(rf, student.user)
        for value in ("x" * 5000, "short", "with a space and more", "with\x00nul-and-more-of-it"):
            self.log_in(rf, student.user, visitor=value)
        assert not receivers._logged
        assert not LearnerProfile.objects.exists()

    def test_a_failing_merge_does_not_break_the_login(self, rf, student, monkeypatch):
        monkeypatch.setattr(receivers, "merge_visitor", lambda *a, **k: 1 / 0)
        self.log_in(rf, student.user, visitor=KEY)
        assert receivers._logged
