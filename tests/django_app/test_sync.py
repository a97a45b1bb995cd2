"""Backfilling and repairing: resources and interactions equal the host's rows."""

import datetime as dt
import io
import threading
import uuid

import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError, call_command
from django.db import connections

from llmrec_django.conf import conf
from llmrec_django.models import Competency, Interaction, LearnerProfile, Prerequisite, Resource, ResourceCompetency
from llmrec_django.services import sync
from llmrec_django.services.learners import get_learner
from llmrec_django.services.sync_activity import sync_activity
from llmrec_django.sources import ResourceSource, paused, registry
from tests.testapp.models import (
    Book,
    Course,
    Enrolment,
    Lesson,
    Loan,
    Member,
    Paper,
    Rating,
    Run,
    Student,
    Subject,
    VideoCourse,
)

pytestmark = pytest.mark.django_db

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def _quiet():
    """Only what the tests call writes resources."""
    with paused():
        yield


def source(model):
    return registry.source_for(model)


def activity(name):
    return registry.named(f"testapp.{name}")


@pytest.fixture
def replaced():
    """Put another source in a registered one's place for a test."""
    before = []

    def replace(instance):
        before.append(registry.source_for(instance.model))
        registry.add_resources(instance, replace=True)
        return instance

    yield replace
    for known in before:
        registry.add_resources(known, replace=True)


