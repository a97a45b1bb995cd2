"""Lists are kept, and what learners do about them counts once and changes the next list."""

import threading
import uuid
from dataclasses import replace
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.db import connections, transaction
from django.utils import timezone

from llmrec_django.exceptions import InvalidInteraction, UnknownList, UnknownResource
from llmrec_django.models import (
    Interaction,
    LearnerProfile,
    Placement,
    RecommendationItem,
    RecommendationList,
    Resource,
)
from llmrec_django.retrieval.dismissals import LOOKED_AT, dismissals
from llmrec_django.services import embedding
from llmrec_django.services.feedback import give_feedback, restore
from llmrec_django.services.insight import insight
from llmrec_django.services.levels import level_of
from llmrec_django.services.lists import find_list, read_list
from llmrec_django.services.recommend import recommend, recommend_batch
from llmrec_django.services.record import record
from llmrec_django.services.training.dataset import load_dataset
from llmrec_django.types import FeedbackInput, InteractionInput

pytestmark = pytest.mark.django_db

TOPICS = {
    "cooking": "cooking kitchen recipes bread baking oven flour",
    "astronomy": "astronomy stars planets telescope galaxy orbit sky",
    "law": "law court judge contract rights justice statute",
}
LEVELS = ("beginner", "intermediate", "advanced")


@pytest.fixture(autouse=True)
def _fresh_cache():
    cache.clear()


def make_catalogue():
    rows = [
        Resource(
            key=f"{topic}-{i}",
            title=f"{topic.title()} {i}",
            description=f"{words} lesson{i} part{i} week{i}",
            level=LEVELS[i % 3],
            language="en",
        )
        for topic, words in TOPICS.items()
        for i in range(12)
    ]
    rows.append(Resource(key="law-1-again", title="Law 1", description=rows[25].description, level="intermediate"))
    Resource.objects.bulk_create(rows)
    embedding.embed_pending()
    return {resource.key: resource for resource in Resource.objects.all()}


@pytest.fixture
def catalogue(hashing):
    return make_catalogue()


@pytest.fixture
def learner(catalogue):
    learner = LearnerProfile.objects.create(visitor_key="ann")
    record(learner, InteractionInput("completed", "law-0"))
    return learner


def keys(result):
    return [item.resource.key for item in result]


def item(result, key):
    return RecommendationItem.objects.get(list=result.recommendation_id, resource__key=key)


def said(result, kind, key, **more):
    return FeedbackInput(kind, key, result.recommendation_id, **more)


def state():
    """Everything that feedback may change."""
    items = RecommendationItem.objects.order_by("pk").values(
        "pk", "shown_at", "clicked_at", "dwell_s", "completed_at", "rated_at", "rated_value", "dismissed_at",
        "dismiss_reason", "outcomes",
    )  # fmt: skip
    return list(items), Interaction.objects.count()


