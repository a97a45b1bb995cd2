"""Personal lists: who gets what, in which order, under which filters."""

import math
import re
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.utils import timezone

from llmrec_django.models import Interaction, LearnerProfile, Placement, Resource
from llmrec_django.retrieval.history import known_of
from llmrec_django.services import embedding
from llmrec_django.services.recommend import recommend, recommend_batch

pytestmark = pytest.mark.django_db

TOPICS = {
    "cooking": "cooking kitchen recipes bread baking oven flour",
    "astronomy": "astronomy stars planets telescope galaxy orbit sky",
    "law": "law court judge contract rights justice statute",
}


@pytest.fixture(autouse=True)
def _fresh_cache():
    cache.clear()


@pytest.fixture
def catalogue(hashing):
    rows = [
        Resource(
            key=f"{topic}-{i}",
            title=f"{topic.title()} {i}",
            description=f"{words} lesson{i}",
            kind="book" if i % 3 == 0 else "course",
            language="zh-hans" if i % 4 == 0 else "en",
        )
        for topic, words in TOPICS.items()
        for i in range(12)
    ]
    Resource.objects.bulk_create(rows)
    embedding.embed_pending()
    return {resource.key: resource for resource in Resource.objects.all()}


def learner(name="ann", **fields):
    return LearnerProfile.objects.create(visitor_key=name, **fields)


def did(who, resource, verb="completed", days_ago=1.0, value=None):
    return Interaction.objects.create(
        learner=who,
        resource=resource,
        verb=verb,
        value=value,
        occurred_at=timezone.now() - timedelta(days=days_ago),
        event_id=f"{verb}-{resource.pk}-{days_ago}",
    )


def topics(result):
    return [item.resource.key.split("-")[0] for item in result]


def keys(result):
    return [item.resource.key for item in result]


def test_a_list_follows_the_learners_own_history(catalogue):
    cook, judge = learner("cook"), learner("judge")
    for i in (1, 2, 3):
        did(cook, catalogue[f"cooking-{i}"])
        did(judge, catalogue[f"law-{i}"])
    assert topics(recommend(cook, k=5)) == ["cooking"] * 5
    assert topics(recommend(judge, k=5)) == ["law"] * 5
    assert recommend(cook, k=5).is_personal


def test_a_click_a_second_ago_changes_the_list(catalogue):
    who = learner()
    did(who, catalogue["cooking-1"], days_ago=30)
    assert topics(recommend(who, k=3)) == ["cooking"] * 3
    for i in (1, 2, 3):
        did(who, catalogue[f"law-{i}"], days_ago=0)
    assert set(topics(recommend(who, k=3))) == {"law"}


def test_ranks_are_one_based_and_scores_never_rise_without_diversity(catalogue):
    who = learner()
    did(who, catalogue["law-1"])
    Placement.objects.create(name="plain", diversity=0, size=8)
    result = recommend(who, placement="plain")
    assert [item.rank for item in result] == list(range(1, 9))
    scores = [item.score for item in result]
    assert scores == sorted(scores, reverse=True)
    assert keys(recommend(who, placement="plain")) == keys(result), "the same question has the same answer"


def test_what_the_learner_has_done_is_not_offered_again(catalogue):
    who = learner()
    for i in range(10):
        did(who, catalogue[f"cooking-{i}"])
    result = recommend(who, k=36)
    assert len(result) == 26
    assert not {f"cooking-{i}" for i in range(10)} & set(keys(result))


def test_a_viewed_resource_comes_back_after_its_time(catalogue):
    who = learner()
    did(who, catalogue["law-1"], verb="viewed", days_ago=2)
    did(who, catalogue["law-2"], verb="viewed", days_ago=20)
    offered = keys(recommend(who, k=36))
    assert "law-1" not in offered
    assert "law-2" in offered
    Placement.objects.create(name="strict", seen="hide")
    assert not {"law-1", "law-2"} & set(keys(recommend(who, placement="strict", k=36)))
    Placement.objects.create(name="again", seen="show")
    assert {"law-1", "law-2"} <= set(keys(recommend(who, placement="again", k=36)))


def test_dismissed_and_badly_rated_resources_do_not_pull_their_kin_up(catalogue):
    who = learner()
    did(who, catalogue["astronomy-1"])
    for i in range(5):
        did(who, catalogue[f"law-{i}"], verb="dismissed")
        did(who, catalogue[f"cooking-{i}"], verb="rated", value=0.1)
    assert topics(recommend(who, k=6)) == ["astronomy"] * 6


