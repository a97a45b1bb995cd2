"""Recording interactions."""

import datetime as dt
import math
from decimal import Decimal

import pytest

from llmrec_django.exceptions import InvalidInteraction, UnknownResource
from llmrec_django.models import Interaction, LearnerProfile, Resource
from llmrec_django.services.record import record, record_many
from llmrec_django.signals import interactions_recorded
from llmrec_django.types import InteractionInput

pytestmark = pytest.mark.django_db


def now():
    return dt.datetime.now(dt.UTC)


@pytest.fixture
def learner():
    return LearnerProfile.objects.create(visitor_key="v")


@pytest.fixture(autouse=True)
def resources():
    return [Resource.objects.create(key=f"r{n}", title=f"Resource {n}") for n in range(3)]


def one(verb="viewed", key="r0", **options):
    return InteractionInput(verb, key, **options)


class TestOne:
    def test_is_stored_as_given(self, learner):
        when = dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.timezone(dt.timedelta(hours=8)))
        row, is_new = record(learner, one("completed", "r1", value=0.5, occurred_at=when, event_id="e"), source="lms")
        row.refresh_from_db()
        assert is_new
        assert (row.learner, row.resource.key, row.verb, row.value) == (learner, "r1", "completed", 0.5)
        assert (row.occurred_at, row.source, row.event_id, row.tenant) == (when, "lms", "e", "default")
        assert now() - row.received_at < dt.timedelta(minutes=1)

    def test_the_same_event_counts_once_for_a_source_and_learner(self, learner):
        first, _ = record(learner, one(event_id="e"))
        again, is_new = record(learner, one("completed", event_id="e"))
        assert (again, is_new) == (first, False)
        assert record(learner, one(event_id="e"), source="other")[1]
        assert record(LearnerProfile.objects.create(visitor_key="w"), one(event_id="e"))[1]
        assert Interaction.objects.count() == 3

    def test_an_event_without_id_is_named_by_its_content(self, learner):
        when = now()
        assert record(learner, one(occurred_at=when))[1]
        assert not record(learner, one(occurred_at=when))[1]
        assert record(learner, one(occurred_at=when, key="r1"))[1]
        assert record(learner, one("rated", value=3, occurred_at=when))[1]
        assert record(learner, one("rated", value=4, occurred_at=when))[1]
        assert record(learner, one())[1]
        assert record(learner, one())[1]

    def test_aliases_in_any_case(self, learner):
        assert record(learner, one(" Enroll "))[0].verb == "enrolled"

    def test_an_unknown_verb_lists_the_allowed(self, learner):
        with pytest.raises(InvalidInteraction, match=r"unknown verb\. Use one of: bookmarked, borrowed") as failure:
            record(learner, one("devoured"))
        assert failure.value.field == "verb"

    @pytest.mark.parametrize("verb", [None, 7, "", ["viewed"]])
    def test_a_verb_that_is_no_text(self, learner, verb):
        with pytest.raises(InvalidInteraction):
            record(learner, one(verb))

    def test_verbs_of_the_site(self, learner, settings):
        settings.LLMREC = {"VERBS": {"shared": {"weight": 0.4, "learner_may_send": True}, "viewed": None}}
        assert record(learner, one("shared"), trusted=False)[1]
        with pytest.raises(InvalidInteraction):
            record(learner, one("viewed"))

    @pytest.mark.parametrize("key", ["nothing", "r0\x00", "r0\ud800"])
    def test_an_unknown_resource(self, learner, key):
        with pytest.raises(UnknownResource, match="in tenant 'default'") as failure:
            record(learner, one(key=key))
        assert failure.value.field == "resource_key"

    def test_a_resource_of_another_tenant_is_unknown(self, learner):
        Resource.objects.create(tenant="other", key="theirs", title="x")
        with pytest.raises(UnknownResource):
            record(learner, one(key="theirs"))

    def test_no_resource(self, learner):
        with pytest.raises(InvalidInteraction) as failure:
            record(learner, one(key=""))
        assert failure.value.field == "resource_key"

    def test_a_learner_who_opted_out_leaves_no_trace_even_if_the_caller_has_not_heard(self, learner):
        LearnerProfile.objects.update(personalise=False)
        assert record(learner, one()) == (None, False)
        learner.refresh_from_db()
        assert record(learner, one()) == (None, False)
        assert not Interaction.objects.exists()

    def test_a_learner_forgotten_meanwhile_leaves_no_trace(self, learner):
        LearnerProfile.objects.filter(pk=learner.pk).delete()
        assert record(learner, one()) == (None, False)
        assert record(LearnerProfile(visitor_key="unsaved"), one()) == (None, False)