class TestStoring:
    def test_a_list_is_stored_as_it_was_shown(self, learner):
        Placement.objects.create(name="home", size=4)
        result = recommend(learner, placement="home")
        stored = RecommendationList.objects.get()
        assert (stored.pk, stored.learner, stored.placement, stored.k) == (result.recommendation_id, learner, "home", 4)
        assert (stored.is_personal, stored.is_shadow, stored.fallback) == (True, False, "")
        rows = stored.items.order_by("rank")
        assert [(row.rank, row.resource.key, row.score) for row in rows] == [
            (item.rank, item.resource.key, item.score) for item in result
        ]
        assert {(row.propensity, row.is_exploration, row.source) for row in rows} == {(1.0, False, "content")}

    def test_it_takes_one_statement(self, learner, django_assert_num_queries, settings):
        from django.test.utils import CaptureQueriesContext

        recommend(learner, k=5)  # what is read once in a process
        with CaptureQueriesContext(connections["default"]) as kept:
            recommend(learner, k=5)
        settings.LLMREC = {**settings.LLMREC, "STORE_LISTS": None}
        with CaptureQueriesContext(connections["default"]) as not_kept:
            assert recommend(learner, k=5).recommendation_id is None
        # Inside the test's transaction there are the two of a savepoint as well.
        assert len(kept) - len(not_kept) == 3
        assert RecommendationList.objects.count() == 2

    def test_who_opted_out_and_who_is_unknown_leave_no_name(self, learner, settings):
        opted_out = LearnerProfile.objects.create(visitor_key="bo", personalise=False)
        assert recommend(opted_out, k=3).recommendation_id is None
        assert recommend(None, k=3).recommendation_id is None
        assert not RecommendationList.objects.exists()
        settings.LLMREC = {**settings.LLMREC, "STORE_LISTS": "all"}
        for who in (opted_out, None):
            assert recommend(who, k=3).recommendation_id is not None
        assert list(RecommendationList.objects.values_list("learner", flat=True)) == [None, None]

    def test_an_opt_out_a_moment_ago_is_heard(self, learner):
        LearnerProfile.objects.update(personalise=False)
        assert len(recommend(learner, k=3)) == 3
        assert not RecommendationList.objects.exists()

    def test_in_shadow_the_list_is_kept_and_nothing_shown(self, learner, settings):
        settings.LLMREC = {**settings.LLMREC, "ENABLED": "shadow"}
        assert len(recommend(learner, k=3)) == 0
        assert RecommendationList.objects.get().is_shadow
        assert RecommendationItem.objects.count() == 3

    def test_a_list_that_cannot_be_stored_is_shown(self, learner, caplog):
        with connections["default"].cursor() as cursor:
            cursor.execute("ALTER TABLE llmrec_django_recommendationitem RENAME COLUMN rank TO place")
        result = recommend(learner, k=3)
        assert (len(result), result.recommendation_id) == (3, None)
        assert "not stored" in caplog.text
        assert LearnerProfile.objects.exists(), "the transaction around goes on"

    def test_it_can_be_read_again_by_its_learner_alone(self, learner):
        result = recommend(learner, k=4)
        stored = find_list(result.recommendation_id, learner)
        assert keys(read_list(stored)) == keys(result)
        Resource.objects.filter(key=keys(result)[1]).update(published=False)
        assert keys(read_list(stored)) == [key for n, key in enumerate(keys(result)) if n != 1]
        assert find_list(result.recommendation_id, LearnerProfile.objects.create(visitor_key="eve")) is None
        assert find_list(result.recommendation_id, None) is None