def test_goals_speak_before_there_is_any_history(catalogue):
    who = learner(goals="stars, telescope and galaxy")
    assert topics(recommend(who, k=4)) == ["astronomy"] * 4, "words match until the goal has its vector"
    embedding.embed_pending()
    result = recommend(who, k=4)
    assert topics(result) == ["astronomy"] * 4
    assert {item.source for item in result} == {"content"}


def test_how_far_back_a_learner_is_read_depends_on_nobody_else(catalogue):
    """Of somebody whose last interactions are all about one video it is ten times as far; of the others it is not."""
    reader, watcher = learner("reader"), learner("watcher")
    when = timezone.now() - timedelta(days=3)
    rows = list(catalogue.values())
    for who, chosen in ((reader, rows), (watcher, rows[:1])):
        Interaction.objects.bulk_create(
            Interaction(
                learner=who,
                resource=chosen[n % len(chosen)],
                verb="progressed",
                occurred_at=when + timedelta(minutes=n),
                event_id=str(n),
            )
            for n in range(150)
        )
    alone, watched = known_of([reader.pk]).steps, known_of([watcher.pk]).steps
    assert (len(alone), len(watched)) == (100, 150)
    both = known_of([reader.pk, watcher.pk]).steps
    assert [step for step in both if step.learner_id == reader.pk] == alone
    assert [step for step in both if step.learner_id == watcher.pk] == watched


def test_someone_unknown_gets_what_is_popular_then_what_is_new(catalogue):
    for n, key in enumerate(["law-1", "law-1", "law-1", "cooking-2", "cooking-2", "astronomy-3"]):
        did(learner(f"p{n}"), catalogue[key])
    result = recommend(None, k=6)
    assert keys(result)[:3] == ["law-1", "cooking-2", "astronomy-3"]
    assert [item.source for item in result] == ["popular"] * 3 + ["newest"] * 3
    assert not result.is_personal
    assert result.fallback == "newest"


def test_what_was_popular_before_follows_what_is_lately(catalogue):
    for n, key in enumerate(["law-1", "law-1", "law-1", "cooking-2", "cooking-2", "astronomy-3"]):
        did(learner(f"p{n}"), catalogue[key])
    Interaction.objects.update(occurred_at=timezone.now() - timedelta(days=400))
    did(learner("back"), catalogue["cooking-5"])
    result = recommend(None, k=5)
    assert keys(result)[:4] == ["cooking-5", "law-1", "cooking-2", "astronomy-3"]
    assert [item.source for item in result] == ["popular"] * 4 + ["newest"]
    scores = [item.score for item in result if item.source == "popular"]
    assert scores == sorted(scores, reverse=True)
    said = {str(item.reason) for item in result.items[:3]}
    assert len(said) == 3
    assert all(re.search("choose|chosen", reason) for reason in said)


def test_a_list_is_full_without_vectors_profile_history_or_popularity(hashing):
    Resource.objects.bulk_create([Resource(key=f"r{i}", title=f"R{i}") for i in range(5)])
    assert len(recommend(None, k=4)) == 4
    assert len(recommend(learner(), k=10)) == 5
    Resource.objects.all().delete()
    assert len(recommend(learner("bob"), k=10)) == 0


def test_k_are_returned_under_any_filter_and_every_one_passes_it(catalogue):
    who = learner()
    did(who, catalogue["cooking-1"])
    books = recommend(who, k=10, kinds=["book"])
    assert len(books) == 10
    assert {item.resource.kind for item in books} == {"book"}
    chinese = recommend(who, k=9, languages=["zh"])
    assert len(chinese) == 9
    assert {item.resource.language for item in chinese} == {"zh-hans"}
    assert "law-1" not in keys(recommend(who, k=36, exclude_keys=["law-1"]))


def test_unpublished_expired_and_other_tenants_resources_never_appear(catalogue):
    who = learner()
    did(who, catalogue["law-1"])
    now = timezone.now()
    Resource.objects.filter(key="law-2").update(published=False)
    Resource.objects.filter(key="law-3").update(available_until=now - timedelta(minutes=1))
    Resource.objects.filter(key="law-4").update(available_from=now + timedelta(minutes=1))
    Resource.objects.filter(key="law-5").update(tenant="elsewhere")
    gone = {"law-2", "law-3", "law-4", "law-5"}
    assert not gone & set(keys(recommend(who, k=36)))
    assert not gone & set(keys(recommend(None, k=36)))
    assert len(recommend(who, k=36)) == 31


def test_popularity_does_not_cross_tenants(catalogue):
    far = LearnerProfile.objects.create(tenant="elsewhere", visitor_key="x")
    Interaction.objects.create(
        tenant="elsewhere",
        learner=far,
        resource=catalogue["law-1"],
        verb="completed",
        occurred_at=timezone.now(),
        event_id="1",
    )
    assert {item.source for item in recommend(None, k=5)} == {"newest"}


