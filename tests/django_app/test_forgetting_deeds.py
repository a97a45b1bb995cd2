"""A learner takes one deed back: it is gone, shapes nothing, and does not come again from anywhere."""

import datetime as dt
import threading

import pytest
from django.core.cache import cache
from django.db import connections
from django.utils import timezone

from llmrec_django.models import (
    ForgottenDeed,
    Interaction,
    LearnerProfile,
    Placement,
    RecommendationItem,
    Resource,
)
from llmrec_django.services import embedding
from llmrec_django.services.feedback import give_feedback
from llmrec_django.services.importing import import_interactions
from llmrec_django.services.insight import forget_deed, insight, reset
from llmrec_django.services.learners import get_learner, merge_visitor
from llmrec_django.services.lists import find_list, read_list
from llmrec_django.services.privacy import export_learner, forget_learner
from llmrec_django.services.recommend import recommend
from llmrec_django.services.record import record, record_many
from llmrec_django.services.sync import sync_object
from llmrec_django.services.sync_activity import sync_activity, sync_activity_pks
from llmrec_django.sources import paused, registry
from llmrec_django.types import FeedbackInput, InteractionInput
from tests.testapp.models import Book, Course, Enrolment, Loan, Member, Run, Student

pytestmark = pytest.mark.django_db

HOUR = dt.timedelta(hours=1)
TOPICS = {
    "cooking": "cooking kitchen recipes bread baking oven flour",
    "law": "law court judge contract rights justice statute",
}


@pytest.fixture(autouse=True)
def _fresh_cache():
    cache.clear()


@pytest.fixture
def resource(db):
    return Resource.objects.create(key="r", title="Rings")


@pytest.fixture
def learner(resource):
    return LearnerProfile.objects.create(visitor_key="ann")


def make_catalogue():
    Resource.objects.bulk_create(
        Resource(key=f"{topic}-{i}", title=f"{topic.title()} {i}", description=f"{words} lesson{i} part{i}")
        for topic, words in TOPICS.items()
        for i in range(12)
    )
    embedding.embed_pending()


@pytest.fixture
def catalogue(hashing):
    make_catalogue()


def did(learner, key="r", verb="viewed", **more):
    return record(learner, InteractionInput(verb, key, **more))[1]


def keys(result):
    return [item.resource.key for item in result]


def deeds(learner):
    return [deed.resource.key for deed in insight(learner).history]


class TestForgetting:
    def test_the_deed_is_gone_and_the_next_list_is_made_without_it(self, catalogue):
        Placement.objects.create(name="plain", size=5, diversity=0.0)
        learner = LearnerProfile.objects.create(visitor_key="ann")
        did(learner, "cooking-1", "completed")
        before = keys(recommend(learner, placement="plain"))
        did(learner, "law-1", "completed")
        did(learner, "law-1", "rated", value=5)
        assert any(key.startswith("law") for key in keys(recommend(learner, placement="plain")))
        assert deeds(learner) == ["law-1", "cooking-1"]
        assert forget_deed(learner, "law-1") == 2
        assert deeds(learner) == ["cooking-1"]
        assert keys(recommend(learner, placement="plain")) == before
        assert "law-1" in keys(recommend(learner, k=24)), "it may be recommended as to anybody"

    def test_only_this_learner_and_this_resource(self, learner, resource):
        Resource.objects.create(key="s", title="Sets")
        there = Resource.objects.create(key="r", title="Rings", tenant="other")
        neighbour = LearnerProfile.objects.create(visitor_key="bo")
        elsewhere = LearnerProfile.objects.create(visitor_key="ann", tenant="other")
        for who, key in ((learner, "r"), (learner, "s"), (neighbour, "r"), (elsewhere, "r")):
            did(who, key)
        assert forget_deed(learner, "r") == 1
        left = Interaction.objects.order_by("pk").values_list("learner", "resource__key", "resource")
        assert [row[:2] for row in left] == [(learner.pk, "s"), (neighbour.pk, "r"), (elsewhere.pk, "r")]
        assert left[2][2] == there.pk
        assert did(neighbour, occurred_at=timezone.now() - HOUR)
        assert did(elsewhere, occurred_at=timezone.now() - HOUR)
        assert did(learner, "s", occurred_at=timezone.now() - HOUR)

    @pytest.mark.parametrize(
        "key", ["", "\x00", "r\x00", "\ud800", "no such thing", "x" * 100_000, "theirs", "untouched"]
    )
    def test_where_there_is_nothing_nothing_is_kept(self, learner, key):
        Resource.objects.create(key="theirs", title="x", tenant="other")
        Resource.objects.create(key="untouched", title="x")
        did(learner)
        assert forget_deed(learner, key) == 0
        assert Interaction.objects.count() == 1
        assert not ForgottenDeed.objects.exists()

    def test_twice_is_once_and_later_it_can_be_forgotten_again(self, learner):
        did(learner)
        assert [forget_deed(learner, "r"), forget_deed(learner, "r")] == [1, 0]
        first = ForgottenDeed.objects.get()
        assert did(learner, event_id="later")
        assert forget_deed(learner, "r") == 1
        again = ForgottenDeed.objects.get()
        assert again.forgotten_at > first.forgotten_at
        assert set(again.events) > set(first.events)

    def test_who_opted_out_can_forget_and_who_is_not_kept_has_nothing_to(self, learner):
        did(learner)
        LearnerProfile.objects.update(personalise=False)
        learner.refresh_from_db()
        assert forget_deed(learner, "r") == 1
        assert not Interaction.objects.exists()
        assert forget_deed(LearnerProfile(visitor_key="new"), "r") == 0

    def test_what_was_turned_down_stays_turned_down(self, learner):
        for verb in ("viewed", "too_hard"):
            did(learner, verb=verb)
        assert forget_deed(learner, "r") == 1
        assert [entry.resource.key for entry in insight(learner).dismissed] == ["r"]
        assert forget_deed(learner, "r") == 0

    def test_searches_are_no_deeds_with_a_resource(self, learner, settings):
        settings.LLMREC = {"RECORD_SEARCHES": True}
        record(learner, InteractionInput("searched", query="rings"))
        did(learner)
        forget_deed(learner, "r")
        assert Interaction.objects.get().verb == "searched"


