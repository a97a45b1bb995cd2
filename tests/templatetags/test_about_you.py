"""The page on which learners see what is thought of them, change it and take it back."""

import pytest
from django.test import Client

from llmrec_django import api
from llmrec_django.models import Interaction, LearnerProfile, RecommendationList, Resource
from llmrec_django.types import FeedbackInput, InteractionInput
from tests.templatetags.conftest import VISITOR_KEY

pytestmark = pytest.mark.django_db

URL = "/llmrec/you/"


@pytest.fixture
def learner(member, catalogue, client):
    client.force_login(member)
    learner = api.get_learner(member)
    api.record(learner, InteractionInput("completed", "ml"))
    api.record(learner, InteractionInput("rated", "cook", 1))
    api.give_feedback(learner, [FeedbackInput("dismissed", "stat", reason="too_hard")])
    return learner


def page(client, done=""):
    response = client.get(URL, {"done": done} if done else {})
    assert response.status_code == 200
    return response.content.decode()


def test_it_shows_what_is_used_and_what_was_turned_down(learner, client):
    text = page(client)
    assert "Machine learning" in text
    assert text.index("Bread") < text.index("less of this")
    assert "Show again: Statistics" in text
    assert "Too hard" in text


def test_it_is_private(learner, client):
    response = client.get(URL)
    assert response["Cache-Control"] == "private, no-store"
    assert "Cookie" in response["Vary"]


def test_a_stranger_is_asked_to_sign_in_and_a_newcomer_leaves_no_trace(client, other, catalogue):
    response = client.get(URL)
    assert (response.status_code, response["Location"].endswith("?next=/llmrec/you/")) == (302, True)
    client.force_login(other)
    assert "Nothing yet." in page(client)
    assert not LearnerProfile.objects.exists()


def test_what_a_learner_says_is_saved_and_nothing_else(learner, client, other):
    data = {"save": "1", "goals": "Prove things", "interests": "groups，环, rings", "level": "advanced"}
    response = client.post(URL, data | {"personalise": "on", "user": other.pk, "tenant": "x", "visitor_key": "y"})
    assert (response.status_code, response["Location"]) == (302, "/llmrec/you/?done=saved")
    learner.refresh_from_db()
    assert (learner.goals, learner.interests, learner.level) == ("Prove things", ["groups", "环", "rings"], "advanced")
    assert (learner.tenant, learner.visitor_key, learner.user_id == other.pk) == ("default", None, False)
    assert "Saved." in page(client, "saved")


def test_languages_and_time_are_seen_changed_and_reset(learner, client):
    data = {"save": "1", "goals": "", "interests": "", "level": "", "personalise": "on"}
    client.post(URL, data | {"languages": "English，zh_Hans, EN; 法语", "minutes_per_week": "90"})
    learner.refresh_from_db()
    assert (learner.languages, learner.minutes_per_week) == (["en", "zh-hans", "fr"], 90)
    text = page(client)
    assert 'value="en, zh-hans, fr"' in text
    assert 'value="90"' in text
    client.post(URL, data | {"languages": "", "minutes_per_week": ""})
    learner.refresh_from_db()
    assert (learner.languages, learner.minutes_per_week) == ([], None)


@pytest.mark.parametrize(
    "values",
    [
        {"goals": "x" * 2001},
        {"goals": "a\x00b"},
        {"languages": "Klingonese"},
        {"minutes_per_week": "10081"},
        {"minutes_per_week": "-1"},
        {"minutes_per_week": "9" * 5000},
        {"minutes_per_week": "nan"},
    ],
)
def test_the_page_takes_no_more_than_the_rest_api(learner, client, values):
    data = {"save": "1", "goals": "", "interests": "", "level": "", "personalise": "on"}
    response = client.post(URL, data | values)
    assert response.status_code == 200
    assert response.content.decode().count('role="alert"') == 1
    learner.refresh_from_db()
    assert (learner.goals, learner.languages, learner.minutes_per_week) == ("", [], None)


def test_a_line_end_counts_once_whatever_the_browser_sends(learner, client):
    data = {"save": "1", "interests": "", "level": "", "personalise": "on"}
    assert client.post(URL, data | {"goals": "x\r\n" * 999 + "xx"}).status_code == 302
    learner.refresh_from_db()
    assert learner.goals == "x\n" * 999 + "xx"


def test_a_value_that_cannot_be_is_said_beside_its_field(learner, client):
    response = client.post(URL, {"save": "1", "goals": "x", "interests": "", "level": "expert"})
    assert response.status_code == 200
    assert 'role="alert"' in response.content.decode()
    learner.refresh_from_db()
    assert learner.goals == ""