def test_learners_languages_apply_unless_asked_otherwise(catalogue):
    who = learner(languages=["zh-hans"])
    did(who, catalogue["cooking-1"])
    assert {item.resource.language for item in recommend(who, k=6)} == {"zh-hans"}
    assert len({item.resource.language for item in recommend(who, k=30, languages=())}) == 2


def test_diversity_mixes_topics_of_a_mixed_history(catalogue):
    who = learner()
    did(who, catalogue["cooking-1"], days_ago=1)
    did(who, catalogue["law-1"], days_ago=2)
    Placement.objects.create(name="mixed", diversity=0.7, size=6)
    assert {"cooking", "law"} <= set(topics(recommend(who, placement="mixed")))


def test_opting_out_ends_personal_lists(catalogue):
    who = learner(personalise=False, goals="stars")
    did(who, catalogue["cooking-1"])
    assert not recommend(who, k=5).is_personal


def test_switched_off_and_shadow_show_nothing(catalogue, hashing):
    who = learner()
    hashing(ENABLED=False)
    assert len(recommend(who, k=5)) == 0
    hashing(ENABLED="shadow")
    assert len(recommend(who, k=5)) == 0
    hashing()
    Placement.objects.create(name="off", enabled=False)
    assert len(recommend(who, placement="off", k=5)) == 0


def test_ties_are_not_broken_by_id(hashing):
    Resource.objects.bulk_create([Resource(key=f"r{i}", title="The very same title") for i in range(30)])
    embedding.embed_pending()
    who = learner()
    did(who, Resource.objects.order_by("pk")[0])
    ids = [item.resource.pk for item in recommend(who, k=29)]
    assert len(ids) == 29
    assert ids != sorted(ids)
    assert ids != sorted(ids, reverse=True)


def test_a_failing_step_gives_way_to_the_next(catalogue, monkeypatch):
    from django.db import OperationalError

    from llmrec_django.services import ranking as module

    who = learner()
    did(who, catalogue["cooking-1"])

    def too_slow(*args):
        raise OperationalError("canceling statement due to statement timeout")

    monkeypatch.setattr(module, "nearest", too_slow)
    assert len(recommend(who, k=5)) == 5


def test_statement_timeout_serves_the_fallback_and_is_not_left_behind(catalogue, hashing, monkeypatch):
    from django.db import connection

    from llmrec_django.services import ranking as module

    hashing(STATEMENT_TIMEOUT_MS=50)
    who = learner()
    did(who, catalogue["cooking-1"])

    def slow(*args):
        from llmrec_django.retrieval.sql import run_candidates

        run_candidates("SELECT pg_sleep(5)", [])

    monkeypatch.setattr(module, "nearest", slow)
    assert len(recommend(who, k=5)) == 5
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('statement_timeout'), current_setting('jit')")
        timeout, _ = cursor.fetchone()
    assert timeout == "0"


def test_the_number_of_queries_is_the_same_for_one_and_fifty(catalogue, django_assert_max_num_queries):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    who = learner()
    did(who, catalogue["cooking-1"])
    recommend(who, k=1)
    with CaptureQueriesContext(connection) as few:
        recommend(who, k=1)
    for i in range(2, 9):
        did(who, catalogue[f"cooking-{i}"])
    with CaptureQueriesContext(connection) as many:
        recommend(who, k=20)
    assert len(few) == len(many)


def test_batch_and_request_paths_give_the_same_lists(catalogue):
    Placement.objects.create(name="home", diversity=0.3, size=10)
    people = []
    for n, topic in enumerate(TOPICS):
        who = learner(topic)
        for i in range(n + 1):
            did(who, catalogue[f"{topic}-{i}"])
        people.append(who)
    for who, rows in recommend_batch(people, k=10, placement="home"):
        assert [pk for pk, _ in rows] == [item.resource.pk for item in recommend(who, placement="home")]


def test_batch_scores_fall_strictly_and_touched_resources_are_left_out(catalogue):
    who = learner()
    did(who, catalogue["law-1"], verb="viewed", days_ago=500)
    did(who, catalogue["law-2"], verb="viewed", days_ago=400)
    [(_, rows)] = list(recommend_batch([who], k=36))
    assert len(rows) == 34
    scores = [score for _, score in rows]
    assert all(a > b for a, b in zip(scores, scores[1:], strict=False))
    assert all(map(math.isfinite, scores))
    ids = [catalogue[f"cooking-{i}"].pk for i in range(3)]
    [(_, rows)] = list(recommend_batch([who], k=10, among_ids=ids))
    assert {pk for pk, _ in rows} == set(ids)
