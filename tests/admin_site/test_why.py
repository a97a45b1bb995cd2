"""The page that explains one learner's recommendations: it shows what is served and says who looked."""

import logging
import re

import pytest
from django.contrib.admin.models import LogEntry
from django.core.cache import cache
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from llmrec_django import api
from llmrec_django.models import (
    Experiment,
    ExperimentArm,
    Interaction,
    LearnerProfile,
    Placement,
    RecommendationList,
    Resource,
    ResourceScreening,
)
from llmrec_django.services import scorer as scorer_module
from llmrec_django.services import training
from llmrec_django.services.reasons import Reason
from llmrec_django.services.why import find_resources, why
from tests.testapp.models import Course, Member


def address(learner):
    return reverse("admin:llmrec_django_learnerprofile_why", args=[learner.pk])


def act(learner, resource, verb="completed"):
    return Interaction.objects.create(
        learner=learner,
        resource=resource,
        verb=verb,
        occurred_at=timezone.now(),
        event_id=f"{learner.pk}:{resource.pk}:{verb}",
    )


@pytest.fixture(autouse=True)
def _no_cache():
    cache.clear()


@pytest.fixture
def catalogue(make_resource, embed):
    """Twelve resources along a quarter of a circle: neighbours are alike."""
    import math

    made = []
    for n in range(12):
        resource = make_resource(f"r{n}", title=f"Chapter {n} of geometry", url=f"/r{n}/")
        embed(resource, [math.cos(n * math.pi / 24), math.sin(n * math.pi / 24), 0.01])
        made.append(resource)
    return made


@pytest.fixture
def learner(catalogue):
    profile = LearnerProfile.objects.create(user=Member.objects.create_user("ada@example.org"))
    act(profile, catalogue[3])
    return profile


