"""What one list costs the database: a fixed number of queries for each way it can be made."""

from datetime import timedelta

import numpy as np
import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from llmrec_django import api
from llmrec_django.models import (
    EditorialRule,
    Interaction,
    LearnerProfile,
    Placement,
    ProfileVector,
    RecommendationItem,
    Resource,
    ResourceVector,
)
from llmrec_django.retrieval.facts import forget_counts
from llmrec_django.services import scorer as scorer_module
from llmrec_django.services import scoring, training
from llmrec_django.services.learned import learn
from tests.django_app.test_training import TOPICS, make_activity, make_resources, mixed_sequences
from tests.testapp.models import Member

pytestmark = [pytest.mark.django_db(transaction=True)]

TRAINED = 5
CONTENT = 7
NEWCOMER = 5
UNKNOWN = 3
MOVED_SETS = 1
PINNED = 1


@pytest.fixture(autouse=True)
def _site(trains, monkeypatch):
    trains("transitions", "content", "popularity")
    monkeypatch.setattr(scorer_module, "LATE_S", 3600.0)


@pytest.fixture
def resources(topics):
    return make_resources(topics)


@pytest.fixture
def version(resources):
    make_activity(resources, mixed_sequences(120))
    return training.train("default")


def learner(resources, length, name="", **fields):
    who = LearnerProfile.objects.create(visitor_key=name or f"of {length}", **fields)
    Interaction.objects.bulk_create(
        Interaction(
            learner=who,
            resource=resources[(7 * n) % len(resources)],
            verb="viewed" if n % 3 else "completed",
            occurred_at=timezone.now() - timedelta(days=20, minutes=-n),
            event_id=str(n),
        )
        for n in range(length)
    )
    return who


def with_goals(who, space):
    who.goals, who.interests = "bread", ["baking"]
    who.save()
    who.refresh_from_db()
    ProfileVector.objects.create(learner=who, space=space, vector=np.eye(TOPICS)[3], content_hash=who.content_hash)
    return who


class TestTrained:
    @pytest.mark.parametrize("length", [1, 2, 12, 150])
    def test_learners_with_any_history(self, version, resources, length, django_assert_num_queries):
        who = learner(resources, length)
        for k in (1, 10, 30):
            api.recommend(who, k=k)  # what others chose is counted now
            with django_assert_num_queries(TRAINED):
                result = api.recommend(who, k=k)
            assert {item.source for item in result} == {"trained"}
            assert len(result) == k
            assert result.recommendation_id

    def test_counting_what_others_chose_takes_none(self, version, resources, django_assert_num_queries):
        who = learner(resources, 12)
        api.recommend(who)
        forget_counts()
        with django_assert_num_queries(TRAINED):
            api.recommend(who)

    def test_goals_a_level_and_new_resources_take_none(self, version, resources, topics, django_assert_num_queries):
        for n in range(30):
            new = Resource.objects.create(key=f"new{n}", title=f"New {n}", level="beginner")
            vector = np.eye(TOPICS)[n]
            ResourceVector.objects.create(resource=new, space=topics, vector=vector, content_hash="h", text_hash="t")
        who = with_goals(learner(resources, 12, level="beginner"), topics)
        api.recommend(who)
        for k in (10, 30):
            with django_assert_num_queries(TRAINED):
                result = api.recommend(who, k=k)
            assert any(item.resource.key.startswith("new") for item in result)

    def test_reasons_take_none_and_keeping_the_list_one(self, version, resources, settings, django_assert_num_queries):
        who = learner(resources, 12)
        settings.LLMREC = {**settings.LLMREC, "EXPLAIN": False}
        api.recommend(who)
        with django_assert_num_queries(TRAINED):
            assert not any(item.evidence for item in api.recommend(who))
        settings.LLMREC = {**settings.LLMREC, "STORE_LISTS": None}
        with django_assert_num_queries(TRAINED - 1):
            api.recommend(who)

    def test_a_placement_and_an_account_that_is_not_given_take_one_each(
        self, version, resources, django_assert_num_queries
    ):
        member = Member.objects.create(email="ann@example.org")
        Placement.objects.create(name="home")
        who = learner(resources, 12, user=member)
        api.recommend(who, user=member)
        for k in (1, 10):
            fresh = LearnerProfile.objects.get(pk=who.pk)
            with django_assert_num_queries(TRAINED):
                api.recommend(fresh, user=member, k=k)
            fresh = LearnerProfile.objects.get(pk=who.pk)
            with django_assert_num_queries(TRAINED + 2):
                api.recommend(fresh, placement="home", k=k)

    def test_what_was_turned_down_is_compared_in_one_more_at_most(
        self, version, resources, django_assert_max_num_queries
    ):
        who = learner(resources, 12)
        Interaction.objects.create(
            learner=who, resource=resources[8], verb="dismissed", occurred_at=timezone.now(), event_id="d"
        )
        api.recommend(who)
        with django_assert_max_num_queries(TRAINED + 1):
            api.recommend(who)


