"""Run by `manage.py test` of this host: none of its peculiarities reaches this app, and the other way round."""

import io
import json

from django.core.management import call_command
from django.test import Client, TestCase

from llmrec_django import api
from llmrec_django.models import Interaction, LearnerProfile, Resource
from llmrec_django.services import similar as similar_service
from llmrec_django.types import InteractionInput
from tests.hosts.school.models import Course, Enrolment
from tests.hosts.strict_host.models import Reader

BASE = "/services/llmrec/v1"


class StrictHostTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.ann = Reader.objects.create(mail="ann@example.org")
        for n in range(5):
            Course.objects.create(title=f"Painting {n}", summary="Oil and light.")
        call_command("llmrec_embed", stdout=io.StringIO())

    def setUp(self):
        self.client = Client(headers={"x-reader": "ann@example.org"})

    def test_the_catch_all_pattern_takes_nothing_of_ours(self):
        assert self.client.get("/anything/else").content == b"a page from the content system"
        answer = self.client.get(f"{BASE}/resources/")
        assert answer["Content-Type"] == "application/json"

    def test_answers_are_json_of_our_shape(self):
        for address in ("resources/", "recommendations/", "search/?q=painting&format=shout"):
            answer = self.client.get(f"{BASE}/{address}", headers={"accept": "text/plain"})
            assert answer.status_code == 200, (address, answer.content)
            assert answer["Content-Type"] == "application/json"
            assert len(json.loads(answer.content)["items"]) == 5, address

    def test_errors_are_ours_not_the_sites(self):
        answer = self.client.get(f"{BASE}/resources/course:0/")
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_resource")
        answer = self.client.get(f"{BASE}/recommendations/?k=none")
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "k")

    def test_a_list_of_mistakes_names_no_field_of_the_sites(self):
        answer = self.client.post(
            f"{BASE}/interactions/", {"verb": "viewed"}, content_type="application/json"
        )  # fmt: skip
        assert answer.status_code == 400
        assert {error["field"] for error in answer.json()["errors"]} <= {"resource_key", ""}

    def test_strangers_may_write_nothing_though_the_default_is_allow_any(self):
        event = {"verb": "viewed", "resource_key": Resource.objects.first().key}
        for address in ("interactions/", "interactions/batch/"):
            body = event if address == "interactions/" else {"interactions": [event]}
            answer = Client().post(f"{BASE}/{address}", body, content_type="application/json")
            assert answer.status_code == 401, answer.content
        for address in ("profile/", "profile/export/"):
            assert Client().get(f"{BASE}/{address}").status_code == 401
        assert not Interaction.objects.exists()

    def test_the_sites_authentication_names_the_learner(self):
        key = Resource.objects.first().key
        event = {"verb": "viewed", "resource_key": key, "occurred_at": "2026-01-02T03:04:05+08:00"}
        answer = self.client.post(f"{BASE}/interactions/", event, content_type="application/json")
        assert answer.status_code == 201, answer.content
        found = Interaction.objects.get()
        assert found.learner.user == self.ann
        answer = self.client.get(f"{BASE}/profile/export/").json()
        assert answer["interactions"][0]["resource"] == key

    def test_times_without_zones_are_kept_and_shown(self):
        Enrolment.objects.create(course=Course.objects.first(), user=self.ann)
        learner = api.get_learner(self.ann)
        api.record(learner, InteractionInput("viewed", Resource.objects.last().key))
        assert Interaction.objects.count() == 2
        assert len(api.recommend(learner, k=3)) == 3
        out = io.StringIO()
        call_command("llmrec_export", "--user", "ann@example.org", stdout=out)
        assert json.loads(out.getvalue())[0]["interactions"]
        call_command("llmrec_prune", stdout=out)
        call_command("llmrec_sync", stdout=out)
        assert Interaction.objects.count() == 2

    def test_templates_without_request_session_or_user_show_lists(self):
        page = self.client.get("/school/")
        self.assertContains(page, "Painting 0")
        course = Course.objects.first()
        self.assertContains(self.client.get(f"/school/courses/{course.pk}/"), "Painting 4")

    def test_an_error_of_ours_dooms_no_request_transaction(self):
        def broken(*args, **kwargs):
            Resource.objects.raw("SELECT no_such_column FROM llmrec_django_resource")[0]

        before, similar_service.eligible = similar_service.eligible, broken
        try:
            course = Course.objects.first()
            with self.assertLogs("llmrec_django", "ERROR"):
                page = self.client.get(f"/school/courses/{course.pk}/")
        finally:
            similar_service.eligible = before
        self.assertContains(page, course.title)

    def test_an_account_without_a_username_is_exported_forgotten_and_deleted(self):
        api.get_learner(self.ann)
        out = io.StringIO()
        call_command("llmrec_forget", "--user", "ann@example.org", stdout=out)
        assert "1 deleted" in out.getvalue()
        api.get_learner(self.ann)
        self.ann.delete()
        assert not LearnerProfile.objects.exists()