def test_switched_off_nothing_is_used(learner, client):
    client.post(URL, {"save": "1", "goals": "", "interests": "", "level": ""})
    learner.refresh_from_db()
    assert learner.personalise is False
    text = page(client)
    assert "Personal recommendations are off" in text
    assert "Machine learning" not in text


def test_what_was_turned_down_comes_back(learner, client):
    response = client.post(URL, {"restore": "stat"})
    assert response["Location"] == "/llmrec/you/?done=restored"
    assert not Interaction.objects.filter(verb="too_hard").exists()
    assert "Show again" not in page(client)


@pytest.mark.parametrize("key", ["\x00", "st\x00at", "no such thing", "x" * 5000])
def test_what_nobody_turned_down_comes_back_to_nobody(learner, client, key):
    response = client.post(URL, {"restore": key})
    assert (response.status_code, response["Location"]) == (302, "/llmrec/you/?done=")
    assert Interaction.objects.filter(verb="too_hard").exists()


def test_one_deed_is_forgotten(learner, client):
    text = page(client)
    assert text.count('name="forget"') == 2
    assert 'aria-label="Forget this: Machine learning"' in text
    response = client.post(URL, {"forget": "ml"})
    assert (response.status_code, response["Location"]) == (302, "/llmrec/you/?done=forgotten")
    text = page(client, "forgotten")
    assert "It is forgotten." in text
    assert "Machine learning" not in text
    assert "Bread" in text
    assert "Show again: Statistics" in text
    # The other tab shows it still.
    assert client.post(URL, {"forget": "ml"})["Location"] == "/llmrec/you/?done="


@pytest.mark.parametrize("key", ["", "\x00", "m\x00l", "no such thing", "elsewhere", "dl", "x" * 5000])
def test_what_nobody_did_is_not_forgotten(learner, client, key):
    Interaction.objects.filter(resource__key="ml").update(resource=Resource.objects.create(key="x" * 255, title="x"))
    response = client.post(URL, {"forget": key})
    assert (response.status_code, response["Location"]) == (302, "/llmrec/you/?done=")
    assert Interaction.objects.count() == 3


def test_a_deed_is_forgotten_in_chinese(learner, client):
    client.defaults["HTTP_ACCEPT_LANGUAGE"] = "zh-hans"
    text = page(client, "forgotten")
    for said in ("已忘记。", "忘记此项：Machine learning", ">忘记此项</button>", "您选择忘记的内容会被删除"):
        assert said in text
    assert "orget" not in text.replace('name="forget"', "")


def test_starting_anew_deletes_deeds_and_keeps_the_account(learner, client, member):
    api.recommend(learner, k=2)
    LearnerProfile.objects.update(goals="Prove things")
    assert client.post(URL, {"reset": "1"})["Location"] == "/llmrec/you/?done=reset"
    assert not Interaction.objects.exists()
    assert not RecommendationList.objects.exists()
    assert "Prove things" in page(client)
    member.refresh_from_db()


def test_a_visitor_has_a_page_too(client, catalogue):
    client.cookies["visitor"] = VISITOR_KEY
    client.post(URL, {"save": "1", "goals": "Bake", "interests": "", "level": "", "personalise": "on"})
    assert LearnerProfile.objects.get().user is None
    assert "Bake" in page(client)


def test_nobody_changes_another(learner, other):
    client = Client()
    client.force_login(other)
    client.post(URL, {"restore": "stat"})
    client.post(URL, {"forget": "ml"})
    client.post(URL, {"reset": "1"})
    assert Interaction.objects.filter(learner=learner).count() == 3


def test_a_change_needs_the_csrf_token(learner, member, settings):
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "Csrf" not in name]
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(member)
    assert strict.post(URL, {"reset": "1"}).status_code == 403
    assert strict.post(URL, {"forget": "ml"}).status_code == 403
    assert Interaction.objects.exists()


def test_titles_that_are_markup_stay_text(learner, client):
    type(learner.interactions.first().resource).objects.filter(key="ml").update(title="<script>alert(1)</script>")
    assert "<script>alert" not in page(client)


def test_a_flood_is_told_to_wait(learner, client, llmrec):
    llmrec(API_THROTTLES={"write": "1/hour"})
    client.post(URL, {"restore": "stat"})
    assert client.post(URL, {"reset": "1"}).status_code == 429
    assert Interaction.objects.exists()
