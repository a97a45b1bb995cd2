"""Editors pin, move and leave out resources; nothing that a learner must not see comes with it."""

from datetime import timedelta

import pytest
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation

from llmrec_django.models import (
    EditorialRule,
    Interaction,
    LearnerProfile,
    Placement,
    RecommendationItem,
    Resource,
    ResourceScreening,
)
from llmrec_django.services import embedding
from llmrec_django.services.lists import read_list
from llmrec_django.services.recommend import recommend, recommend_batch
from llmrec_django.services.record import record
from llmrec_django.services.similar import similar
from llmrec_django.types import InteractionInput

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _fresh_cache():
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def catalogue(hashing):
    # The more other words, the further away: no two are equally near, so that their order is one.
    Resource.objects.bulk_create(
        Resource(
            key=f"law-{i}",
            title="Law",
            kind="book" if i % 2 else "course",
            keywords=["exams"] if i in (18, 19) else [],
            description="law court judge contract rights justice statute " + " ".join(f"w{j}" for j in range(i)),
        )
        for i in range(20)
    )
    embedding.embed_pending()
    return {row.key: row for row in Resource.objects.all()}


@pytest.fixture
def learner(catalogue):
    learner = LearnerProfile.objects.create(visitor_key="ann")
    record(learner, InteractionInput("completed", "law-0"))
    return learner


@pytest.fixture
def place(db):
    return Placement.objects.create(name="home", size=5, diversity=0.0)


def rule(effect, **fields):
    return EditorialRule.objects.create(name="wish", effect=effect, **fields)


def shown(learner, placement="home", **options):
    return [item.resource.key for item in recommend(learner, placement=placement, **options)]


def in_batch(learner, placement="home", k=5):
    [(_, ranked)] = recommend_batch([learner], k=k, placement=placement)
    keys = dict(Resource.objects.values_list("pk", "key"))
    return [keys[pk] for pk, _ in ranked]


class TestPins:
    def test_what_is_pinned_stands_first_and_says_who_chose_it(self, catalogue, learner, place):
        before = shown(learner)
        rule(
            "pin",
            resource=catalogue["law-15"],
            reason="Enrol by Friday.",
            reason_translations={"zh-hans": "周五截止。"},
        )
        result = recommend(learner, placement="home")
        assert [item.resource.key for item in result] == ["law-15", *before[:4]]
        first = result.items[0]
        assert (first.source, first.evidence.rule) == ("editorial", "pinned")
        assert str(first.reason) == "Chosen by the editors: Enrol by Friday."
        with translation.override("zh-hans"):
            assert str(first.reason) == "编辑推荐：周五截止。"
        assert not any(item.evidence.rule for item in result.items[1:])

    def test_requests_and_batches_pin_and_move_alike(self, catalogue, learner, place):
        rule("pin", resource=catalogue["law-15"])
        rule("boost", kind="book", strength=1.5)
        rule("exclude", resource=catalogue["law-2"])
        assert in_batch(learner) == shown(learner)
        assert shown(learner)[0] == "law-15"

    def test_measuring_knows_no_wishes(self, catalogue, learner, place):
        plain = in_batch(learner, placement="")
        rule("pin", resource=catalogue["law-15"])
        rule("exclude", resource=catalogue["law-1"])
        assert in_batch(learner, placement="") == plain

    def test_a_list_has_few_of_them_the_placements_own_first(self, catalogue, learner, place, hashing):
        for key in ("law-11", "law-12"):
            rule("pin", resource=catalogue[key])
        rule("pin", resource=catalogue["law-13"], placement=place)
        assert shown(learner)[:2] == ["law-13", "law-12"]
        assert "law-11" not in shown(learner)
        hashing(MOST_PINNED=0)
        assert "law-13" not in shown(learner)
        assert shown(learner, k=1) == ["law-1"]

    def test_of_a_set_what_fits_the_learner_best_is_pinned(self, catalogue, learner, place):
        rule("pin", keyword="exams")
        assert shown(learner)[:3] == ["law-18", "law-19", "law-1"]

    @pytest.mark.parametrize("why", ["seen", "dismissed", "quarantined", "unpublished", "kind"])
    def test_what_a_learner_must_not_see_is_not_pinned(self, catalogue, learner, place, why):
        pinned = catalogue["law-15"]
        rule("pin", resource=pinned)
        assert shown(learner)[0] == "law-15"
        if why == "seen":
            record(learner, InteractionInput("completed", "law-15"))
        elif why == "dismissed":
            Interaction.objects.create(learner=learner, resource=pinned, verb="dismissed", occurred_at=timezone.now())
        elif why == "quarantined":
            ResourceScreening.objects.create(
                resource=pinned, status="flagged", content_hash="c", screen_id="s", screened_at=timezone.now()
            )
        elif why == "unpublished":
            Resource.objects.filter(pk=pinned.pk).update(published=False)
        else:
            Placement.objects.update(kinds=["course"])
        assert "law-15" not in shown(learner)
        assert "law-15" not in in_batch(learner)
        assert len(shown(learner)) == 5

    def test_pins_are_not_drawn_by_lot(self, catalogue, learner, place):
        rule("pin", resource=catalogue["law-15"])
        Placement.objects.update(explore_places=5, explore_pool=5)
        result = recommend(learner, placement="home")
        assert result.items[0].resource.key == "law-15"
        assert result.items[0].propensity == 1.0
        assert not result.items[0].is_exploration

    def test_it_is_kept_with_the_list(self, catalogue, learner, place):
        rule("pin", resource=catalogue["law-15"], reason="Enrol by Friday.")
        result = recommend(learner, placement="home")
        kept = RecommendationItem.objects.get(list=result.recommendation_id, rank=1)
        assert kept.evidence["rule_reasons"] == {"": "Enrol by Friday."}
        EditorialRule.objects.all().delete()
        again = read_list(kept.list)
        assert str(again.items[0].reason) == "Chosen by the editors: Enrol by Friday."