class TestLists:
    @pytest.fixture
    def learner(self, catalogue):
        learner = LearnerProfile.objects.create(visitor_key="ann")
        did(learner, "cooking-0", "completed")
        return learner

    def outcome(self, result, key):
        row = RecommendationItem.objects.get(list=result.recommendation_id, resource__key=key)
        return (row.clicked_at, row.dwell_s, row.completed_at, row.rated_at, row.rated_value, row.outcomes), row

    def test_what_became_of_it_is_blanked_and_nothing_else(self, learner):
        result = recommend(learner, k=6)
        mine, other = keys(result)[:2]
        for key in (mine, other):
            give_feedback(
                learner,
                [
                    FeedbackInput("shown", key, result.recommendation_id),
                    FeedbackInput("clicked", key, result.recommendation_id),
                    FeedbackInput("read", key, result.recommendation_id, 30),
                    FeedbackInput("rated", key, result.recommendation_id, 5),
                    FeedbackInput("dismissed", key, result.recommendation_id, reason="too_easy"),
                ],
            )
            record_many(learner, [InteractionInput("completed", key), InteractionInput("enrolled", key)])
        before, _ = self.outcome(result, other)
        assert all(before)
        assert forget_deed(learner, mine) == 4
        blank, row = self.outcome(result, mine)
        assert blank == (None, None, None, None, None, {})
        assert row.shown_at is not None
        assert (row.dismissed_at is not None, row.dismiss_reason) == (True, "too_easy")
        assert self.outcome(result, other)[0] == before

    def test_a_copy_of_the_report_changes_nothing_and_a_new_click_counts(self, learner):
        result = recommend(learner, k=3)
        key, at = keys(result)[0], timezone.now()
        report = [
            FeedbackInput(kind, key, result.recommendation_id, value, occurred_at=at)
            for kind, value in (("shown", None), ("clicked", None), ("read", 20), ("rated", 4))
        ]
        give_feedback(learner, report)
        assert forget_deed(learner, key) == 2
        give_feedback(learner, report)
        assert self.outcome(result, key)[0] == (None, None, None, None, None, {})
        assert deeds(learner) == ["cooking-0"]
        give_feedback(learner, [FeedbackInput("clicked", key, result.recommendation_id)])
        assert self.outcome(result, key)[0][0] > at
        assert deeds(learner) == [key, "cooking-0"]

    def test_no_list_says_any_more_that_something_was_recommended_because_of_it(self, learner):
        result = recommend(learner, k=4)
        assert any(item.evidence.own and "Cooking 0" in str(item.reason) for item in result)
        forget_deed(learner, "cooking-0")
        assert "Cooking 0" not in str(export_learner(learner)["list_items"])
        again = read_list(find_list(result.recommendation_id, learner))
        assert keys(again) == keys(result)
        assert not any("Cooking 0" in str(item.reason) for item in again)