class TestOneObject:
    def test_every_mapped_field_arrives(self):
        course = Course.objects.create(
            name="Algebra", summary="<p>Groups</p>", difficulty="Introductory", name_zh="代数", language="zh_Hans",
            length=dt.timedelta(minutes=90, seconds=1), opens=dt.date(2026, 1, 1), closes=dt.date(2026, 1, 31),
        )  # fmt: skip
        Lesson.objects.create(course=course, text="rings")
        course.subjects.add(Subject.objects.create(name="maths"))
        found = sync.sync_object(course)
        assert found.key == f"course:{course.pk}"
        assert (found.content_type, found.object_id) == (ContentType.objects.get_for_model(Course), str(course.pk))
        assert (found.title, found.description, found.body) == ("Algebra", "<p>Groups</p>", "rings")
        assert (found.level, found.language, found.kind) == ("beginner", "zh-hans", "course")
        assert (found.duration_minutes, found.keywords) == (91, ["maths"])
        assert found.translations == {"zh-hans": {"title": "代数"}}
        assert found.available_from == dt.datetime(2026, 1, 1, 6, tzinfo=dt.UTC)
        assert found.available_until == dt.datetime(2026, 2, 1, 6, tzinfo=dt.UTC)
        assert found.url == f"/courses/{course.pk}/"
        assert (found.tenant, found.published) == ("default", True)

    def test_what_was_stored_counts_not_the_instance(self):
        book = Book.objects.create(title="Stored")
        book.title = "Not saved"
        assert sync.sync_object(book).title == "Stored"

    def test_a_soft_deleted_row_is_unpublished_and_keeps_its_history(self):
        course = Course.objects.create(name="Algebra")
        before = sync.sync_object(course)
        course.deleted = True
        course.save()
        after = sync.sync_object(course)
        assert (after.pk, after.published) == (before.pk, False)

    def test_a_row_that_leaves_the_queryset_is_unpublished_one_that_is_gone_is_deleted(self, replaced):
        class Short(ResourceSource):
            name = "book"

            def get_queryset(self):
                return super().get_queryset().filter(title__startswith="A")

        replaced(Short(Book))
        book = Book.objects.create(title="A book")
        sync.sync_object(book)
        Book.objects.update(title="Another name: B")
        sync.sync_object(book)
        Book.objects.update(title="B")
        assert sync.sync_object(book).published is False
        Book.objects.all().delete()
        assert sync.sync_object(book) is None
        assert not Resource.objects.exists()

    def test_an_unregistered_object_and_an_unsaved_one_have_none(self):
        assert sync.sync_object(Subject.objects.create(name="maths")) is None
        assert sync.sync_object(Book(title="unsaved")) is None
        assert sync.remove_object(Subject, 1) == 0

    def test_a_child_row_is_synced_by_its_parents_source(self):
        video = VideoCourse.objects.create(name="Film")
        assert sync.sync_object(video).key == f"course:{video.pk}"

    def test_an_imported_resource_with_this_key_is_adopted(self):
        book = Book.objects.create(title="A book")
        imported = Resource.objects.create(key=f"book:{book.pk}", title="From a file", publisher="Kept")
        adopted = sync.sync_object(book)
        assert (adopted.pk, adopted.title, adopted.publisher) == (imported.pk, "A book", "Kept")

    def test_a_renamed_source_keeps_its_resources(self, replaced):
        book = Book.objects.create(title="A book")
        before = sync.sync_object(book)

        class Renamed(ResourceSource):
            name = "volume"

        replaced(Renamed(Book))
        after = sync.sync_object(book)
        assert (after.pk, after.key) == (before.pk, f"volume:{book.pk}")

    def test_a_row_that_changes_tenant_leaves_its_history_behind(self, replaced):
        tenants = iter(["north", "south"])

        class Moving(ResourceSource):
            name = "book"

            def get_tenant(self, obj):
                return next(tenants)

        replaced(Moving(Book))
        book = Book.objects.create(title="A book")
        before = sync.sync_object(book)
        learner = get_learner(Member.objects.create_user("a@example.org"), tenant="north")
        Interaction.objects.create(tenant="north", learner=learner, resource=before, verb="viewed", occurred_at=NOW)
        after = sync.sync_object(book)
        assert (after.tenant, after.interactions.count()) == ("south", 0)
        assert Resource.objects.count() == 1

    def test_too_long_values_are_cut_and_addresses_dropped(self, replaced):
        class Long(ResourceSource):
            name = "book"
            fields = {"title": lambda book: "é" * 1500, "url": lambda book: "/" + "x" * 3000, "kind": lambda b: None}
            kind = "book"

        replaced(Long(Book))
        found = sync.sync_object(Book.objects.create(title="x"))
        assert (found.title, found.url, found.kind) == ("é" * 1000, "", "book")

    def test_dates_in_the_wrong_order_unpublish(self):
        course = Course.objects.create(name="x", opens=dt.date(2026, 2, 1), closes=dt.date(2026, 1, 1))
        assert sync.sync_object(course).published is False

    def test_a_long_text_key_is_shortened_and_stays_unique(self):
        papers = [Paper.objects.create(doi="10.1/" + "x" * 190 + end, title=end) for end in "ab"]
        sync.sync_queryset(source(Paper))
        assert Resource.objects.filter(object_id__in=[paper.pk for paper in papers]).count() == 2
        assert max(len(key) for key in Resource.objects.values_list("key", flat=True)) <= 255

    def test_a_site_without_time_zones(self, settings):
        settings.USE_TZ = False
        course = Course.objects.create(name="x", opens=dt.date(2026, 1, 1), closes=dt.date(2026, 1, 1))
        before = sync.sync_object(course)
        assert before.available_from == dt.datetime(2026, 1, 1)  # noqa: DTZ001
        assert sync.sync_object(course).updated_at == before.updated_at
        member = Member.objects.create_user("a@example.org")
        Rating.objects.create(course=course, user=member, stars=5, given_on=dt.date(2026, 1, 1))
        assert sync_activity(activity("rating:rated")).created == 1
        assert sync_activity(activity("rating:rated")).unchanged == 1

    def test_who_saves_in_which_language_changes_nothing(self):
        from django.utils import translation

        book = Book.objects.create(title="A book")
        before = sync.sync_object(book).updated_at
        with translation.override("zh-hans"):
            assert sync.sync_object(book).updated_at == before