class TestWithoutTraining:
    def test_the_list_is_the_one_that_is_served(self, learner):
        served = [(item.rank, item.resource.pk, item.source) for item in api.recommend(learner, k=None)]
        shown = [(one.item.rank, one.resource.pk, one.item.source) for one in why(learner).listed]
        assert shown == served
        assert len(shown) == 10

    def test_nothing_of_it_is_kept(self, learner):
        why(learner)
        assert not RecommendationList.objects.exists()

    def test_each_resource_has_its_nearness_and_its_rank_among_all(self, learner, catalogue):
        found = why(learner, resource_ids=[catalogue[3].pk, catalogue[11].pk])
        own, last = found.asked
        assert own.standing.said[0].source == "content"
        assert (own.standing.said[0].rank, last.standing.said[0].rank) == (1, 12)
        assert own.standing.said[0].score == pytest.approx(1.0, abs=1e-3)
        assert own.standing.of == 12
        assert not found.is_blended

    def test_what_stands_high_and_may_not_be_shown_is_named_with_its_rule(self, learner, catalogue):
        Resource.objects.filter(pk=catalogue[4].pk).update(published=False)
        found = why(learner)
        rules = {one.resource.pk: one.excluded for one in found.left_out}
        assert rules == {catalogue[3].pk: ("seen",), catalogue[4].pk: ("available",)}

    @pytest.mark.parametrize(
        ("change", "rule"),
        [
            (lambda row, learner: Resource.objects.filter(pk=row.pk).update(published=False), "available"),
            (lambda row, learner: Resource.objects.filter(pk=row.pk).update(tenant="b"), "tenant"),
            (lambda row, learner: Resource.objects.filter(pk=row.pk).update(kind="video"), "kinds"),
            (lambda row, learner: Resource.objects.filter(pk=row.pk).update(language="fr"), "languages"),
            (lambda row, learner: act(learner, row, "completed"), "seen"),
            (lambda row, learner: act(learner, row, "dismissed"), "dismissed"),
            (
                lambda row, learner: ResourceScreening.objects.create(
                    resource=row, content_hash=row.content_hash, status="flagged", screened_at=timezone.now()
                ),
                "screened",
            ),
        ],
    )
    def test_every_rule_that_keeps_a_resource_away_is_named(self, learner, catalogue, change, rule):
        Placement.objects.create(name="home", kinds=["course"], languages=["en"])
        Resource.objects.update(kind="course")
        row = catalogue[9]
        assert why(learner, placement="home", resource_ids=[row.pk]).asked[0].excluded == ()
        change(row, learner)
        found = why(learner, placement="home", resource_ids=[row.pk])
        assert found.asked[0].excluded == (rule,)
        assert row.pk not in [one.resource.pk for one in found.listed]

    def test_what_is_like_something_dismissed_is_named(self, learner, catalogue):
        act(learner, catalogue[8], "dismissed")
        found = why(learner, resource_ids=[catalogue[9].pk])
        assert found.asked[0].excluded == ("like_dismissed",)

    def test_someone_of_whom_nothing_is_known_gets_the_popular_ones_explained(self, catalogue):
        found = why(LearnerProfile.objects.create(visitor_key="v"))
        assert {one.item.source for one in found.listed} <= {"popular", "newest"}

    def test_what_this_site_does_not_let_them_see_is_named(self, learner, db):
        Course.objects.create(name="For nobody", deleted=False)
        row = Resource.objects.exclude(content_type=None).get()
        assert why(learner, resource_ids=[row.pk]).asked[0].excluded == ()
        Course.objects.filter(name="For nobody").update(members_only=True)
        assert why(learner, resource_ids=[row.pk]).asked[0].excluded == (), "a member may see it"
        visitor = LearnerProfile.objects.create(visitor_key="v")
        assert why(visitor, resource_ids=[row.pk]).asked[0].excluded == ("visible",)

    def test_where_a_resource_was_served_last_is_told(self, learner, catalogue):
        Placement.objects.create(name="home", size=3)
        api.recommend(learner)
        last = api.recommend(learner, placement="home")
        first = last.items[0].resource
        by_resource = {one.resource.pk: one for one in why(learner).listed}
        assert by_resource[first.pk].served.list_id == last.recommendation_id
        assert by_resource[first.pk].served.rank == 1
        others = [one.served.list.placement for one in by_resource.values() if one.resource.pk != first.pk]
        assert set(others) == {"home", ""}
        stranger = LearnerProfile.objects.create(visitor_key="v")
        assert all(one.served is None for one in why(stranger).listed)

    def test_an_arm_is_named_and_changes_the_list(self, learner):
        experiment = Experiment.objects.create(name="shorter")
        Placement.objects.create(name="home", experiment=experiment)
        ExperimentArm.objects.create(experiment=experiment, name="short", settings={"size": 3})
        found = why(learner, placement="home")
        assert len(found.listed) == 3
        assert found.made.assignment.arm == "short"

    def test_a_placement_that_is_switched_off_gives_no_list(self, learner):
        Placement.objects.create(name="home", enabled=False)
        assert why(learner, placement="home") is None

    def test_places_drawn_by_lot_are_shown_before_the_draw(self, learner):
        Placement.objects.create(name="home", size=4, diversity=0)
        before = [one.resource.pk for one in why(learner, placement="home").listed]
        Placement.objects.update(explore_places=2)
        assert [one.resource.pk for one in why(learner, placement="home").listed] == before