class TestItDoesNotComeBack:
    def test_by_the_same_event(self, learner):
        before = timezone.now() - HOUR
        dated, undated = (
            InteractionInput("completed", "r", occurred_at=before),
            InteractionInput("viewed", "r", event_id="1"),
        )
        record_many(learner, [dated, undated])
        forget_deed(learner, "r")
        assert record(learner, dated) == (None, False)
        assert record(learner, undated) == (None, False)
        assert record_many(learner, [dated, undated]) == 0
        assert not Interaction.objects.exists()

    def test_nor_what_was_not_yet_told(self, learner):
        did(learner)
        forget_deed(learner, "r")
        assert not did(learner, "r", "completed", occurred_at=timezone.now() - HOUR)
        assert did(learner, "r", "completed")

    def test_an_old_event_of_a_client_is_not_taken_for_a_newer_one(self, learner):
        event = InteractionInput("viewed", "r", occurred_at=timezone.now() - dt.timedelta(days=90), event_id="tap")
        record(learner, event)
        forget_deed(learner, "r")
        ForgottenDeed.objects.update(forgotten_at=timezone.now() - dt.timedelta(days=60))
        assert record(learner, event, trusted=False) == (None, False)

    def test_the_same_id_from_another_source_is_another_event(self, learner):
        did(learner, event_id="1")
        forget_deed(learner, "r")
        assert record(learner, InteractionInput("viewed", "r", event_id="1"), source="app")[1]

    def test_a_late_dismissal_is_heard(self, learner):
        did(learner)
        forget_deed(learner, "r")
        assert did(learner, "r", "dismissed", occurred_at=timezone.now() - HOUR)

    def test_by_the_same_file(self, resource, tmp_path):
        Resource.objects.create(key="s", title="Sets")
        path = tmp_path / "rows.csv"
        path.write_text("user_id,item_id,timestamp,event\nu,r,2026-01-01T00:00:00Z,complete\nu,r,,view\nu,s,,view\n")
        import_interactions(path, visitors=True)
        learner = LearnerProfile.objects.get()
        assert forget_deed(learner, "r") == 2
        counts = import_interactions(path, visitors=True).counts
        assert (counts["created"], counts["known"]) == (0, 3)
        assert deeds(learner) == ["s"]
        later = (timezone.now() + dt.timedelta(seconds=5)).isoformat()
        path.write_text(f"user_id,item_id,timestamp,event\nu,r,{later},complete\n")
        assert import_interactions(path, visitors=True).counts["created"] == 1

    def test_by_a_row_of_the_host(self):
        source, user = registry.named("testapp.loan:borrowed"), Member.objects.create_user("a@example.org")
        with paused():
            book = Book.objects.create(title="Rings")
            loan = Loan.objects.create(book=book, reader=user, borrowed_at=timezone.now() - HOUR)
        sync_activity(source)
        learner = get_learner(user)
        key = Interaction.objects.get().resource.key
        assert forget_deed(learner, key) == 1
        for counts in (sync_activity(source), sync_activity_pks(source, [loan.pk])):
            assert (counts.created, counts.skipped) == (0, 1)
        loan.save()  # Its saves are followed.
        assert not Interaction.objects.exists()
        Loan.objects.update(borrowed_at=timezone.now())
        assert sync_activity(source).created == 1, "what the row says of later is a new deed"
        assert deeds(learner) == [key]
        Loan.objects.update(borrowed_at=timezone.now() - HOUR)
        assert sync_activity(source).deleted == 1
        assert sync_activity(source, dry_run=True).skipped == 1

    @pytest.mark.parametrize("borrowed_at", [None, "to come"])
    def test_by_a_row_of_the_host_that_says_no_time_or_one_to_come(self, borrowed_at):
        user = Member.objects.create_user("a@example.org")
        with paused():
            if borrowed_at:
                source = registry.named("testapp.loan:borrowed")
                make = {"book": Book.objects.create(title="Rings"), "reader": user}
                make_row = lambda: Loan.objects.create(**make, borrowed_at=timezone.now() + HOUR)  # noqa: E731
            else:
                source = registry.named("testapp.enrolment:enrolled")
                course, student = Course.objects.create(name="Algebra"), Student.objects.create(user=user)
                make_row = lambda: Enrolment.objects.create(  # noqa: E731
                    run=Run.objects.create(course=course), student=student
                )
            make_row()
            sync_activity(source)
            learner = get_learner(user)
            key = Interaction.objects.get().resource.key
            assert forget_deed(learner, key) == 1
            assert sync_activity(source).skipped == 1
            assert not Interaction.objects.exists()
            make_row()
            assert sync_activity(source).created == 1, "another row is another deed"

    def test_rows_of_others_are_synced_as_before(self):
        source = registry.named("testapp.loan:borrowed")
        users = [Member.objects.create_user(f"{name}@example.org") for name in "ab"]
        with paused():
            books = [Book.objects.create(title=title) for title in ("Rings", "Sets")]
            resources = [sync_object(book) for book in books]
            for user in users:
                for book in books:
                    Loan.objects.create(book=book, reader=user, borrowed_at=timezone.now() - HOUR)
        sync_activity(source)
        forget_deed(get_learner(users[0]), resources[0].key)
        Interaction.objects.all().delete()
        assert (sync_activity(source).created, Interaction.objects.count()) == (3, 3)

    def test_by_a_visitor_who_signs_in(self, resource):
        member = Member.objects.create_user("a@example.org")
        account = get_learner(member)
        visitor = get_learner(visitor_key="v")
        did(account)
        for verb, at in (("viewed", timezone.now() - HOUR), ("dismissed", timezone.now() - HOUR)):
            did(visitor, "r", verb, occurred_at=at)
        forget_deed(account, "r")
        did(visitor, "r", "completed")
        merge_visitor("v", member)
        assert set(account.interactions.values_list("verb", flat=True)) == {"dismissed", "completed"}

    def test_to_the_account_of_a_visitor_who_forgot_it(self, resource):
        member = Member.objects.create_user("a@example.org")
        visitor, account = get_learner(visitor_key="v"), get_learner(member)
        seen = InteractionInput("viewed", "r", event_id="1")
        record(visitor, seen)
        record(account, InteractionInput("completed", "r", event_id="own"))
        forget_deed(visitor, "r")
        merge_visitor("v", member)
        assert ForgottenDeed.objects.get().learner == account
        assert record(account, seen) == (None, False)
        assert account.interactions.get().verb == "completed", "what the account did is its own"

    def test_both_may_have_forgotten_it(self, resource):
        member = Member.objects.create_user("a@example.org")
        visitor, account = get_learner(visitor_key="v"), get_learner(member)
        for who in (account, visitor):
            did(who, event_id=str(who.pk))
            forget_deed(who, "r")
        merge_visitor("v", member)
        kept = ForgottenDeed.objects.get()
        assert (kept.learner, len(kept.events)) == (account, 2)
        assert not did(account, event_id=str(visitor.pk))