class TestManyObjects:
    def test_queries_do_not_grow_with_the_rows(self, django_assert_max_num_queries):
        subject = Subject.objects.create(name="maths")
        for n in range(60):
            course = Course.objects.create(name=f"Course {n}")
            Lesson.objects.create(course=course, text="x")
            course.subjects.add(subject)
        ContentType.objects.get_for_model(Course)
        with django_assert_max_num_queries(18):
            counts = sync.sync_queryset(source(Course))
        assert (counts.seen, counts.created) == (60, 60)

    def test_pages_cover_every_row_once(self):
        for n in range(23):
            Book.objects.create(title=f"Book {n}")
        counts = sync.sync_queryset(source(Book), batch_size=5)
        assert (counts.seen, counts.created, Resource.objects.count()) == (23, 23, 23)

    def test_unchanged_rows_are_not_rewritten(self):
        for n in range(3):
            Course.objects.create(name=f"Course {n}", opens=dt.date(2026, 1, 1), length=dt.timedelta(hours=1))
        sync.sync_queryset(source(Course))
        before = dict(Resource.objects.values_list("key", "updated_at"))
        Course.objects.filter(name="Course 1").update(summary="new")
        counts = sync.sync_queryset(source(Course))
        assert (counts.created, counts.updated, counts.unchanged) == (0, 1, 2)
        after = dict(Resource.objects.values_list("key", "updated_at"))
        assert [key for key in after if after[key] != before[key]] == [
            f"course:{Course.objects.get(name='Course 1').pk}"
        ]

    def test_fields_the_source_does_not_name_belong_to_the_editors(self):
        book = Book.objects.create(title="A book")
        sync.sync_object(book)
        Resource.objects.update(level="advanced")
        Book.objects.update(title="Changed")
        assert sync.sync_object(book).level == "advanced"

    def test_rows_repeated_by_a_join_count_once(self):
        course = Course.objects.create(name="x")
        for n in range(3):
            Lesson.objects.create(course=course, text=str(n))
        joined = Course.everything.filter(lessons__position=0)
        assert joined.count() == 3
        assert sync.sync_queryset(source(Course), joined).created == 1

    def test_orphans_go_and_other_sources_stay(self):
        book, paper = Book.objects.create(title="x"), Paper.objects.create(doi="1", title="y")
        sync.sync_object(book)
        sync.sync_object(paper)
        Resource.objects.create(key="imported", title="from a file")
        Book.objects.all()._raw_delete("default")
        counts = sync.sync_queryset(source(Book))
        assert counts.deleted == 1
        assert set(Resource.objects.values_list("key", flat=True)) == {"paper:1", "imported"}

    def test_a_part_of_the_rows_removes_nothing(self):
        for title in "ab":
            sync.sync_object(Book.objects.create(title=title))
        sync.sync_queryset(source(Book), Book.objects.filter(title="a"))
        assert Resource.objects.count() == 2

    def test_a_dry_run_counts_and_changes_nothing(self):
        kept, gone = Book.objects.create(title="a"), Book.objects.create(title="b")
        sync.sync_object(kept)
        sync.sync_object(gone)
        Book.objects.filter(pk=gone.pk)._raw_delete("default")
        Book.objects.filter(pk=kept.pk).update(title="changed")
        Book.objects.create(title="new")
        counts = sync.sync_queryset(source(Book), dry_run=True)
        assert (counts.created, counts.updated, counts.deleted) == (1, 1, 1)
        assert set(Resource.objects.values_list("title", flat=True)) == {"a", "b"}

    def test_bad_rows_are_named_and_the_rest_goes_on(self, replaced):
        class Picky(ResourceSource):
            name = "book"
            fields = {"title": "title", "publisher": "make_publisher"}

            def make_publisher(self, book):
                if book.title == "raises":
                    raise KeyError("no publisher")
                return "ok"

        replaced(Picky(Book))
        titles = {book.title: book.pk for book in (Book.objects.create(title=t) for t in ("a", "raises", "b"))}
        errors = []
        counts = sync.sync_queryset(source(Book), on_error=lambda pk, words: errors.append((pk, words)))
        assert (counts.created, counts.errors) == (2, 1)
        assert errors == [(titles["raises"], "KeyError: 'no publisher'")]

    def test_a_row_the_database_refuses_does_not_take_its_page_with_it(self, replaced):
        class Refused(ResourceSource):
            name = "book"

            def get_tenant(self, book):
                return "x" * 100 if book.title == "refused" else "default"

        replaced(Refused(Book))
        for title in ("a", "refused", "b"):
            Book.objects.create(title=title)
        errors = []
        counts = sync.sync_queryset(source(Book), on_error=lambda pk, words: errors.append(words))
        assert (counts.created, counts.errors) == (2, 1)
        assert "too long" in errors[0]
        assert set(Resource.objects.values_list("title", flat=True)) == {"a", "b"}

    def test_without_a_listener_the_first_error_is_raised_and_nothing_kept(self, replaced):
        class Broken(ResourceSource):
            name = "book"
            fields = {"title": lambda book: 1 / 0}

        replaced(Broken(Book))
        Book.objects.create(title="x")
        with pytest.raises(ZeroDivisionError):
            sync.sync_queryset(source(Book))


