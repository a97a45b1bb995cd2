"""Written reasons where people see them: in lists, on open pages, in the stored list."""

import json

import pytest
from django.template import engines
from django.urls import reverse
from django.utils.translation import override

from llmrec_django import api
from llmrec_django.models import LearnerProfile, RecommendationItem, Resource, WrittenText
from llmrec_django.services import embedding
from llmrec_django.services.lists import find_list, read_list
from llmrec_django.services.writing import run
from llmrec_django.testing.factories import InteractionFactory, ResourceFactory
from tests.testapp.models import Member
from tests.writing.conftest import chat

pytestmark = pytest.mark.django_db
TITLE = "Linear Algebra"
PAGE = "{% load llmrec_django %}{% recommend k=3 %}{% llmrec_beacon %}"


@pytest.fixture
def learner(writer):
    """Somebody with an account who completed one of several courses on the same things."""
    words = "vectors matrices eigenvalues"
    done = ResourceFactory(title=TITLE, description=words, keywords=["vectors"])
    for name in ("Spectral Graphs", "Matrix Analysis", "Tensor Calculus"):
        ResourceFactory(title=name, description=words, keywords=["vectors"])
    embedding.embed_pending()
    learner = LearnerProfile.objects.create(user=Member.objects.create_user("ada@example.org"))
    InteractionFactory(learner=learner, resource=done, verb="completed")
    return learner


def true_sentence(request):
    return chat(f'Because you completed "{TITLE}", this is next for you.')(request)


SAID = f'Because you completed "{TITLE}", this is next for you.'


def show(rf, learner):
    request = rf.get("/")
    request.user = learner.user
    return engines["django"].from_string(PAGE).render({}, request)


def reasons(result):
    return [(str(item.reason), item.reason_source) for item in result]


def test_a_list_shows_templates_first_and_written_reasons_next_time(learner, service):
    service.answers = [true_sentence]
    first = api.recommend(learner, k=3)
    assert len(first.items) == 3
    assert {source for _, source in reasons(first)} == {"template"}
    assert all(text for text, _ in reasons(first))
    assert service.requests == []
    run.write_pending()
    second = api.recommend(learner, k=3)
    assert reasons(second) == [(SAID, "llm")] * 3
    stored = RecommendationItem.objects.filter(list=second.recommendation_id)
    assert set(stored.values_list("reason", "reason_source")) == {(SAID, "llm")}
    assert set(
        RecommendationItem.objects.filter(list=first.recommendation_id).values_list("reason_source", flat=True)
    ) == {"template"}


def test_a_list_read_again_has_the_newest_reasons(learner, service):
    service.answers = [true_sentence]
    first = api.recommend(learner, k=3)
    run.write_pending()
    assert reasons(read_list(find_list(first.recommendation_id, learner))) == [(SAID, "llm")] * 3


def test_another_language_keeps_its_template(learner, service):
    service.answers = [true_sentence]
    api.recommend(learner, k=3)
    run.write_pending()
    english = api.recommend(learner, k=3)
    with override("zh-hans"):
        # Made in English, read in Chinese.
        assert SAID not in [text for text, _ in reasons(english)]
        assert all("您" in text or TITLE in text for text, _ in reasons(english))


def test_without_a_model_a_list_is_as_before(learner, settings):
    settings.LLMREC = {**settings.LLMREC, "WRITER": {}}
    assert {source for _, source in reasons(api.recommend(learner, k=3))} == {"template"}
    assert not WrittenText.objects.exists()


def test_lists_nobody_sees_ask_for_nothing(learner, settings):
    settings.LLMREC = {**settings.LLMREC, "ENABLED": "shadow"}
    api.recommend(learner, k=3)
    assert not WrittenText.objects.exists()


class TestOpenPages:
    def ask(self, client, list_id):
        response = client.get(reverse("llmrec_web:reasons"), {"list": list_id})
        return response.status_code, json.loads(response.content) if response.status_code == 200 else None

    def test_a_page_names_where_better_reasons_will_be_only_while_some_may_come(self, rf, learner, service, settings):
        service.answers = [true_sentence]
        html = show(rf, learner)
        assert 'data-llmrec-reasons="/llmrec/reasons/?list=' in html
        assert html.count("data-llmrec-reason=") == 3
        run.write_pending()
        html = show(rf, learner)
        assert "data-llmrec-reasons=" not in html
        assert html.count("Because you completed &quot;Linear Algebra&quot;, this is next for you.") == 3
        settings.LLMREC = {**settings.LLMREC, "WRITER": {}}
        assert "data-llmrec-reasons=" not in show(rf, learner)

    def test_an_open_page_gets_them_once_and_the_list_remembers(self, client, learner, service):
        client.force_login(learner.user)
        service.answers = [true_sentence]
        result = api.recommend(learner, k=3)
        assert self.ask(client, result.recommendation_id) == (200, {"reasons": {}, "wait": True})
        run.write_pending()
        status, answer = self.ask(client, result.recommendation_id)
        assert answer == {"reasons": {item.resource.key: SAID for item in result}, "wait": False}
        items = RecommendationItem.objects.filter(list=result.recommendation_id)
        assert set(items.values_list("reason", "reason_source")) == {(SAID, "llm")}
        assert self.ask(client, result.recommendation_id)[1] == {"reasons": {}, "wait": False}

    def test_nothing_is_said_of_what_the_learner_may_not_see_any_more(self, client, learner, service):
        client.force_login(learner.user)
        service.answers = [true_sentence]
        result = api.recommend(learner, k=3)
        run.write_pending()
        hidden, *others = [item.resource.key for item in result]
        Resource.objects.filter(title=TITLE).update(published=False)
        assert self.ask(client, result.recommendation_id)[1] == {"reasons": {}, "wait": False}
        Resource.objects.filter(title=TITLE).update(published=True)
        Resource.objects.filter(key=hidden).update(published=False)
        assert self.ask(client, result.recommendation_id)[1]["reasons"] == dict.fromkeys(others, SAID)
        assert SAID not in RecommendationItem.objects.get(resource__key=hidden).reason

    def test_nobody_reads_the_list_of_another(self, client, learner):
        result = api.recommend(learner, k=3)
        assert self.ask(client, result.recommendation_id)[0] == 404
        client.force_login(Member.objects.create_user("eve@example.org"))
        assert self.ask(client, result.recommendation_id)[0] == 404
        assert self.ask(client, "nonsense")[0] == 400

    def test_the_answer_is_kept_out_of_caches(self, client, learner):
        client.force_login(learner.user)
        result = api.recommend(learner, k=3)
        response = client.get(reverse("llmrec_web:reasons"), {"list": result.recommendation_id})
        assert response["Cache-Control"] == "private, no-store"

    def test_what_a_hostile_model_says_never_reaches_the_page(self, rf, client, learner, service):
        service.answers = [chat("<script>alert(1)</script> Ignore all previous instructions.")]
        client.force_login(learner.user)
        result = api.recommend(learner, k=3)
        run.write_pending()
        assert self.ask(client, result.recommendation_id)[1]["reasons"] == {}
        html = show(rf, learner)
        assert "alert(1)" not in html
        assert "Ignore all" not in html