def reports(who, resource, n):
    """Let a resource report progress, n times in a row, after everything else."""
    Interaction.objects.bulk_create(
        Interaction(
            learner=who,
            resource=resource,
            verb="progressed",
            value=step / n,
            occurred_at=timezone.now() - timedelta(days=1, seconds=-step),
            event_id=f"progress {step}",
        )
        for step in range(n)
    )


class TestReports:
    def test_one_video_does_not_drive_out_the_rest_of_a_trained_list(
        self, version, resources, django_assert_num_queries
    ):
        who = learner(resources, 5)
        before = scoring.score_learners(version, [who])[who.pk].basis().asked
        reports(who, resources[35], 150)
        asked = scoring.score_learners(version, [who])[who.pk].basis().asked
        row = {pk: n for n, pk in enumerate(scoring.scorer_of(version).resource_ids.tolist())}[resources[35].pk]
        assert asked.histories[0].tolist() == [*before.histories[0].tolist(), row]
        assert asked.log.lengths.tolist() == [6]
        api.recommend(who)
        with django_assert_num_queries(TRAINED + 1):
            api.recommend(who)

    def test_nor_of_one_by_texts(self, resources, topics):
        who = learner(resources, 5)
        reports(who, resources[35], 150)
        kept = {deed.resource_id for deed in learn(who, topics).history}
        assert kept == {resources[n].pk for n in (0, 7, 14, 21, 28, 35)}


class TestUntrained:
    @pytest.mark.parametrize("length", [1, 12, 150])
    @pytest.mark.parametrize("has_goals", [False, True])
    def test_learners_with_a_history_or_goals(self, resources, topics, length, has_goals, django_assert_num_queries):
        who = learner(resources, length, level="beginner" if has_goals else "")
        who = with_goals(who, topics) if has_goals else who
        api.recommend(who)
        for k in (1, 10, 30):
            with django_assert_num_queries(CONTENT):
                result = api.recommend(who, k=k)
            assert {item.source for item in result} == {"content"}
            assert len(result) == k

    def test_who_is_new_gets_what_is_popular(self, resources, django_assert_num_queries):
        make_activity(resources, mixed_sequences(200))
        newcomer = learner(resources, 0, "newcomer")
        api.recommend(newcomer)  # the popular list is counted once for all
        for k in (1, 10):
            with django_assert_num_queries(NEWCOMER):
                assert {item.source for item in api.recommend(newcomer, k=k)} == {"popular"}
            with django_assert_num_queries(UNKNOWN):
                assert {item.source for item in api.recommend(None, k=k)} == {"popular"}
        assert RecommendationItem.objects.exists()


class TestEditorialRules:
    @pytest.fixture(autouse=True)
    def _no_rules_cached(self):
        cache.clear()
        yield
        cache.clear()

    @pytest.fixture
    def who(self, version, resources):
        Placement.objects.create(name="home")
        who = learner(resources, 12)
        api.recommend(who, placement="home")
        return who

    def cost(self, who):
        api.recommend(who, placement="home")
        with CaptureQueriesContext(connection) as queries:
            result = api.recommend(who, placement="home", k=10)
        assert len(result) == 10
        return len(queries)

    def test_rules_that_move_sets_take_one_for_all_of_them(self, who):
        plain = self.cost(who)
        for n in range(6):
            EditorialRule.objects.create(
                name=f"wish {n}", effect=("boost", "bury")[n % 2], kind="course", keyword="" if n < 3 else f"k{n}"
            )
        assert self.cost(who) == plain + MOVED_SETS

    def test_rules_about_one_resource_take_none(self, who, resources):
        plain = self.cost(who)
        for n in range(5):
            EditorialRule.objects.create(name=f"wish {n}", effect="bury", resource=resources[n])
        EditorialRule.objects.create(name="not this", effect="exclude", keyword="secret")
        assert self.cost(who) == plain

    def test_named_resources_that_are_pinned_take_one_look_at_what_may_be_seen(self, who, resources):
        plain = self.cost(who)
        for n in range(5):
            EditorialRule.objects.create(name=f"wish {n}", effect="pin", resource=resources[60 + n])
        assert self.cost(who) == plain + PINNED

    def test_a_set_that_is_pinned_takes_a_list_of_its_own(self, who):
        plain = self.cost(who)
        EditorialRule.objects.create(name="wish", effect="pin", kind="course")
        assert self.cost(who) == plain + PINNED