class TestLinks:
    @pytest.fixture
    def courses(self):
        first, second = Course.objects.create(name="first"), Course.objects.create(name="second")
        second.requires.add(first)
        second.subjects.add(Subject.objects.create(name="maths"))
        sync.sync_queryset(source(Course))
        return first, second

    def test_prerequisites_and_competencies_follow(self, courses):
        first, second = courses
        sync.sync_source_links(source(Course))
        link = Prerequisite.objects.get()
        assert (link.resource.title, link.requires.title, link.strength) == ("second", "first", 1.0)
        taught = ResourceCompetency.objects.get()
        assert (taught.resource.title, taught.competency.title, taught.relation, taught.strength) == (
            "second", "maths", "teaches", 0.5,
        )  # fmt: skip
        assert sync.sync_source_links(source(Course)) == 0
        second.requires.clear()
        second.subjects.clear()
        assert sync.sync_source_links(source(Course)) == 2
        assert not Prerequisite.objects.exists()
        assert not ResourceCompetency.objects.exists()

    def test_titles_an_editor_improved_stay(self, courses):
        sync.sync_source_links(source(Course))
        Competency.objects.update(title="Mathematics")
        sync.sync_source_links(source(Course))
        assert Competency.objects.get().title == "Mathematics"

    def test_a_changed_strength_is_updated_in_place(self, courses, monkeypatch):
        sync.sync_source_links(source(Course))
        before = Prerequisite.objects.get().pk
        monkeypatch.setattr(
            type(source(Course)), "get_prerequisites", lambda self, course: [(c, 0.25) for c in course.requires.all()]
        )
        sync.sync_source_links(source(Course))
        assert (Prerequisite.objects.get().pk, Prerequisite.objects.get().strength) == (before, 0.25)

    def test_a_resource_never_requires_itself_and_bad_strengths_are_reported(self, courses, monkeypatch):
        kind = type(source(Course))
        monkeypatch.setattr(kind, "get_prerequisites", lambda self, course: [course])
        sync.sync_source_links(source(Course))
        assert not Prerequisite.objects.exists()
        monkeypatch.setattr(kind, "get_prerequisites", lambda self, course: [(course, 2)])
        errors = []
        sync.sync_source_links(source(Course), on_error=lambda pk, words: errors.append(words))
        assert len(errors) == 2
        assert "must be in [0, 1]" in errors[0]

    def test_sources_without_the_hooks_leave_what_editors_entered(self):
        books = [Book.objects.create(title=t) for t in "ab"]
        one, two = (sync.sync_object(book) for book in books)
        Prerequisite.objects.create(resource=one, requires=two)
        sync.sync_source_links(source(Book))
        sync.sync_object(books[0])
        assert Prerequisite.objects.count() == 1