class TestFeedback:
    def test_each_kind_is_written_to_its_item(self, learner):
        result = recommend(learner, k=4)
        first, second, third, fourth = keys(result)
        changed = give_feedback(
            learner,
            [
                *(said(result, "shown", key) for key in keys(result)),
                said(result, "clicked", first),
                said(result, "read", first, value=33.0),
                said(result, "rated", second, value=5),
                said(result, "dismissed", third, reason="too_hard"),
            ],
        )
        assert changed == 4
        assert RecommendationItem.objects.filter(shown_at__isnull=False).count() == 4
        row = item(result, first)
        assert row.clicked_at is not None
        assert row.dwell_s == 33.0
        row = item(result, second)
        assert (row.rated_value, row.rated_at is not None, row.clicked_at) == (1.0, True, None)
        row = item(result, third)
        assert (row.dismissed_at is not None, row.dismiss_reason) == (True, "too_hard")
        assert item(result, fourth).dismissed_at is None
        deeds = Interaction.objects.exclude(verb="completed").values_list("verb", "resource__key")
        assert set(deeds) == {("clicked", first), ("rated", second), ("too_hard", third)}

    def test_said_twice_it_counts_once(self, learner):
        result = recommend(learner, k=3)
        first, second, third = keys(result)
        report = [
            said(result, "shown", first),
            said(result, "clicked", first),
            said(result, "read", first, value=12.0),
            said(result, "rated", second, value=4),
            said(result, "dismissed", third),
        ]
        assert give_feedback(learner, report) == 3
        before = state()
        assert give_feedback(learner, report) == 0
        assert state() == before

    def test_in_any_order_the_outcome_is_the_same(self, learner):
        result = recommend(learner, k=2)
        first, second = keys(result)
        now = timezone.now()
        report = [
            said(result, "shown", first, occurred_at=now - timedelta(minutes=5)),
            said(result, "clicked", first, occurred_at=now - timedelta(minutes=4)),
            said(result, "clicked", first, occurred_at=now - timedelta(minutes=2)),
            said(result, "read", first, value=20.0, occurred_at=now - timedelta(minutes=1)),
            said(result, "read", first, value=80.0, occurred_at=now),
            said(result, "dismissed", second, reason="too_easy", occurred_at=now - timedelta(minutes=3)),
            said(result, "dismissed", second, reason="too_hard", occurred_at=now - timedelta(minutes=1)),
        ]
        states = []
        for order in (report, report[::-1], report[3:] + report[:3]):
            with transaction.atomic():
                for entry in order:
                    give_feedback(learner, [entry])
                states.append(state())
                transaction.set_rollback(True)
        assert states[0] == states[1] == states[2]
        row = states[0][0][0]
        assert (row["shown_at"], row["clicked_at"]) == (now - timedelta(minutes=5), now - timedelta(minutes=4))
        assert row["dwell_s"] == 80.0
        assert states[0][0][1]["dismiss_reason"] == "too_easy"

    @pytest.mark.parametrize("ids", [("", ""), ("tap-1", "tap-2")])
    def test_one_item_is_clicked_once_whoever_reports_it(self, learner, ids):
        result = recommend(learner, k=2)
        first, second = keys(result)
        give_feedback(learner, [said(result, "clicked", first, event_id=ids[0])], source="beacon")
        before = state()
        assert give_feedback(learner, [said(result, "clicked", first, event_id=ids[1])] * 2, source="api") == 0
        assert state() == before
        give_feedback(learner, [said(result, "clicked", second), said(recommend(learner, k=2), "clicked", second)])
        assert Interaction.objects.filter(verb="clicked").count() == 3, "another item, and one of another list"

    def test_of_ratings_the_last_counts_and_the_same_report_changes_nothing(self, learner):
        result = recommend(learner, k=1)
        key = keys(result)[0]
        give_feedback(learner, [said(result, "shown", key)])
        for rating, value in ((4, 0.75), (2, 0.25), (4, 0.75)):
            assert give_feedback(learner, [said(result, "rated", key, value=rating)]) == 1
            assert item(result, key).rated_value == value
            before = state()
            assert give_feedback(learner, [said(result, "rated", key, value=rating)]) == 0
            assert state() == before
        assert Interaction.objects.filter(verb="rated").count() == 3
        again = recommend(learner, k=1)
        give_feedback(learner, [said(again, "shown", keys(again)[0])])
        give_feedback(learner, [said(again, "rated", keys(again)[0], value=4)])
        assert item(again, keys(again)[0]).rated_value == 0.75, "what comes of another list counts for it"

    @pytest.mark.parametrize("told", ["time", "id"])
    def test_ratings_with_their_time_or_an_id_may_come_again_in_any_order(self, learner, told):
        result = recommend(learner, k=1)
        key = keys(result)[0]
        now = timezone.now()
        give_feedback(learner, [said(result, "shown", key, occurred_at=now - timedelta(days=20))])
        report = [
            said(
                result, "rated", key, value=rating, event_id=f"rating-{days}" if told == "id" else "",
                # Older ones than are believed count as the oldest that are; they are the same report all the same.
                occurred_at=now - timedelta(days=days),
            )
            for days, rating in ((40, 1), (3, 4), (2, 2), (1, 4))
        ]  # fmt: skip
        give_feedback(learner, report, trusted=False)
        before = state()
        for order in (report, report[::-1], report[1:3]):
            assert give_feedback(learner, order, trusted=False) == 0
        assert state() == before
        assert item(result, key).rated_value == 0.75
        assert Interaction.objects.filter(verb="rated").count() == 4

    def test_of_one_report_that_rates_twice_the_last_rating_counts(self, learner):
        result = recommend(learner, k=1)
        key = keys(result)[0]
        report = [said(result, "rated", key, value=4), said(result, "rated", key, value=2)]
        give_feedback(learner, report)
        before = state()
        assert give_feedback(learner, report) == 0
        assert state() == before
        assert item(result, key).rated_value == 0.25

    def test_another_learners_list_is_unknown(self, learner, catalogue):
        result = recommend(learner, k=2)
        eve = LearnerProfile.objects.create(visitor_key="eve")
        for list_id in (result.recommendation_id, uuid.uuid4()):
            with pytest.raises(UnknownList) as caught:
                give_feedback(eve, [FeedbackInput("clicked", keys(result)[0], list_id)])
            assert caught.value.field == "feedback[0].recommendation_id"
        assert not RecommendationItem.objects.filter(clicked_at__isnull=False).exists()
        assert not Interaction.objects.filter(learner=eve).exists()

    def test_a_batch_is_taken_whole_or_not_at_all(self, learner):
        result = recommend(learner, k=2)
        before = state()
        with pytest.raises(UnknownResource):
            give_feedback(learner, [said(result, "clicked", keys(result)[0]), said(result, "clicked", "cooking-11")])
        assert state() == before

    @pytest.mark.parametrize(
        ("entry", "field"),
        [
            (FeedbackInput("liked", "law-1"), "kind"),
            (FeedbackInput("dismissed", ""), "resource_key"),
            (FeedbackInput("dismissed", "law\x00"), "resource_key"),
            (FeedbackInput("shown", "law-1"), "recommendation_id"),
            (FeedbackInput("read", "law-1"), "value"),
            (FeedbackInput("read", "law-1", value=float("nan")), "value"),
            (FeedbackInput("read", "law-1", value=True), "value"),
            (FeedbackInput("read", "law-1", value=10**400), "value"),
            (FeedbackInput("rated", "law-1", value=True), "value"),
            (FeedbackInput("rated", "law-1", value=10**400), "value"),
            (FeedbackInput("rated", "law-1"), "value"),
            (FeedbackInput("dismissed", "law-1", reason="ugly"), "reason"),
            (FeedbackInput("read", "law-1", value=1.0, reason="too_hard"), "reason"),
            (FeedbackInput("dismissed", "law-1", occurred_at="yesterday"), "occurred_at"),
        ],
    )
    def test_what_cannot_be_used_is_named(self, learner, entry, field):
        with pytest.raises(InvalidInteraction) as caught:
            give_feedback(learner, [FeedbackInput("read", "law-1", value=1.0), entry])
        assert caught.value.field == f"feedback[1].{field}"

    def test_who_opted_out_is_not_recorded(self, learner):
        result = recommend(learner, k=1)
        learner.personalise = False
        learner.save()
        before = state()
        assert give_feedback(learner, [said(result, "clicked", keys(result)[0])]) == 0
        assert state() == before

    def test_reading_counts_for_the_click_that_led_to_it(self, learner):
        older, newer = recommend(learner, k=2), recommend(learner, k=2)
        key = keys(older)[0]
        now = timezone.now()
        give_feedback(learner, [said(older, "clicked", key, occurred_at=now - timedelta(hours=2))])
        give_feedback(learner, [said(newer, "clicked", key, occurred_at=now - timedelta(hours=1))])
        give_feedback(learner, [FeedbackInput("read", key, value=40.0)])
        assert (item(older, key).dwell_s, item(newer, key).dwell_s) == (None, 40.0)

    def test_the_same_reading_come_again_after_another_click_is_not_that_clicks(self, learner):
        older, newer = recommend(learner, k=2), recommend(learner, k=2)
        key = keys(older)[0]
        reading = FeedbackInput("read", key, value=40.0)  # as a page says it, which knows no list
        give_feedback(learner, [said(older, "clicked", key)])
        assert give_feedback(learner, [reading]) == 1
        give_feedback(learner, [said(newer, "clicked", key)])
        before = state()
        assert give_feedback(learner, [reading]) == 0
        assert state() == before
        assert give_feedback(learner, [replace(reading, value=25.0)]) == 1
        assert (item(older, key).dwell_s, item(newer, key).dwell_s) == (40.0, 25.0)

    def test_two_tabs_that_turn_a_thing_down_say_it_once_each_with_an_id_of_its_own(self, learner):
        result = recommend(learner, k=4)
        first, second = keys(result)[:2]
        give_feedback(learner, [said(result, "dismissed", key, event_id=f"one {key}") for key in (first, second)])
        before = state()
        told = [said(result, "dismissed", key, event_id=f"two {key}") for key in (first, second)]
        assert give_feedback(learner, told) == 0
        assert give_feedback(learner, told[::-1]) == 0
        assert state() == before
        # Another reason is another thing to say, and so is the same one after it was taken back.
        give_feedback(learner, [said(result, "dismissed", first, reason="too_hard", event_id="three")])
        assert set(Interaction.objects.filter(resource__key=first).values_list("verb", flat=True)) == {
            "dismissed",
            "too_hard",
        }
        third = keys(result)[2]
        reasons = ("too_hard", "not_interested")
        both = [said(result, "dismissed", third, reason=reason, event_id=f"{reason} {third}") for reason in reasons]
        assert give_feedback(learner, both) == 1
        assert item(result, third).dismissed_at is not None
        assert Interaction.objects.filter(resource__key=third).count() == 2
        restore(learner, second)
        give_feedback(learner, [told[1]])
        assert Interaction.objects.filter(resource__key=second, verb="dismissed").count() == 1


