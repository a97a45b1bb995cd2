"""Feedback over the API, and what is thought of the caller."""

import uuid

import pytest
from django.contrib.auth.models import Group
from django.utils import timezone
from rest_framework.test import APIClient

from llmrec_django import api
from llmrec_django.models import (
    Interaction,
    LearnerProfile,
    RecommendationItem,
    RecommendationList,
    Resource,
    ResourceScreening,
)
from llmrec_django.sources import registry
from llmrec_django.types import InteractionInput

pytestmark = pytest.mark.django_db

URL = "/api/v1/feedback/"


@pytest.fixture
def given(signed_in, member, catalogue):
    """The list that the member was given: its id and its keys."""
    api.record(api.get_learner(member), InteractionInput("completed", "ml"))
    body = signed_in.get("/api/v1/recommendations/?k=4").json()
    return body["recommendation_id"], [item["resource"]["key"] for item in body["items"]]


def give(client, *entries):
    return client.post(URL, {"feedback": entries}, format="json")


def said(list_id, kind, key, **more):
    return {"kind": kind, "resource_key": key, "recommendation_id": list_id, **more}


class TestLists:
    def test_a_list_can_be_read_again(self, signed_in, given):
        list_id, keys = given
        body = signed_in.get(f"/api/v1/recommendations/{list_id}/").json()
        assert (body["recommendation_id"], body["is_personal"], body["enabled"]) == (list_id, True, True)
        assert [item["resource"]["key"] for item in body["items"]] == keys
        Resource.objects.filter(key=keys[0]).update(published=False)
        body = signed_in.get(f"/api/v1/recommendations/{list_id}/").json()
        assert [item["resource"]["key"] for item in body["items"]] == keys[1:]

    def test_by_its_learner_alone(self, given, other, visitor):
        client = APIClient()
        client.force_login(other)
        for nobody in (client, visitor):
            response = nobody.get(f"/api/v1/recommendations/{given[0]}/")
            assert (response.status_code, response.json()["code"]) == (404, "unknown_list")

    def test_switched_off_it_shows_nothing(self, signed_in, given, llmrec):
        llmrec(ENABLED=False)
        body = signed_in.get(f"/api/v1/recommendations/{given[0]}/").json()
        assert (body["items"], body["enabled"]) == ([], False)

    def test_a_strangers_list_has_no_name(self, client, catalogue):
        assert client.get("/api/v1/recommendations/").json()["recommendation_id"] is None
        assert not RecommendationList.objects.exists()
        assert not LearnerProfile.objects.exists()

    def test_a_visitors_first_list_is_theirs(self, visitor, catalogue):
        list_id = visitor.get("/api/v1/recommendations/").json()["recommendation_id"]
        assert RecommendationList.objects.get(pk=list_id).learner.user is None
        assert visitor.get(f"/api/v1/recommendations/{list_id}/").status_code == 200


class TestFeedback:
    def test_it_changes_each_item_once(self, signed_in, given):
        list_id, keys = given
        report = [
            *(said(list_id, "shown", key) for key in keys),
            said(list_id, "clicked", keys[0], event_id="a"),
            said(list_id, "read", keys[0], value=31),
            said(list_id, "rated", keys[1], value=5),
            said(list_id, "dismissed", keys[2], reason="too_hard"),
        ]
        response = give(signed_in, *report)
        assert (response.status_code, response.json()) == (200, {"changed": 4})
        assert give(signed_in, *reversed(report)).json() == {"changed": 0}
        verbs = Interaction.objects.exclude(verb="completed").values_list("verb", "source")
        assert sorted(verbs) == [("clicked", "api"), ("rated", "api"), ("too_hard", "api")]

    def test_another_learners_list_is_not_there(self, given, other):
        list_id, keys = given
        client = APIClient()
        client.force_login(other)
        for named in (list_id, str(uuid.uuid4())):
            response = give(client, said(named, "clicked", keys[0]))
            assert (response.status_code, response.json()["code"]) == (404, "unknown_list")
        assert not Interaction.objects.filter(verb="clicked").exists()

    @pytest.mark.parametrize(
        ("entry", "field", "code"),
        [
            ({"kind": "liked"}, "kind", "invalid"),
            ({"kind": "completed"}, "kind", "invalid"),
            ({"kind": "clicked", "recommendation_id": None}, "recommendation_id", "invalid"),
            ({"kind": "clicked", "recommendation_id": "7"}, "recommendation_id", "invalid"),
            ({"kind": "clicked", "resource_key": "elsewhere"}, "resource_key", "unknown_resource"),
            ({"kind": "dismissed", "reason": "ugly"}, "reason", "invalid"),
            ({"kind": "read"}, "value", "invalid"),
            ({"kind": "read", "value": True}, "value", "invalid"),
            ({"kind": "rated", "value": True}, "value", "invalid"),
            ({"kind": "rated", "value": 9}, "value", "invalid"),
            ({"kind": "clicked", "occurred_at": "9999-12-31T23:59:59"}, "occurred_at", "overflow"),
            ({"kind": "clicked", "occurred_at": "2999-01-01T00:00:00Z"}, "occurred_at", "invalid"),
            ({"kind": "clicked", "user": 7}, "user", "unknown_field"),
        ],
    )
    def test_a_mistake_names_its_entry_and_nothing_is_taken_in(self, signed_in, given, entry, field, code):
        list_id, keys = given
        response = give(signed_in, said(list_id, "shown", keys[0]), {**said(list_id, "shown", keys[0]), **entry})
        assert response.status_code == 400
        mistake = response.json()["errors"][0]
        assert (mistake["index"], mistake["field"], mistake["code"]) == (1, f"feedback.{field}", code)
        assert not RecommendationItem.objects.filter(shown_at__isnull=False).exists()

    def test_without_a_list_only_what_one_may_see_can_be_turned_down(self, signed_in, catalogue, members_only, other):
        assert give(signed_in, {"kind": "dismissed", "resource_key": "secret"}).status_code == 200
        client = APIClient()
        client.force_login(other)
        for key in ("secret", "draft", "nowhere"):
            assert give(client, {"kind": "dismissed", "resource_key": key}).status_code == 400
        assert list(Interaction.objects.values_list("resource__key", flat=True)) == ["secret"]

    def test_a_visitor_needs_the_csrf_token(self, catalogue):
        client = APIClient(enforce_csrf_checks=True)
        client.cookies["visitor"] = "a-key-nobody-guesses"
        assert give(client, {"kind": "dismissed", "resource_key": "ml"}).status_code == 403


