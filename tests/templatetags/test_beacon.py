"""{% llmrec_beacon %} and the view that takes its events."""

import logging
import re

import pytest
from django.contrib.contenttypes.models import ContentType
from django.test import Client, override_settings

from llmrec_django import api
from llmrec_django.models import Interaction, LearnerProfile, RecommendationItem, RecommendationList, Resource
from tests.templatetags.conftest import VISITOR_KEY
from tests.testapp.models import Course

pytestmark = pytest.mark.django_db

EVENT = "/llmrec/events/"
TAG = "{% llmrec_beacon obj %}"


class TestTag:
    def test_names_the_resource_and_where_to_report(self, render, request_of, member, catalogue):
        text = render(TAG, request=request_of(member), obj=catalogue["ml"])
        assert 'data-key="ml" data-seconds="5.0"' in text
        assert f'data-url="{EVENT}"' in text
        assert 'data-csrf-cookie="csrftoken"' in text
        assert '<script src="/static/llmrec_django/llmrec.js" defer></script>' in text

    def test_takes_an_object_of_the_host(self, render, request_of, member, db):
        course = Course.objects.create(name="Algebra")
        key = Resource.objects.update_or_create(
            content_type=ContentType.objects.get_for_model(Course),
            object_id=str(course.pk),
            defaults={"title": "Algebra", "key": 'c"1'},
        )[0].key
        assert key == 'c"1'
        assert 'data-key="c&quot;1"' in render(TAG, request=request_of(member), obj=course)

    @pytest.mark.parametrize("obj", [None, "", "nowhere", 7, Course()])
    def test_without_a_resource_it_reports_clicks_alone(self, render, request_of, member, db, obj):
        text = render(TAG, request=request_of(member), obj=obj)
        assert "<llmrec-beacon" in text
        assert "data-key" not in text

    def test_works_for_a_visitor_who_agreed(self, render, request_of, catalogue):
        assert "<llmrec-beacon" in render(TAG, request=request_of(visitor=True), obj=catalogue["ml"])

    def test_strangers_and_those_who_opted_out_send_nothing(self, render, request_of, member, catalogue):
        assert render(TAG, request=request_of(), obj=catalogue["ml"]) == ""
        learner = api.get_learner(member)
        learner.personalise = False
        learner.save()
        assert render(TAG, request=request_of(member), obj=catalogue["ml"]) == ""

    def test_without_request_user_or_session_it_renders_nothing(self, render, rf, catalogue):
        assert render(TAG, obj=catalogue["ml"]) == ""
        assert render(TAG, request=rf.get("/"), obj=catalogue["ml"]) == ""
        assert render("{% llmrec_beacon %}") == ""

    @override_settings(ROOT_URLCONF="tests.testapp", CSRF_COOKIE_HTTPONLY=False)
    def test_without_our_addresses_it_renders_nothing(self, render, request_of, member, catalogue, caplog):
        class Empty:
            urlpatterns = []

        with override_settings(ROOT_URLCONF=Empty), caplog.at_level(logging.DEBUG, "llmrec_django"):
            assert render(TAG, request=request_of(member), obj=catalogue["ml"]) == ""
        assert [record.levelname for record in caplog.records] == ["DEBUG"]

    @pytest.mark.parametrize("name", ["CSRF_USE_SESSIONS", "CSRF_COOKIE_HTTPONLY"])
    def test_a_cookie_that_scripts_cannot_read_is_not_named(
        self, render, request_of, member, catalogue, settings, name
    ):
        setattr(settings, name, True)
        assert 'data-csrf-cookie=""' in render(TAG, request=request_of(member), obj=catalogue["ml"])

    @pytest.mark.parametrize("seconds", ["soon", None])
    def test_errors_render_nothing_and_are_logged_once(self, render, request_of, member, catalogue, caplog, seconds):
        tag = "{% llmrec_beacon obj seconds=seconds %}"
        text = render(f"a{tag}b{tag}", request=request_of(member), obj=catalogue["ml"], seconds=seconds)
        assert text == "ab"
        assert len(caplog.records) == 1

    def test_costs_two_queries_at_most(self, render, request_of, member, catalogue, django_assert_max_num_queries):
        course = Course.objects.create(name="Algebra")
        ContentType.objects.get_for_model(Course)
        # One for the learner, one for the resource; two more are the savepoint inside this test's transaction.
        with django_assert_max_num_queries(4):
            render(TAG, request=request_of(member), obj=course)

    def test_numbers_are_not_localised(self, render, request_of, member, catalogue, settings):
        settings.LANGUAGES = [("de", "Deutsch")]
        settings.LANGUAGE_CODE = "de"
        text = render("{% llmrec_beacon obj seconds=2.5 %}", request=request_of(member), obj=catalogue["ml"])
        assert 'data-seconds="2.5"' in text