class TestAttribution:
    def test_what_a_learner_does_later_counts_for_the_list_they_saw_it_in_last(self, learner):
        lists = [recommend(learner, k=2) for _ in range(3)]
        key = keys(lists[0])[0]
        now = timezone.now()
        give_feedback(learner, [said(lists[0], "shown", key, occurred_at=now - timedelta(days=3))])
        give_feedback(learner, [said(lists[1], "shown", key, occurred_at=now - timedelta(days=2))])
        record(learner, InteractionInput("enrolled", key, occurred_at=now - timedelta(days=1)))
        record(learner, InteractionInput("completed", key))
        assert set(item(lists[1], key).outcomes) == {"enrolled"}
        assert item(lists[1], key).completed_at is not None
        for other in (lists[0], lists[2]):
            assert (item(other, key).completed_at, item(other, key).outcomes) == (None, {})

    def test_not_what_was_done_before_or_long_after(self, learner):
        result = recommend(learner, k=2)
        first, second = keys(result)
        now = timezone.now()
        give_feedback(
            learner, [said(result, "shown", key, occurred_at=now - timedelta(days=29)) for key in (first, second)]
        )
        record(learner, InteractionInput("completed", first, occurred_at=now - timedelta(days=30)))
        assert item(result, first).completed_at is None
        RecommendationItem.objects.update(shown_at=now - timedelta(days=31))
        record(learner, InteractionInput("completed", second))
        assert item(result, second).completed_at is None

    def test_a_report_that_comes_after_the_deed_is_counted_all_the_same(self, learner):
        older, newer = recommend(learner, k=1), recommend(learner, k=1)
        key = keys(older)[0]
        now = timezone.now()
        give_feedback(learner, [said(older, "shown", key, occurred_at=now - timedelta(hours=9))])
        record(learner, InteractionInput("borrowed", key, occurred_at=now - timedelta(hours=1)))
        assert set(item(older, key).outcomes) == {"borrowed"}
        give_feedback(learner, [said(newer, "clicked", key, occurred_at=now - timedelta(hours=2))])
        assert (item(older, key).outcomes, set(item(newer, key).outcomes)) == ({}, {"borrowed"})

    def test_the_first_enrolment_and_the_last_rating_count(self, learner):
        result = recommend(learner, k=1)
        key = keys(result)[0]
        now = timezone.now()
        give_feedback(learner, [said(result, "shown", key, occurred_at=now - timedelta(hours=9))])
        for hours in (3, 5, 4):
            record(learner, InteractionInput("enrolled", key, occurred_at=now - timedelta(hours=hours)))
            record(learner, InteractionInput("rated", key, 6 - hours, occurred_at=now - timedelta(hours=hours)))
        row = item(result, key)
        assert row.outcomes["enrolled"].startswith((now - timedelta(hours=5)).strftime("%Y-%m-%dT%H:%M:%S"))
        assert (row.rated_at, row.rated_value) == (now - timedelta(hours=3), 0.5)