class TestPrivacy:
    def test_it_is_exported(self, learner):
        did(learner)
        forget_deed(learner, "r")
        held = export_learner(learner)
        assert held["interactions"] == []
        [entry] = held["forgotten_deeds"]
        kept = ForgottenDeed.objects.get()
        assert entry == {
            "resource": "r", "title": "Rings", "forgotten_at": kept.forgotten_at.isoformat(), "events": kept.events,
        }  # fmt: skip
        missing = {field.name for field in ForgottenDeed._meta.concrete_fields} - entry.keys()
        assert missing == {"id", "learner"}

    def test_it_goes_with_the_learner_and_with_the_resource(self, learner, resource):
        did(learner)
        forget_deed(learner, "r")
        assert forget_learner(learner)["llmrec_django.ForgottenDeed"] == 1
        ann = LearnerProfile.objects.create(visitor_key="ann")
        did(ann)
        forget_deed(ann, "r")
        resource.delete()
        assert not ForgottenDeed.objects.exists()

    def test_starting_anew_covers_it(self, learner):
        did(learner)
        forget_deed(learner, "r")
        assert reset(learner)["llmrec_django.ForgottenDeed"] == 1
        assert not did(learner, occurred_at=timezone.now() - HOUR)


@pytest.mark.django_db(transaction=True)
def test_two_tabs_and_reports_at_the_same_moment(hashing):
    make_catalogue()
    learner = LearnerProfile.objects.create(visitor_key="ann")
    did(learner, "cooking-0", "completed")
    result = recommend(learner, k=6)
    key, at = keys(result)[0], timezone.now()
    report = [
        FeedbackInput(kind, key, result.recommendation_id, value, occurred_at=at)
        for kind, value in (("clicked", None), ("rated", 5))
    ]
    give_feedback(learner, report)
    errors, counts = [], []
    start = threading.Barrier(4)

    def tab(act):
        try:
            start.wait()
            for _ in range(5):
                act()
        except Exception as exc:
            errors.append(exc)
        finally:
            connections.close_all()

    acts = [lambda: counts.append(forget_deed(learner, key)), lambda: give_feedback(learner, report)]
    tabs = [threading.Thread(target=tab, args=(act,)) for act in acts * 2]
    for thread in tabs:
        thread.start()
    for thread in tabs:
        thread.join(60)
    assert errors == []
    assert sorted(counts) == [0] * 9 + [2]
    row = RecommendationItem.objects.get(list=result.recommendation_id, resource__key=key)
    assert (row.clicked_at, row.rated_at) == (None, None)
    assert deeds(learner) == ["cooking-0"]