class TestValues:
    @pytest.mark.parametrize(("stars", "stored"), [(1, 0.0), (3, 0.5), (5, 1.0), (Decimal("4.5"), 0.875)])
    def test_ratings_are_scaled(self, learner, stars, stored):
        assert record(learner, one("rated", value=stars))[0].value == stored

    def test_the_sites_scale(self, learner, settings):
        settings.LLMREC = {"RATING_SCALE": (0, 100)}
        assert record(learner, one("rated", value=25))[0].value == 0.25

    @pytest.mark.parametrize(
        ("verb", "value"),
        [
            ("rated", 0), ("rated", 6), ("rated", None), ("rated", "4"), ("rated", True),
            ("progressed", 45), ("progressed", -0.1), ("progressed", math.nan), ("progressed", math.inf),
            ("completed", "all"), ("viewed", 2), ("viewed", [1]), ("viewed", False),
        ],
    )  # fmt: skip
    def test_what_is_refused(self, learner, verb, value):
        with pytest.raises(InvalidInteraction) as failure:
            record(learner, one(verb, value=value))
        assert failure.value.field == "value"

    def test_a_percentage_is_told_what_to_be(self, learner):
        with pytest.raises(InvalidInteraction, match="45 % is 0.45"):
            record(learner, one("progressed", value=45))


class TestTimes:
    def test_naive_and_other_things_are_refused(self, learner):
        for moment in (dt.datetime(2026, 1, 1), dt.date(2026, 1, 1), "2026-01-01", 1):  # noqa: DTZ001
            with pytest.raises(InvalidInteraction) as failure:
                record(learner, one(occurred_at=moment))
            assert failure.value.field == "occurred_at"

    @pytest.mark.parametrize("trusted", [True, False])
    def test_the_future_is_refused_and_a_fast_clock_forgiven(self, learner, trusted):
        with pytest.raises(InvalidInteraction, match="future"):
            record(learner, one(occurred_at=now() + dt.timedelta(minutes=6)), trusted=trusted)
        row, _ = record(learner, one(occurred_at=now() + dt.timedelta(minutes=4)), trusted=trusted)
        assert row.occurred_at <= now()

    @pytest.mark.parametrize(("year", "hours"), [(1, 14), (9999, -14)])
    def test_a_time_that_is_none_in_utc_is_refused(self, learner, year, hours):
        zone = dt.timezone(dt.timedelta(hours=hours))
        edge = dt.datetime(year, 1, 1, tzinfo=zone) if year == 1 else dt.datetime(year, 12, 31, 23, tzinfo=zone)
        with pytest.raises(InvalidInteraction, match="no such time"):
            record(learner, one(occurred_at=edge))

    def test_a_clients_past_ends_after_thirty_days(self, learner):
        long_ago = now() - dt.timedelta(days=400)
        row, _ = record(learner, one(occurred_at=long_ago), trusted=False)
        assert abs(row.occurred_at - (now() - dt.timedelta(days=30))) < dt.timedelta(minutes=1)
        assert record(learner, one(occurred_at=long_ago), source="lms")[0].occurred_at == long_ago

    def test_an_old_event_sent_twice_counts_once(self, learner):
        long_ago = now() - dt.timedelta(days=400)
        assert record(learner, one(occurred_at=long_ago), trusted=False)[1]
        assert not record(learner, one(occurred_at=long_ago), trusted=False)[1]