class TestNextList:
    def test_a_dismissed_resource_and_what_is_nearly_the_same_are_gone(self, learner):
        Placement.objects.create(name="again", seen="show")
        result = recommend(learner, k=36)
        assert {"law-1", "law-1-again"} <= set(keys(result))
        give_feedback(learner, [said(result, "dismissed", "law-1")])
        for offered in (
            keys(recommend(learner, k=37)),
            keys(recommend(learner, placement="again", k=37)),
            [Resource.objects.get(pk=pk).key for _, rows in recommend_batch([learner], k=37) for pk, _ in rows],
        ):
            assert not {"law-1", "law-1-again"} & set(offered)
            assert {"law-2", "law-5"} <= set(offered), "other resources of the topic stay"
            assert len(offered) >= 34

    def test_similar_ones_stay_where_the_site_says_so(self, learner, settings):
        settings.LLMREC = {**settings.LLMREC, "DISMISS_SIMILAR_FROM": None}
        give_feedback(learner, [said(recommend(learner, k=36), "dismissed", "law-1")])
        offered = keys(recommend(learner, k=37))
        assert "law-1-again" in offered
        assert "law-1" not in offered

    @pytest.mark.parametrize("reason", ["not_interested", "already_know", "too_hard", "too_easy"])
    def test_taken_back_it_may_come_again(self, learner, reason):
        result = recommend(learner, k=36)
        before = keys(result)
        report = [said(result, "dismissed", "law-1", reason=reason)]
        give_feedback(learner, report)
        assert "law-1" not in keys(recommend(learner, k=37))
        assert restore(learner, "law-1") == 1
        assert keys(recommend(learner, k=36)) == before
        assert (item(result, "law-1").dismissed_at, item(result, "law-1").dismiss_reason) == (None, "")
        assert restore(learner, "law-1") == 0

    def test_a_dismissal_that_was_taken_back_is_not_repeated_by_its_echo(self, learner):
        result = recommend(learner, k=36)
        report = [said(result, "dismissed", "law-1", event_id="tap-1")]
        give_feedback(learner, report)
        restore(learner, "law-1")
        give_feedback(learner, report)
        assert "law-1" in keys(recommend(learner, k=37))
        assert item(result, "law-1").dismissed_at is None
        give_feedback(learner, [said(result, "dismissed", "law-1", event_id="tap-2")])
        assert "law-1" not in keys(recommend(learner, k=37))

    def test_what_is_known_speaks_neither_for_nor_against_its_topic(self, learner):
        result = recommend(learner, k=8)
        assert all(key.startswith("law") for key in keys(result))
        give_feedback(learner, [said(result, "dismissed", key, reason="already_know") for key in keys(result)[:3]])
        after = keys(recommend(learner, k=8))
        assert all(key.startswith("law") for key in after)
        assert not set(after) & set(keys(result)[:3])

    @pytest.mark.parametrize(("reason", "direction"), [("too_hard", -1), ("too_easy", 1)])
    def test_too_hard_and_too_easy_move_the_next_list(self, learner, reason, direction):
        def mean_level(result):
            return sum(LEVELS.index(entry.resource.level) for entry in result) / len(result)

        Resource.objects.bulk_create(
            Resource(
                key=f"more-{i}", title=f"More law {i}", description=f"{TOPICS['law']} text{i}", level=LEVELS[i % 3]
            )
            for i in range(30)
        )
        embedding.embed_pending()
        Placement.objects.create(name="plain", size=6, diversity=0.0)
        before = recommend(learner, placement="plain")
        middle = next(entry.resource.key for entry in before if entry.resource.level == "intermediate")
        give_feedback(learner, [said(before, "dismissed", middle, reason=reason)])
        after = recommend(learner, placement="plain")
        assert direction * (mean_level(after) - mean_level(before)) > 0.2
        assert all("law" in entry.resource.title.lower() for entry in after), "the topic stays"
        ((_, batch),) = recommend_batch([learner], k=6, placement="plain")
        assert [pk for pk, _ in batch] == [entry.resource.pk for entry in after]
        restore(learner, middle)
        assert keys(recommend(learner, placement="plain")) == keys(before)

    def test_each_resource_speaks_once_of_the_level_however_often_it_is_turned_down(self, learner):
        first, second = (recommend(learner, k=36) for _ in range(2))
        hard = FeedbackInput("dismissed", "law-2", reason="too_hard")
        easy = FeedbackInput("dismissed", "law-4", reason="too_easy")
        give_feedback(learner, [hard])
        give_feedback(learner, [easy])
        level = level_of(learner, dismissals(learner))
        give_feedback(learner, [easy])
        give_feedback(learner, [hard])
        assert level_of(learner, dismissals(learner)) == level, "the same reports again"
        for source in ("api", "beacon"):
            for result in (first, second):
                give_feedback(learner, [said(result, "dismissed", "law-4", reason="too_easy")], source=source)
        assert level_of(learner, dismissals(learner)) == level, "from two lists and two tabs"
        assert [entry.resource_id for entry in dismissals(learner)] == [
            Resource.objects.get(key=key).pk for key in ("law-4", "law-2")
        ]
        give_feedback(learner, [said(second, "dismissed", "law-4", reason="too_hard")])
        assert level_of(learner, dismissals(learner)) < level, "the last word counts"
        give_feedback(learner, [FeedbackInput("dismissed", "law-4", reason="too_easy")])
        assert level_of(learner, dismissals(learner)) == level

    def test_repeats_leave_room_for_what_was_turned_down_before(self, learner):
        for name in ("law-4", "law-2"):
            give_feedback(learner, [FeedbackInput("dismissed", name)])
        Interaction.objects.bulk_create(
            Interaction(
                learner=learner, resource=Resource.objects.get(key="law-2"), verb="dismissed",
                occurred_at=timezone.now(), event_id=str(n),
            )
            for n in range(LOOKED_AT)
        )  # fmt: skip
        assert len(dismissals(learner)) == 2
        assert [entry.resource.key for entry in insight(learner).dismissed] == ["law-2", "law-4"]

    def test_feedback_is_what_training_learns_from(self, learner):
        result = recommend(learner, k=5)
        clicked, disliked, known, hard, easy = keys(result)
        give_feedback(
            learner,
            [
                said(result, "clicked", clicked),
                said(result, "dismissed", disliked),
                said(result, "dismissed", known, reason="already_know"),
                said(result, "dismissed", hard, reason="too_hard"),
                said(result, "dismissed", easy, reason="too_easy"),
            ],
        )
        dataset = load_dataset("default")
        ids = dict(Resource.objects.values_list("key", "pk"))

        def weight(key):
            (row,) = dataset.rows_of([ids[key]])
            return float(dataset.log.weights[dataset.log.resources == row][0])

        assert weight(clicked) > 0 > weight(disliked)
        assert [weight(key) for key in (known, hard, easy)] == [0, 0, 0]