class TestView:
    def test_records_for_the_account(self, client, member, catalogue):
        client.force_login(member)
        response = client.post(EVENT, {"verb": "viewed", "key": "ml"})
        assert (response.status_code, response.content) == (204, b"")
        row = Interaction.objects.get()
        assert (row.learner.user, row.resource.key, row.verb, row.source) == (member, "ml", "viewed", "beacon")

    def test_records_for_a_visitor(self, client, catalogue):
        client.cookies["visitor"] = VISITOR_KEY
        assert client.post(EVENT, {"verb": "clicked", "key": "ml"}).status_code == 204
        assert Interaction.objects.get().learner.user is None

    def test_who_opted_out_leaves_no_trace(self, client, member, catalogue):
        learner = api.get_learner(member)
        learner.personalise = False
        learner.save()
        client.force_login(member)
        assert client.post(EVENT, {"verb": "viewed", "key": "ml"}).status_code == 204
        assert not Interaction.objects.exists()

    @pytest.mark.parametrize(
        "data",
        [
            {},
            {"verb": "viewed"},
            {"verb": "viewed", "key": "nowhere"},
            {"verb": "viewed", "key": "draft"},
            {"verb": "viewed", "key": "m\x00l"},
            {"verb": "viewed", "key": "m" * 256},
            {"verb": "completed", "key": "ml"},
            {"verb": "rated", "key": "ml", "value": 5},
            {"verb": "shown", "key": "ml"},
            {"verb": "shown", "key": "ml", "list": "7"},
            {"verb": "read", "key": "ml"},
            {"verb": "read", "key": "ml", "seconds": "-1"},
            {"verb": "read", "key": "ml", "seconds": "nan"},
            {"verb": "dismissed", "key": "ml", "reason": "ugly"},
            {"verb": "dismissed", "key": "nowhere"},
            {"verb": "dismissed", "key": "draft"},
        ],
    )
    def test_other_events_are_refused(self, client, member, catalogue, data):
        client.force_login(member)
        assert client.post(EVENT, data).status_code == 400
        assert not Interaction.objects.exists()

    def test_nothing_else_in_a_form_counts(self, client, member, catalogue):
        client.force_login(member)
        more = {"user": 7, "learner": 7, "tenant": "other", "source": "site", "trusted": "1"}
        client.post(EVENT, {"verb": "viewed", "key": "ml", **more})
        row = Interaction.objects.get()
        assert (row.learner.user, row.tenant, row.source) == (member, "default", "beacon")

    def test_a_stranger_is_refused(self, client, catalogue):
        assert client.post(EVENT, {"verb": "viewed", "key": "ml"}).status_code == 403

    def test_only_posts_are_taken(self, client):
        assert client.get(EVENT).status_code == 405

    def test_needs_the_csrf_token_even_where_the_host_has_no_middleware(self, member, catalogue, settings):
        settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "Csrf" not in name]
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(member)
        assert strict.post(EVENT, {"verb": "viewed", "key": "ml"}).status_code == 403
        token = strict.get("/llmrec/token/").json()["token"]
        data = {"verb": "viewed", "key": "ml", "csrfmiddlewaretoken": token}
        assert strict.post(EVENT, data).status_code == 204

    def test_a_flood_is_told_to_wait(self, client, member, catalogue, llmrec):
        llmrec(API_THROTTLES={"write": "1/hour"})
        client.force_login(member)
        assert client.post(EVENT, {"verb": "viewed", "key": "ml"}).status_code == 204
        response = client.post(EVENT, {"verb": "viewed", "key": "ml"})
        assert response.status_code == 429
        assert 0 < int(response["Retry-After"]) <= 3601

    def test_trouble_loses_the_event_and_nothing_else(self, client, member, catalogue, monkeypatch, caplog):
        monkeypatch.setattr(api, "record_many", None)
        client.force_login(member)
        assert client.post(EVENT, {"verb": "viewed", "key": "ml"}).status_code == 204
        assert len(caplog.records) == 1