class TestTrust:
    @pytest.mark.parametrize("verb", ["completed", "passed", "purchased", "enrolled", "borrowed"])
    def test_a_client_cannot_claim_outcomes(self, learner, verb):
        with pytest.raises(InvalidInteraction, match="only a trusted source") as failure:
            record(learner, one(verb), trusted=False)
        assert "completed" not in str(failure.value).split("Use one of:")[1]
        assert record(learner, one(verb))[1]

    def test_a_client_may_report_what_it_sees(self, learner):
        for verb in ("viewed", "clicked", "bookmarked", "dismissed"):
            assert record(learner, one(verb), trusted=False)[1]


class TestSearches:
    def test_leave_no_trace_by_default(self, learner):
        assert record(learner, InteractionInput("searched", query="topology")) == (None, False)
        assert record_many(learner, [InteractionInput("searched", query="topology"), one()]) == 1
        assert Interaction.objects.get().verb == "viewed"

    def test_are_kept_where_the_site_says_so(self, learner, settings):
        settings.LLMREC = {"RECORD_SEARCHES": True}
        row, is_new = record(learner, InteractionInput("searched", query=" a\x00b\ud800" + "x" * 600))
        assert (is_new, row.resource, row.query) == (True, None, ("ab?" + "x" * 600)[:500])

    @pytest.mark.parametrize(
        ("given", "field"),
        [
            (InteractionInput("searched"), "query"),
            (InteractionInput("searched", "r0", query="x"), "resource_key"),
            (InteractionInput("viewed", "r0", query="x"), "query"),
        ],
    )
    def test_words_belong_to_searches_alone(self, learner, given, field):
        with pytest.raises(InvalidInteraction) as failure:
            record(learner, given)
        assert failure.value.field == field


class TestMany:
    def test_counts_what_is_new(self, learner):
        assert record_many(learner, [one(event_id="a"), one(event_id="b"), one(event_id="a")]) == 2
        assert record_many(learner, [one(event_id="b"), one(event_id="c")]) == 1
        assert record_many(learner, []) == 0

    @pytest.mark.parametrize("n", [1, 50])
    def test_the_number_of_queries_is_fixed(self, learner, n, django_assert_num_queries):
        batch = [one(key=f"r{i % 3}", event_id=str(i)) for i in range(n)]
        with django_assert_num_queries(2):
            assert record_many(learner, batch) == n

    def test_all_or_nothing_naming_the_entry(self, learner):
        batch = [one(event_id=str(i)) for i in range(3)]
        with pytest.raises(InvalidInteraction, match=r"^interactions\[3\]\.verb: ") as failure:
            record_many(learner, [*batch, one("devoured")])
        assert failure.value.field == "interactions[3].verb"
        with pytest.raises(UnknownResource) as unknown:
            record_many(learner, [*batch, one(key="nothing")])
        assert unknown.value.field == "interactions[3].resource_key"
        assert not Interaction.objects.exists()

    @pytest.mark.parametrize("event_id", ["x" * 300, "a\x00b", "a\ud800"])
    def test_an_event_id_that_cannot_be_kept_is_refused(self, learner, event_id):
        with pytest.raises(InvalidInteraction) as failure:
            record_many(learner, [one(event_id=event_id)])
        assert failure.value.field == "interactions[0].event_id"


@pytest.mark.parametrize("source", ["", "x" * 65])
def test_a_source_that_cannot_be_kept_is_refused(learner, source):
    for call in (lambda: record(learner, one(), source=source), lambda: record_many(learner, [one()], source=source)):
        with pytest.raises(InvalidInteraction) as failure:
            call()
        assert failure.value.field == "source"


def test_the_signal_names_the_new_rows(learner):
    heard = []

    def listen(sender, learner, interaction_ids, source, **_):
        heard.append((learner, interaction_ids, source))
        raise RuntimeError  # A receiver that fails changes nothing.

    interactions_recorded.connect(listen)
    try:
        row, _ = record(learner, one(event_id="e"), source="lms")
        record(learner, one(event_id="e"), source="lms")
    finally:
        interactions_recorded.disconnect(listen)
    assert heard == [(learner, [row.pk], "lms")]