@pytest.mark.django_db(transaction=True)
class TestTwoTabs:
    def test_at_the_same_moment_everything_counts_once(self, hashing):
        make_catalogue()
        learner = LearnerProfile.objects.create(visitor_key="ann")
        result = recommend(learner, k=6)
        Interaction.objects.all().delete()
        at = timezone.now()
        report = [
            *(said(result, "shown", key, occurred_at=at) for key in keys(result)),
            *(said(result, "clicked", key, occurred_at=at) for key in keys(result)[:3]),
            said(result, "dismissed", keys(result)[3], reason="too_hard", occurred_at=at),
        ]
        errors, changed = [], []
        start = threading.Barrier(4)

        def tab(name, order):
            try:
                start.wait()
                for entry in order:
                    source = name if entry.kind == "clicked" else "site"
                    changed.append(give_feedback(learner, [entry], source=source))
                    if entry.kind == "clicked":
                        record(
                            learner,
                            InteractionInput(
                                "completed", entry.resource_key, occurred_at=at, event_id="x" + entry.resource_key
                            ),
                        )
            except Exception as exc:
                errors.append(exc)
            finally:
                connections.close_all()

        tabs = [
            threading.Thread(target=tab, args=(name, order))
            for name, order in (
                ("beacon", report),
                ("api", report[::-1]),
                ("site", report),
                ("api", report[5:] + report[:5]),
            )
        ]
        for thread in tabs:
            thread.start()
        for thread in tabs:
            thread.join(60)
        assert errors == []
        assert RecommendationItem.objects.filter(shown_at=at).count() == 6
        assert RecommendationItem.objects.filter(clicked_at=at, completed_at=at).count() == 3
        assert RecommendationItem.objects.filter(dismissed_at=at).count() == 1
        verbs = list(Interaction.objects.values_list("verb", flat=True))
        assert sorted(verbs) == ["clicked"] * 3 + ["completed"] * 3 + ["too_hard"]
        before = state()
        assert give_feedback(learner, report) == 0
        assert state() == before