class TestListEvents:
    @pytest.fixture
    def page(self, render, request_of, member, client, catalogue):
        """What a page with a list holds: the id of the stored list, and the keys in it."""
        text = render("{% recommend k=3 %}", request=request_of(member))
        client.force_login(member)
        (list_id,) = re.findall(r'data-llmrec-list="([^"]*)"', text)
        return list_id, re.findall(r'data-llmrec-item="([^"]*)"', text)

    def test_the_first_list_of_a_newcomer_is_kept_under_their_name(self, page, member):
        stored = RecommendationList.objects.get(pk=page[0])
        assert (stored.learner.user, stored.placement) == (member, "")
        assert stored.items.count() == 3

    def test_strangers_leave_neither_profile_nor_list(self, render, request_of, catalogue):
        text = render("{% recommend k=3 %}", request=request_of())
        assert "data-llmrec-list" not in text
        assert "data-llmrec-dismiss" not in text
        assert not LearnerProfile.objects.exists()
        assert not RecommendationList.objects.exists()

    def test_impressions_of_several_items_are_one_event(self, page, client):
        list_id, keys = page
        for _ in range(2):
            assert client.post(EVENT, {"verb": "shown", "list": list_id, "key": keys[:2]}).status_code == 204
        shown = RecommendationItem.objects.filter(shown_at__isnull=False).values_list("resource__key", flat=True)
        assert set(shown) == set(keys[:2])
        assert not Interaction.objects.exists()

    def test_a_click_is_written_to_the_item_and_recorded_once(self, page, client):
        list_id, keys = page
        for _ in range(2):
            assert client.post(EVENT, {"verb": "clicked", "list": list_id, "key": keys[0]}).status_code == 204
        client.post(EVENT, {"verb": "read", "key": keys[0], "seconds": "12.5"})
        client.post(EVENT, {"verb": "read", "key": keys[0], "seconds": "7"})
        row = RecommendationItem.objects.get(clicked_at__isnull=False)
        assert (row.resource.key, row.dwell_s) == (keys[0], 12.5)
        assert Interaction.objects.get().verb == "clicked"

    def test_dismissed_it_is_gone_and_undone_it_is_back(self, page, client, render, request_of, member):
        list_id, keys = page
        data = {"verb": "dismissed", "list": list_id, "key": keys[0], "reason": "too_hard", "id": "tap-1"}
        assert client.post(EVENT, data).status_code == 204
        assert Interaction.objects.get().verb == "too_hard"
        assert f'data-llmrec-item="{keys[0]}"' not in render("{% recommend k=6 %}", request=request_of(member))
        assert client.post(EVENT, {"verb": "restored", "key": keys[0]}).status_code == 204
        assert f'data-llmrec-item="{keys[0]}"' in render("{% recommend k=6 %}", request=request_of(member))

    @pytest.mark.parametrize("verb", ["shown", "clicked", "read", "dismissed"])
    def test_somebody_elses_list_is_not_there(self, page, verb, other):
        list_id, keys = page
        client = Client()
        client.force_login(other)
        data = {"verb": verb, "list": list_id, "key": keys[0], "seconds": "9"}
        assert client.post(EVENT, data).status_code == 404
        untouched = RecommendationItem.objects.filter(shown_at=None, clicked_at=None, dwell_s=None, dismissed_at=None)
        assert untouched.count() == 3
        assert not Interaction.objects.exists()