class TestMoves:
    def test_what_is_boosted_comes_sooner_and_says_so_beside_its_own_reason(self, catalogue, learner, place):
        assert shown(learner) == ["law-1", "law-2", "law-3", "law-4", "law-5"]
        rule("boost", resource=catalogue["law-6"], strength=2, reason="New edition.")
        result = recommend(learner, placement="home")
        assert result.items[0].resource.key == "law-6"
        assert result.items[0].source == "content"
        reason = str(result.items[0].reason)
        assert reason.endswith("The editors recommend it: New edition.")
        assert "Law" in reason

    def test_what_is_buried_comes_later(self, catalogue, learner, place):
        rule("bury", kind="book", strength=2)
        assert shown(learner)[:3] == ["law-2", "law-4", "law-6"]

    def test_rules_about_several_sets_move_each_its_own(self, catalogue, learner, place):
        rule("bury", kind="book", strength=2)
        rule("boost", keyword="exams", strength=2)
        result = recommend(learner, placement="home")
        assert [item.resource.key for item in result][:3] == ["law-18", "law-2", "law-4"]
        assert [item.evidence.rule for item in result][:3] == ["boosted", "", ""]
        assert "law-1" not in shown(learner), "a book"

    def test_strength_says_how_far(self, catalogue, learner, place):
        wish = rule("boost", resource=catalogue["law-7"], strength=0)
        plain = shown(learner)
        assert "law-7" not in plain
        EditorialRule.objects.filter(pk=wish.pk).update(strength=2)
        cache.clear()
        assert shown(learner)[0] == "law-7"

    def test_strangers_lists_move_too(self, catalogue, place):
        rule("boost", keyword="exams", strength=2)
        assert set(shown(None)[:2]) == {"law-18", "law-19"}


class TestExclusion:
    def test_what_is_left_out_is_in_no_list(self, catalogue, learner, place):
        rule("exclude", kind="book")
        assert set(shown(learner)) <= {f"law-{number}" for number in range(2, 20, 2)}
        assert len(shown(learner)) == 5
        assert all(int(item.resource.key[4:]) % 2 == 0 for item in similar(catalogue["law-2"], k=8))

    def test_a_list_that_is_read_again_goes_without_it(self, catalogue, learner, place):
        result = recommend(learner, placement="home")
        kept = RecommendationItem.objects.get(list=result.recommendation_id, rank=1)
        rule("exclude", resource=kept.resource)
        assert len(read_list(kept.list).items) == 4


class TestWhereAndWhen:
    def test_it_counts_on_its_placement_only(self, catalogue, learner, place):
        rule("pin", resource=catalogue["law-15"], placement=place)
        assert shown(learner)[0] == "law-15"
        assert "law-15" not in shown(learner, placement="elsewhere", k=5)
        assert "law-15" not in [item.resource.key for item in recommend(learner, k=5)]

    def test_it_counts_between_its_dates_and_while_it_is_on(self, catalogue, learner, place):
        now = timezone.now()
        wish = rule("pin", resource=catalogue["law-15"])
        for fields, counts in (
            ({"starts_at": now + timedelta(days=1)}, False),
            ({"starts_at": now - timedelta(days=1)}, True),
            ({"ends_at": now - timedelta(minutes=1)}, False),
            ({"starts_at": None, "ends_at": now + timedelta(days=1)}, True),
            ({"enabled": False}, False),
        ):
            for name, value in fields.items():
                setattr(wish, name, value)
            wish.save()
            assert ("law-15" in shown(learner)) is counts, fields

    def test_another_tenants_rules_change_nothing(self, catalogue, learner, place):
        before = shown(learner)
        rule("exclude", tenant="other", kind="book")
        assert shown(learner) == before

    def test_without_rules_a_second_list_asks_nothing_about_them(self, catalogue, learner, place):
        shown(learner)
        with CaptureQueriesContext(connection) as queries:
            shown(learner)
        assert not [query for query in queries if "editorialrule" in query["sql"]]


class TestWhatIsRefused:
    @pytest.mark.parametrize("fields", [{}, {"kind": "book", "named": True}])
    def test_nothing_and_both_at_once(self, catalogue, fields):
        named = {"resource": catalogue["law-1"]} if fields.pop("named", False) else {}
        with pytest.raises(ValidationError):
            EditorialRule(name="wish", effect="pin", **fields, **named).full_clean()

    def test_things_of_another_tenant_and_dates_the_wrong_way_round(self, catalogue, place):
        now = timezone.now()
        for fields in (
            {"tenant": "other", "resource": catalogue["law-1"]},
            {"tenant": "other", "kind": "book", "placement": place},
            {"kind": "book", "starts_at": now, "ends_at": now - timedelta(days=1)},
            {"kind": "book", "strength": -1},
            {"kind": "book", "reason_translations": {"zh-hans": 3}},
            {"kind": "book", "reason_translations": ["x"]},
        ):
            with pytest.raises(ValidationError):
                EditorialRule(name="wish", effect="pin", **fields).full_clean()