class TestActivity:
    @pytest.fixture
    def member(self):
        return Member.objects.create_user("a@example.org")

    @pytest.fixture
    def enrolment(self, member):
        course = Course.objects.create(name="Algebra")
        return Enrolment.objects.create(
            run=Run.objects.create(course=course), student=Student.objects.create(user=member)
        )

    def test_a_row_without_a_timestamp_is_dated_when_first_noticed_and_not_again(self, enrolment):
        sync_activity(activity("enrolment:enrolled"))
        first = Interaction.objects.get()
        assert (first.verb, first.source, first.event_id) == (
            "enrolled",
            "testapp.enrolment:enrolled",
            str(enrolment.pk),
        )
        assert (first.resource.title, first.learner.user_id) == ("Algebra", enrolment.student.user_id)
        assert dt.datetime.now(dt.UTC) - first.occurred_at < dt.timedelta(minutes=1)
        counts = sync_activity(activity("enrolment:enrolled"))
        assert (counts.unchanged, counts.created, counts.updated) == (1, 0, 0)
        assert Interaction.objects.get().occurred_at == first.occurred_at

    def test_hidden_resources_are_still_history(self, enrolment):
        Course.everything.update(deleted=True)
        assert sync_activity(activity("enrolment:enrolled")).created == 1
        assert Resource.objects.get().published is False

    def test_ratings_are_scaled_and_follow_their_row(self, member):
        rating = Rating.objects.create(
            course=Course.objects.create(name="x"), user=member, stars=5, given_on=dt.date(2026, 1, 1)
        )
        sync_activity(activity("rating:rated"))
        assert Interaction.objects.get().value == 1.0
        Rating.objects.update(stars=2)
        assert sync_activity(activity("rating:rated")).updated == 1
        found = Interaction.objects.get()
        assert (found.value, found.event_id) == (0.25, str(rating.pk))
        assert found.occurred_at == dt.datetime(2026, 1, 1, 6, tzinfo=dt.UTC)
        Rating.objects.update(stars=None)
        assert sync_activity(activity("rating:rated")).skipped == 1
        assert not Interaction.objects.exists()

    def test_one_row_says_two_things(self, member):
        book = Book.objects.create(title="x")
        Loan.objects.create(book=book, reader=member, borrowed_at=NOW, finished_at=NOW + dt.timedelta(days=3))
        for verb in ("borrowed", "completed"):
            sync_activity(activity(f"loan:{verb}"))
        assert list(Interaction.objects.order_by("occurred_at").values_list("verb", flat=True)) == [
            "borrowed", "completed",
        ]  # fmt: skip

    def test_rows_that_say_nothing_any_more_and_rows_that_are_gone_take_their_interaction_along(self, enrolment):
        sync_activity(activity("enrolment:enrolled"))
        Enrolment.objects.update(cancelled=True)
        assert sync_activity(activity("enrolment:enrolled")).deleted == 1
        Enrolment.objects.update(cancelled=False)
        sync_activity(activity("enrolment:enrolled"))
        Enrolment.objects.all()._raw_delete("default")
        assert sync_activity(activity("enrolment:enrolled")).deleted == 1
        assert not Interaction.objects.exists()

    def test_a_row_that_moves_to_another_account_moves(self, enrolment):
        sync_activity(activity("enrolment:enrolled"))
        other = Student.objects.create(user=Member.objects.create_user("b@example.org"))
        Enrolment.objects.update(student=other)
        sync_activity(activity("enrolment:enrolled"))
        assert Interaction.objects.get().learner.user_id == other.user_id

    def test_learners_who_opted_out_are_left_out(self, enrolment):
        LearnerProfile.objects.create(user=enrolment.student.user, personalise=False)
        assert sync_activity(activity("enrolment:enrolled")).skipped == 1
        assert not Interaction.objects.exists()

    def test_the_future_counts_as_now_and_what_would_be_pruned_is_not_read(self, member, settings):
        book = Book.objects.create(title="x")
        Loan.objects.create(book=book, reader=member, borrowed_at=dt.datetime(2999, 1, 1, tzinfo=dt.UTC))
        Loan.objects.create(book=book, reader=member, borrowed_at=dt.datetime(2001, 1, 1, tzinfo=dt.UTC))
        settings.LLMREC = {"RETENTION_DAYS": {"interactions": 365}}
        counts = sync_activity(activity("loan:borrowed"))
        assert (counts.created, counts.skipped) == (1, 1)
        assert Interaction.objects.get().occurred_at <= dt.datetime.now(dt.UTC)

    def test_bad_rows_are_named(self, member):
        rating = Rating.objects.create(
            course=Course.objects.create(name="x"), user=member, stars=9, given_on=dt.date(2026, 1, 1)
        )
        errors = []
        counts = sync_activity(activity("rating:rated"), on_error=lambda pk, words: errors.append((pk, words)))
        assert (counts.errors, counts.created) == (1, 0)
        assert errors[0][0] == rating.pk
        assert "from 1 to 5" in errors[0][1]

    def test_queries_do_not_grow_with_the_rows(self, django_assert_max_num_queries):
        book = Book.objects.create(title="x")
        for n in range(40):
            Loan.objects.create(book=book, reader=Member.objects.create_user(f"{n}@example.org"), borrowed_at=NOW)
        sync.sync_queryset(source(Book))
        with django_assert_max_num_queries(18):
            assert sync_activity(activity("loan:borrowed")).created == 40

    def test_other_peoples_interactions_stay(self, enrolment):
        sync_activity(activity("enrolment:enrolled"))
        learner = LearnerProfile.objects.get()
        Interaction.objects.create(
            learner=learner, resource=Resource.objects.get(), verb="viewed", occurred_at=NOW, event_id=uuid.uuid4()
        )
        Enrolment.objects.all()._raw_delete("default")
        sync_activity(activity("enrolment:enrolled"))
        assert Interaction.objects.get().verb == "viewed"