class TestLargeSites:
    """Explaining takes longer than making a list: what cannot be told in time is left out."""

    @pytest.fixture
    def slow(self, monkeypatch):
        """Return a function that lets the database cancel the statements that hold a text."""

        def cancel(text):
            def run(execute, sql, params, many, context):
                if text in sql:
                    return execute("SELECT 1 / 0", None, many, context)
                return execute(sql, params, many, context)

            return connection.execute_wrapper(run)

        return cancel

    def test_nearness_is_told_without_ranks(self, learner, catalogue, slow):
        with_ranks = why(learner, resource_ids=[catalogue[5].pk])
        with slow("rank() OVER"):
            found = why(learner, resource_ids=[catalogue[5].pk])
        said, before = found.asked[0].standing.said[0], with_ranks.asked[0].standing.said[0]
        assert said.rank is None
        assert said.score == pytest.approx(before.score, abs=1e-3)
        assert [one.resource.pk for one in found.listed] == [one.resource.pk for one in with_ranks.listed]
        assert found.left_out

    def test_words_that_too_many_resources_hold_are_refused(self, boss, learner, slow):
        with slow("to_tsquery"):
            html = boss.get(address(learner), {"resource": "geometry"}).content.decode()
        assert "Too many resources hold these words" in html


class TestFinding:
    def test_by_key_number_and_words(self, learner, catalogue):
        assert find_resources("default", " r7 ") == [catalogue[7]]
        assert find_resources("default", str(catalogue[2].pk)) == [catalogue[2]]
        assert len(find_resources("default", "geometry")) == 5
        assert find_resources("default", "astronomy") == []
        assert find_resources("default", "") == []

    def test_never_of_another_tenant(self, learner, catalogue):
        Resource.objects.filter(pk=catalogue[7].pk).update(tenant="b")
        assert find_resources("default", "r7") == []
        assert catalogue[7] not in find_resources("default", str(catalogue[7].pk))


class TestPage:
    def test_shows_ranks_reasons_and_rules(self, boss, learner, catalogue):
        api.recommend(learner)
        html = boss.get(address(learner), {"resource": "r3"}).content.decode()
        assert "Chapter 4 of geometry" in html
        assert "The learner has met it already" in html
        assert re.search(r"Brought in by: +nearness of texts", html)
        assert "none: step by step, without training" in html
        assert "Last served" in html

    def test_begins_where_the_learner_was_given_a_list_last(self, boss, learner):
        Placement.objects.create(name="home", title="Next for you", size=3)
        assert boss.get(address(learner)).context["placement"] == ""
        api.recommend(learner, placement="home")
        assert boss.get(address(learner)).context["placement"] == "home"
        assert boss.get(address(learner), {"placement": ""}).context["placement"] == ""
        api.recommend(learner, placement="a-name-without-a-row")
        assert boss.get(address(learner)).context["placement"] == ""

    def test_takes_its_own_permission(self, staff_with, learner):
        staff = staff_with("explain_learnerprofile")
        assert staff.get(address(learner)).status_code == 200

    def test_is_closed_to_who_may_only_look_at_profiles(self, staff_with, learner):
        staff = staff_with("view_learnerprofile", "change_learnerprofile")
        assert staff.get(address(learner)).status_code == 403
        assert not LogEntry.objects.exists()
        change = reverse("admin:llmrec_django_learnerprofile_change", args=[learner.pk])
        assert address(learner) not in staff.get(change).content.decode()

    def test_is_reached_from_the_profile(self, boss, learner):
        change = reverse("admin:llmrec_django_learnerprofile_change", args=[learner.pk])
        assert address(learner) in boss.get(change).content.decode()

    def test_who_looked_at_whom_is_written_down_without_a_name(self, boss, learner):
        boss.get(address(learner))
        entry = LogEntry.objects.get()
        assert entry.object_id == str(learner.pk)
        assert entry.user.email == "boss@example.org"
        assert "ada" not in entry.object_repr + entry.change_message

    def test_no_name_is_in_the_logs_and_no_cache_may_keep_it(self, boss, learner, caplog):
        with caplog.at_level(logging.DEBUG, logger="llmrec_django"):
            response = boss.get(address(learner))
        assert "ada" not in caplog.text
        assert "no-store" in response["Cache-Control"]

    def test_of_nobody_is_not_found(self, boss, db):
        assert boss.get(reverse("admin:llmrec_django_learnerprofile_why", args=[999])).status_code == 404

    def test_says_when_there_is_no_such_resource(self, boss, learner):
        assert "no such resource" in boss.get(address(learner), {"resource": "nothing-like-it"}).content.decode()

    def test_hostile_titles_stay_text(self, boss, learner, catalogue):
        Resource.objects.filter(pk=catalogue[4].pk).update(title="<script>alert(1)</script>")
        assert "<script>alert" not in boss.get(address(learner)).content.decode()

    def test_costs_the_same_for_one_place_and_for_ten(self, boss, learner, django_assert_max_num_queries):
        Placement.objects.create(name="home", size=1)
        boss.get(address(learner))
        with django_assert_max_num_queries(60) as one:
            boss.get(address(learner), {"placement": "home"})
        Placement.objects.update(size=10)
        with django_assert_max_num_queries(len(one) + 2):
            boss.get(address(learner), {"placement": "home"})


