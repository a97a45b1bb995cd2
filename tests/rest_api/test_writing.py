"""Interactions and the profile: what a client may say, and about whom."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from llmrec_django import api
from llmrec_django.models import Interaction, LearnerProfile
from llmrec_django.types import InteractionInput

pytestmark = pytest.mark.django_db

ONE = "/api/v1/interactions/"
BATCH = "/api/v1/interactions/batch/"
PROFILE = "/api/v1/profile/"
FEEDBACK = "/api/v1/feedback/"


def post(client, url, data):
    return client.post(url, data, format="json")


class TestOne:
    def test_is_recorded_for_the_caller(self, signed_in, member, catalogue):
        response = post(signed_in, ONE, {"verb": "rated", "resource_key": "ml", "value": 5, "event_id": "e1"})
        assert (response.status_code, response.json()) == (201, {"recorded": 1})
        row = Interaction.objects.get()
        assert (row.learner.user, row.resource.key, row.verb, row.value) == (member, "ml", "rated", 1.0)
        assert (row.source, row.event_id, row.tenant) == ("api", "e1", "default")

    def test_sent_twice_counts_once(self, signed_in, catalogue):
        data = {"verb": "viewed", "resource_key": "ml", "event_id": "e1"}
        assert post(signed_in, ONE, data).status_code == 201
        again = post(signed_in, ONE, data)
        assert (again.status_code, again.json()) == (200, {"recorded": 0})
        assert Interaction.objects.count() == 1

    def test_unicode_keys(self, signed_in, catalogue):
        assert post(signed_in, ONE, {"verb": "viewed", "resource_key": "数学/入门 100%?#"}).status_code == 201

    def test_a_learner_who_opted_out_leaves_no_trace(self, signed_in, member, catalogue):
        learner = api.get_learner(member)
        learner.personalise = False
        learner.save()
        response = post(signed_in, ONE, {"verb": "viewed", "resource_key": "ml"})
        assert (response.status_code, response.json()) == (200, {"recorded": 0})
        assert not Interaction.objects.exists()

    @pytest.mark.parametrize(
        ("change", "field", "code"),
        [
            ({"verb": "completed"}, "verb", "invalid"),
            ({"verb": "flew"}, "verb", "invalid"),
            ({"verb": None}, "verb", "null"),
            ({"verb": ["viewed"]}, "verb", "invalid"),
            ({"verb": "v" * 33}, "verb", "max_length"),
            ({"resource_key": "nowhere"}, "resource_key", "unknown_resource"),
            ({"resource_key": "draft"}, "resource_key", "unknown_resource"),
            ({"resource_key": "elsewhere"}, "resource_key", "unknown_resource"),
            ({"resource_key": "a\x00b"}, "resource_key", "null_characters_not_allowed"),
            ({"resource_key": "\ud800"}, "resource_key", "surrogate_characters_not_allowed"),
            ({"resource_key": {"key": "ml"}}, "resource_key", "invalid"),
            ({"verb": "rated", "value": 9}, "value", "invalid"),
            ({"verb": "rated", "value": "five"}, "value", "invalid"),
            ({"verb": "rated", "value": True}, "value", "invalid"),
            ({"verb": "rated", "value": False}, "value", "invalid"),
            ({"occurred_at": "yesterday"}, "occurred_at", "invalid"),
            ({"occurred_at": "9999-12-31T23:59:59"}, "occurred_at", "overflow"),
            ({"occurred_at": "0001-01-01T00:00:00+14:00"}, "occurred_at", "overflow"),
            ({"occurred_at": "2999-01-01T00:00:00Z"}, "occurred_at", "invalid"),
            ({"event_id": "e" * 256}, "event_id", "max_length"),
            ({"user": 1}, "user", "unknown_field"),
            ({"learner": 1}, "learner", "unknown_field"),
            ({"tenant": "other"}, "tenant", "unknown_field"),
            ({"source": "site"}, "source", "unknown_field"),
            ({"trusted": True}, "trusted", "unknown_field"),
        ],
    )
    def test_what_cannot_be_recorded_is_a_400_that_names_the_field(self, signed_in, catalogue, change, field, code):
        data = {"verb": "viewed", "resource_key": "ml", **change}
        response = signed_in.post(ONE, json.dumps(data), content_type="application/json")
        assert response.status_code == 400
        errors = [(error["field"], error["code"]) for error in response.json()["errors"]]
        assert errors == [(field, code)]
        assert not Interaction.objects.exists()

    def test_an_old_time_from_a_client_is_kept_within_thirty_days(self, signed_in, catalogue):
        post(signed_in, ONE, {"verb": "viewed", "resource_key": "ml", "occurred_at": "2001-01-01T00:00:00Z"})
        assert Interaction.objects.get().occurred_at > timezone.now() - timedelta(days=31)

    def test_hidden_keys_cannot_be_tried_out(self, signed_in, other, members_only):
        stranger = APIClient()
        stranger.force_login(other)
        hidden = post(stranger, ONE, {"verb": "viewed", "resource_key": "secret"}).json()
        unknown = post(stranger, ONE, {"verb": "viewed", "resource_key": "secret2"}).json()
        assert json.dumps(hidden).replace("secret", "secret2") == json.dumps(unknown)
        assert post(signed_in, ONE, {"verb": "viewed", "resource_key": "secret"}).status_code == 201


class TestBatch:
    def test_is_recorded_in_a_fixed_number_of_queries(self, signed_in, catalogue, django_assert_max_num_queries):
        def entries(n, prefix):
            return [{"verb": "viewed", "resource_key": "ml", "event_id": f"{prefix}{i}"} for i in range(n)]

        post(signed_in, ONE, entries(1, "warm")[0])
        with django_assert_max_num_queries(10):
            response = post(signed_in, BATCH, {"interactions": entries(100, "e")})
        assert (response.status_code, response.json()) == (201, {"recorded": 100})

    def test_all_or_nothing_with_the_index_of_bad_entries(self, signed_in, catalogue):
        good = {"verb": "viewed", "resource_key": "ml"}
        bad = [good, {"verb": "viewed"}, {**good, "value": "x"}, {**good, "user": 1}, "text", good]
        response = post(signed_in, BATCH, {"interactions": bad})
        assert response.status_code == 400
        errors = {(error.get("index"), error["field"]) for error in response.json()["errors"]}
        assert errors == {(2, "interactions.value"), (3, "interactions.user"), (4, "interactions")}
        assert not Interaction.objects.exists()

    @pytest.mark.parametrize(
        ("entry", "field", "code"),
        [
            ({"verb": "completed", "resource_key": "ml"}, "interactions.verb", "invalid"),
            ({"verb": "viewed", "resource_key": "nowhere"}, "interactions.resource_key", "unknown_resource"),
            ({"verb": "viewed"}, "interactions.resource_key", "invalid"),
        ],
    )
    def test_an_entry_the_service_refuses_is_named_too(self, signed_in, catalogue, entry, field, code):
        response = post(signed_in, BATCH, {"interactions": [{"verb": "viewed", "resource_key": "ml"}, entry]})
        [error] = response.json()["errors"]
        assert (error["index"], error["field"], error["code"]) == (1, field, code)
        assert not Interaction.objects.exists()

    @pytest.mark.parametrize(
        "data",
        [
            {},
            [],
            {"interactions": []},
            {"interactions": {}},
            {"interactions": "viewed"},
            {"interactions": [{"verb": "viewed", "resource_key": "ml"}] * 101},
            {"interactions": [{"verb": "viewed", "resource_key": "ml"}], "user": 1},
            "text",
            17,
            None,
        ],
    )
    def test_other_shapes_are_refused(self, signed_in, catalogue, data):
        response = signed_in.post(BATCH, json.dumps(data), content_type="application/json")
        assert response.status_code == 400
        assert not Interaction.objects.exists()


@pytest.mark.parametrize("url", [ONE, BATCH])
class TestBodies:
    @pytest.mark.parametrize(
        "body",
        [b"{", b'{"verb": NaN}', b"\xff\xfe", b"[" * 100_000, b'{"value": ' + b"9" * 5000 + b"}", b""],
        ids=["cut", "nan", "no utf-8", "deep", "long number", "empty"],
    )
    def test_malformed_json_is_a_400(self, signed_in, url, body):
        response = signed_in.post(url, body, content_type="application/json")
        assert response.status_code == 400
        assert response.json()["code"] in ("parse_error", "invalid")

    @pytest.mark.parametrize("name", ["\ud800", "a\x00b"])
    def test_a_field_whose_name_is_no_text_is_named_readably(self, signed_in, url, name):
        for address, send in ((url, signed_in.post), (FEEDBACK, signed_in.post), (PROFILE, signed_in.patch)):
            response = send(address, json.dumps({name: 1}), content_type="application/json")
            assert response.status_code == 400
            [error] = response.json()["errors"]
            assert error["field"] == name.encode("utf-8", "backslashreplace").decode()
            assert error["code"] == "unknown_field"

    def test_a_huge_body_is_refused(self, signed_in, url):
        body = json.dumps({"verb": "viewed", "query": "x" * 600_000})
        response = signed_in.post(url, body, content_type="application/json")
        assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")

    @pytest.mark.parametrize("kind", ["multipart", "form"])
    def test_only_json_is_read(self, signed_in, url, kind):
        types = {"multipart": "multipart/form-data; boundary=x", "form": "application/x-www-form-urlencoded"}
        response = signed_in.post(url, b"verb=viewed", content_type=types[kind])
        assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


class TestProfile:
    FIELDS = {"goals", "interests", "level", "languages", "minutes_per_week", "personalise"}

    def test_reading_one_that_is_not_there_shows_defaults_and_writes_nothing(self, signed_in):
        response = signed_in.get(PROFILE)
        assert set(response.json()) == self.FIELDS
        assert response.json()["personalise"] is True
        assert not LearnerProfile.objects.exists()

    def test_a_change_is_kept_and_leaves_the_rest(self, signed_in, member):
        first = {"goals": "read papers", "interests": ["统计", "ML"], "level": "beginner", "languages": ["zh"]}
        assert signed_in.patch(PROFILE, first, format="json").status_code == 200
        response = signed_in.patch(PROFILE, {"minutes_per_week": 90}, format="json")
        assert response.json() == {**first, "minutes_per_week": 90, "personalise": True}
        learner = api.find_learner(member)
        assert (learner.goals, learner.interests, learner.minutes_per_week) == ("read papers", ["统计", "ML"], 90)

    @pytest.mark.parametrize(
        "change",
        [
            {"user": 7},
            {"id": 7},
            {"tenant": "other"},
            {"visitor_key": "x"},
            {"content_hash": "x"},
            {"goals": "x" * 2001},
            {"goals": "a\x00"},
            {"goals": None},
            {"interests": "ML"},
            {"interests": [{"a": 1}]},
            {"interests": ["x"] * 51},
            {"interests": ["x" * 101]},
            {"level": "god"},
            {"minutes_per_week": -1},
            {"minutes_per_week": 10**30},
            {"personalise": "maybe"},
            {"personalise": None},
        ],
    )
    def test_nothing_else_can_be_written(self, signed_in, member, change):
        response = signed_in.patch(PROFILE, change, format="json")
        assert response.status_code == 400
        assert response.json()["errors"][0]["field"] == next(iter(change))
        assert not LearnerProfile.objects.exists()

    def test_everyone_has_their_own(self, signed_in, visitor, other):
        theirs = APIClient()
        theirs.force_login(other)
        for client, goals in ((signed_in, "a"), (theirs, "b"), (visitor, "c")):
            client.patch(PROFILE, {"goals": goals}, format="json")
        assert [client.get(PROFILE).json()["goals"] for client in (signed_in, theirs, visitor)] == ["a", "b", "c"]

    def test_erasing_removes_ones_own_data_alone(self, signed_in, member, other, catalogue):
        for account in (member, other):
            api.record(api.get_learner(account), InteractionInput("viewed", "ml"))
        assert signed_in.delete(PROFILE).status_code == 204
        assert signed_in.delete(PROFILE).status_code == 204
        assert [row.learner.user for row in Interaction.objects.all()] == [other]
        assert api.find_learner(member) is None

    def test_erasing_does_not_switch_recording_on_again(self, signed_in, member, catalogue):
        signed_in.patch(PROFILE, {"personalise": False, "goals": "private"}, format="json")
        assert signed_in.delete(PROFILE).status_code == 204
        assert (api.find_learner(member).personalise, api.find_learner(member).goals) == (False, "")
        assert post(signed_in, ONE, {"verb": "viewed", "resource_key": "ml"}).json() == {"recorded": 0}

    def test_the_export_holds_ones_own_data_alone(self, signed_in, member, other, catalogue):
        api.record(api.get_learner(member), InteractionInput("viewed", "ml"))
        api.record(api.get_learner(other), InteractionInput("viewed", "cook"))
        response = signed_in.get("/api/v1/profile/export/")
        assert response.status_code == 200
        assert "ml" in response.content.decode()
        assert "cook" not in response.content.decode()