class TestCommand:
    def call(self, *args, **options):
        out, err = io.StringIO(), io.StringIO()
        try:
            call_command("llmrec_sync", *args, stdout=out, stderr=err, **options)
        except CommandError as exc:
            return out.getvalue(), err.getvalue(), str(exc)
        return out.getvalue(), err.getvalue(), ""

    def test_everything_is_read_and_links_find_resources_of_later_pages(self):
        courses = [Course.objects.create(name=f"Course {n}") for n in range(6)]
        for course, required in zip(courses, courses[::-1], strict=True):
            course.requires.add(required)
        member = Member.objects.create_user("a@example.org")
        Rating.objects.create(course=courses[0], user=member, stars=4, given_on=dt.date(2026, 1, 1))
        out, err, failure = self.call(batch_size=2)
        assert (err, failure) == ("", "")
        assert "course: 6 rows; 6 created" in out
        assert "testapp.rating:rated: 1 rows; 1 created" in out
        assert Prerequisite.objects.count() == 6
        assert "6 unchanged" in self.call("course")[0]

    def test_dry_run(self):
        Book.objects.create(title="x")
        out, _, _ = self.call("book", "--dry-run")
        assert "book: 1 rows; would be: 1 created" in out
        assert not Resource.objects.exists()

    def test_errors_are_shown_with_their_row_and_fail_the_command(self):
        member = Member.objects.create_user("a@example.org")
        course = Course.objects.create(name="x")
        for stars in (9, 3):
            Rating.objects.create(course=course, user=member, stars=stars, given_on=dt.date(2026, 1, 1))
        out, err, failure = self.call()
        assert "1 created, 1 errors" in out
        assert f"testapp.rating:rated {Rating.objects.get(stars=9).pk}: InvalidInteraction" in err
        assert failure == "Rows that could not be synced: 1. All others are."

    def test_unknown_names_list_the_known(self):
        assert "must be one of: book, course" in self.call("nothing")[2]

    def test_the_retention_default_keeps_all(self):
        assert conf.RETENTION_DAYS["interactions"] is None


@pytest.mark.django_db(transaction=True)
def test_two_processes_that_sync_one_row_make_one_resource():
    book = Book.objects.create(title="x")
    barrier, errors = threading.Barrier(3), []

    def run():
        try:
            barrier.wait()
            sync.sync_object(book)
        except Exception as exc:
            errors.append(exc)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert Resource.objects.count() == 1