@pytest.mark.model
class TestTrained:
    @pytest.fixture
    def trained(self, db, settings, tmp_path, monkeypatch):
        """A version of transitions, nearness of texts and popularity, and its learners."""
        from llmrec_django.models import VectorSpace
        from tests.django_app.test_training import TOPICS, make_activity, make_resources, mixed_sequences

        scorer_module.forget()
        settings.LLMREC = {
            "CELERY": False,
            "ARTIFACT_DIR": tmp_path,
            "TRAIN_SOURCES": ("transitions", "content", "popularity"),
            "TUNE_S": 0,
        }
        monkeypatch.setattr(training.Evaluation, "verdict", lambda self: (True, [Reason("no_baseline")]))
        space = VectorSpace.objects.create(
            encoder="default", encoder_id="t", recipe="1", dimension=TOPICS, status="active"
        )
        resources = make_resources(space)
        learners = make_activity(resources, mixed_sequences(200))
        version = training.train("default")
        yield version, learners, resources
        scorer_module.forget()

    def test_what_it_shows_is_what_is_served(self, trained, boss, monkeypatch):
        version, learners, resources = trained
        for learner in learners[:5]:
            served = [(item.rank, item.resource.pk, item.score) for item in api.recommend(learner)]
            found = why(learner, resource_ids=[resources[0].pk])
            assert [(one.item.rank, one.resource.pk, one.item.score) for one in found.listed] == served
            assert found.is_blended
            assert found.made.version == version
            for one in (*found.listed, *found.left_out, *found.asked):
                # What the sources add is the score, and the ranks by it are those of the blend.
                assert sum(said.adds for said in one.standing.said) == pytest.approx(one.standing.score, abs=1e-4)
                if one.standing.is_new:
                    assert {said.source for said in one.standing.said if said.adds} <= {"content"}
            places = [one.by_score for one in found.listed if one.by_score]
            ranks = [one.standing.rank for one in found.listed if one.by_score]
            assert [rank for _, rank in sorted(zip(places, ranks, strict=True))] == sorted(ranks)
        # The same in a catalogue that is too large to be scored for each list.
        monkeypatch.setattr(scorer_module, "WHOLE_CATALOGUE", 10)
        scorer_module.forget()
        served = [(item.rank, item.resource.pk) for item in api.recommend(learner)]
        found = why(learner)
        assert [(one.item.rank, one.resource.pk) for one in found.listed] == served
        assert all(one.standing.score is not None for one in found.listed)
        html = boss.get(address(learner)).content.decode()
        assert "transitions" in html
        assert "Weight" in html
        assert reverse("admin:llmrec_django_modelversion_report", args=[version.pk]) in html

    def test_what_the_version_does_not_know_is_said_so(self, trained, boss):
        _, learners, _ = trained
        new = Resource.objects.create(key="new", title="Brand new")
        found = why(learners[0], resource_ids=[new.pk])
        assert found.asked[0].standing.score is None
        html = boss.get(address(learners[0]), {"resource": "new"}).content.decode()
        assert "The version that serves knows nothing of it" in html