class TestWhatIsThought:
    def test_it_can_be_seen(self, signed_in, given, member):
        list_id, keys = given
        give(
            signed_in,
            said(list_id, "clicked", keys[0]),
            said(list_id, "dismissed", keys[1], reason="already_know"),
            said(list_id, "dismissed", keys[2]),
        )
        signed_in.patch("/api/v1/profile/", {"goals": "proofs", "level": "advanced"}, format="json")
        body = signed_in.get("/api/v1/profile/insight/").json()
        assert (body["goals"], body["stated_level"], body["level"], body["personalise"]) == (
            "proofs", "advanced", "advanced", True,
        )  # fmt: skip
        assert [(deed["resource"]["key"], deed["verb"]) for deed in body["history"]] == [
            (keys[0], "clicked"),
            ("ml", "completed"),
        ]
        assert body["history"][1]["weight"] > body["history"][0]["weight"] > 0
        assert [(row["resource"]["key"], row["reason"]) for row in body["dismissed"]] == [
            (keys[2], "not_interested"),
            (keys[1], "already_know"),
        ]

    def test_too_hard_moves_the_level_and_taking_it_back_moves_it_back(self, signed_in, given):
        list_id, keys = given
        signed_in.patch("/api/v1/profile/", {"level": "advanced"}, format="json")
        Resource.objects.filter(key=keys[0]).update(level="intermediate")
        give(signed_in, said(list_id, "dismissed", keys[0], reason="too_hard"))
        body = signed_in.get("/api/v1/profile/insight/").json()
        assert (body["level"], body["stated_level"]) == ("intermediate", "advanced")
        body = signed_in.post("/api/v1/profile/restore/", {"resource_key": keys[0]}, format="json").json()
        assert (body["level"], body["dismissed"]) == ("advanced", [])

    @pytest.mark.parametrize("hide", ["unpublish", "flag", "forbid"])
    def test_what_the_caller_may_not_see_any_more_has_no_name_and_can_be_taken_back(
        self, signed_in, member, members_only, monkeypatch, hide
    ):
        learner = api.get_learner(member)
        Group.objects.create(name="Secret and dull")
        Resource.objects.filter(title="Secret and dull").update(key="dull", description="Secret and most dull")
        api.record(learner, InteractionInput("viewed", "secret"))
        api.record(learner, InteractionInput("dismissed", "dull"))
        body = signed_in.get("/api/v1/profile/insight/").json()
        assert "Secret machine learning" in str(body)
        assert "Secret and most dull" in str(body)
        if hide == "unpublish":
            Resource.objects.update(published=False)
        elif hide == "flag":
            for resource in Resource.objects.all():
                ResourceScreening.objects.create(
                    resource=resource, status="flagged", content_hash=resource.content_hash, screened_at=timezone.now()
                )
        else:
            monkeypatch.setattr(registry.named("group"), "visible_to", lambda user, queryset: queryset.none())
        assert signed_in.get("/api/v1/resources/secret/").status_code == 404
        body = signed_in.get("/api/v1/profile/insight/").json()
        [deed], [dismissed] = body["history"], body["dismissed"]
        for entry, key in ((deed, "secret"), (dismissed, "dull")):
            assert (entry["resource"]["key"], entry["resource"]["title"]) == (key, "Not available any more")
            assert entry["resource"]["description"] == ""
        page = signed_in.get("/llmrec/you/").content.decode()
        assert "Secret" not in page
        assert "Not available any more" in page
        assert 'name="restore" value="dull"' in page
        assert 'name="forget" value="secret"' in page
        body = signed_in.post("/api/v1/profile/restore/", {"resource_key": "dull"}, format="json").json()
        assert body["dismissed"] == []
        body = signed_in.post("/api/v1/profile/forget/", {"resource_key": "secret"}, format="json").json()
        assert (body["history"], learner.interactions.filter(resource__key="secret").exists()) == ([], False)

    def test_who_opted_out_is_not_thought_about(self, signed_in, given):
        signed_in.patch("/api/v1/profile/", {"personalise": False, "level": "advanced"}, format="json")
        body = signed_in.get("/api/v1/profile/insight/").json()
        assert (body["personalise"], body["history"], body["level"]) == (False, [], "")

    def test_starting_anew_forgets_deeds_and_keeps_what_was_said(self, signed_in, given, member):
        signed_in.patch("/api/v1/profile/", {"goals": "proofs"}, format="json")
        list_id, _ = given
        assert signed_in.get("/api/v1/recommendations/?k=4").json()["is_personal"] is True
        assert signed_in.post("/api/v1/profile/reset/").status_code == 204
        body = signed_in.get("/api/v1/profile/insight/").json()
        assert (body["goals"], body["history"], body["dismissed"]) == ("proofs", [], [])
        assert not Interaction.objects.exists()
        assert not RecommendationItem.objects.exists()
        assert signed_in.get(f"/api/v1/recommendations/{list_id}/").status_code == 404
        learner = api.find_learner(member)
        api.record(learner, InteractionInput("completed", "ml", occurred_at=learner.created_at))
        assert not Interaction.objects.exists(), "what was before is not taken in again"
        api.record(learner, InteractionInput("completed", "dl"))
        assert Interaction.objects.count() == 1

    def test_one_deed_is_forgotten(self, signed_in, given, member):
        list_id, keys = given
        give(signed_in, said(list_id, "clicked", keys[0]), said(list_id, "dismissed", keys[1]))
        response = signed_in.post("/api/v1/profile/forget/", {"resource_key": keys[0]}, format="json")
        assert response.status_code == 200
        assert response.json() == signed_in.get("/api/v1/profile/insight/").json()
        assert [deed["resource"]["key"] for deed in response.json()["history"]] == ["ml"]
        assert [row["resource"]["key"] for row in response.json()["dismissed"]] == [keys[1]]
        assert RecommendationItem.objects.get(list=list_id, resource__key=keys[0]).clicked_at is None
        held = signed_in.get("/api/v1/profile/export/").json()
        assert [row["resource"] for row in held["forgotten_deeds"]] == [keys[0]]
        signed_in.post("/api/v1/profile/forget/", {"resource_key": "ml"}, format="json")
        assert signed_in.get("/api/v1/recommendations/?k=4").json()["is_personal"] is False

    @pytest.mark.parametrize("key", ["elsewhere", "no such thing", "dl"])
    def test_what_nobody_did_is_not_forgotten(self, signed_in, given, key):
        response = signed_in.post("/api/v1/profile/forget/", {"resource_key": key}, format="json")
        assert (response.status_code, len(response.json()["history"])) == (200, 1)

    @pytest.mark.parametrize(
        "body", [{}, {"resource_key": ""}, {"resource_key": "m\x00l"}, {"resource_key": "x" * 256}, []]
    )
    def test_what_is_no_key_is_refused(self, signed_in, given, body):
        assert signed_in.post("/api/v1/profile/forget/", body, format="json").status_code == 400
        assert Interaction.objects.count() == 1

    def test_a_newcomer_has_nothing_to_forget_and_leaves_no_trace(self, signed_in, catalogue):
        assert signed_in.post("/api/v1/profile/forget/", {"resource_key": "ml"}, format="json").status_code == 200
        assert not LearnerProfile.objects.exists()

    def test_forgetting_counts_as_writing(self, signed_in, given, llmrec):
        llmrec(API_THROTTLES={"write": "1/hour"})
        codes = [
            signed_in.post("/api/v1/profile/forget/", {"resource_key": key}, format="json").status_code
            for key in ("dl", "ml")
        ]
        assert codes == [200, 429]
        assert Interaction.objects.count() == 1

    def test_nobody_sees_or_resets_another(self, given, member, other):
        client = APIClient()
        client.force_login(other)
        assert client.get("/api/v1/profile/insight/").json()["history"] == []
        assert client.post("/api/v1/profile/reset/").status_code == 204
        assert client.post("/api/v1/profile/restore/", {"resource_key": "ml"}, format="json").status_code == 200
        assert client.post("/api/v1/profile/forget/", {"resource_key": "ml"}, format="json").status_code == 200
        assert api.find_learner(member).interactions.count() == 1
