"""Who is asking, how often, and what of the host's REST framework settings may matter."""

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from rest_framework.authentication import BaseAuthentication
from rest_framework.test import APIClient

from llmrec_django import api
from llmrec_django.models import Interaction, LearnerProfile

pytestmark = pytest.mark.django_db

PERSONAL = [
    ("get", "/api/v1/profile/"),
    ("patch", "/api/v1/profile/"),
    ("delete", "/api/v1/profile/"),
    ("get", "/api/v1/profile/export/"),
    ("post", "/api/v1/interactions/"),
    ("post", "/api/v1/interactions/batch/"),
    ("post", "/api/v1/feedback/"),
    ("get", "/api/v1/recommendations/00000000-0000-4000-8000-000000000000/"),
    ("get", "/api/v1/profile/insight/"),
    ("post", "/api/v1/profile/restore/"),
    ("post", "/api/v1/profile/forget/"),
    ("post", "/api/v1/profile/reset/"),
]


class HeaderAuthentication(BaseAuthentication):
    """Says who asks by a header that a browser does not send."""

    def authenticate(self, request):
        email = request.META.get("HTTP_X_MEMBER")
        return (get_user_model().objects.get(email=email), None) if email else None

    def authenticate_header(self, request):
        return "Member"


class ServiceAuthentication(BaseAuthentication):
    """Says that a service asks, whose key equals a member's."""

    key = None

    def authenticate(self, request):
        class Service:
            is_authenticated = True
            is_anonymous = False
            pk = ServiceAuthentication.key

        return Service(), None


class NobodyAuthentication(BaseAuthentication):
    def authenticate(self, request):
        return AnonymousUser(), None


@pytest.mark.parametrize(("method", "url"), PERSONAL)
class TestPersonalAnswersNeedALearner:
    def test_a_stranger_is_refused(self, client, method, url):
        response = getattr(client, method)(url, {}, format="json")
        assert response.status_code == 403
        assert response.json()["code"] == "not_authenticated"

    def test_with_a_scheme_to_sign_in_by_the_refusal_is_a_401(self, client, llmrec, method, url):
        llmrec(API_AUTHENTICATION=["tests.rest_api.test_access.HeaderAuthentication"])
        response = getattr(client, method)(url, {}, format="json")
        assert (response.status_code, response["WWW-Authenticate"]) == (401, "Member")

    def test_a_service_with_a_members_key_is_nobody(self, client, llmrec, member, method, url):
        api.get_learner(member)
        ServiceAuthentication.key = member.pk
        llmrec(API_AUTHENTICATION=["tests.rest_api.test_access.ServiceAuthentication"])
        response = getattr(client, method)(url, {}, format="json")
        assert response.status_code == 403
        assert LearnerProfile.objects.count() == 1

    @pytest.mark.parametrize("value", ["", "short", "k" * 201, "with space in the key", "schlüssel-schlüssel"])
    def test_a_visitor_key_that_could_be_guessed_or_is_odd_names_nobody(self, client, method, url, value):
        client.cookies["visitor"] = value
        assert getattr(client, method)(url, {}, format="json").status_code == 403


def test_the_cookie_of_a_visitor_never_opens_an_imported_learner(client, catalogue):
    imported = LearnerProfile.objects.create(visitor_key="imported-learner-0001", goals="private")
    client.cookies["visitor"] = imported.visitor_key
    assert client.get("/api/v1/profile/").json()["goals"] == ""
    client.post("/api/v1/interactions/", {"verb": "viewed", "resource_key": "ml"}, format="json")
    assert not Interaction.objects.filter(learner=imported).exists()


def test_without_the_setting_no_cookie_names_a_visitor(visitor, llmrec):
    llmrec(VISITOR_COOKIE=None)
    assert visitor.get("/api/v1/profile/").status_code == 403


def test_an_account_comes_before_a_visitor_cookie(visitor, member):
    visitor.force_login(member)
    visitor.patch("/api/v1/profile/", {"goals": "x"}, format="json")
    learner = LearnerProfile.objects.get()
    assert (learner.user, learner.visitor_key) == (member, None)


@pytest.mark.parametrize("name", ["user", "user_id", "learner", "visitor", "visitor_key", "tenant"])
def test_no_parameter_names_another_learner(signed_in, other, catalogue, name):
    theirs = api.get_learner(other)
    theirs.goals = "private"
    theirs.save()
    for value in (other.pk, theirs.pk, "other"):
        assert signed_in.get("/api/v1/profile/", {name: value}).json()["goals"] == ""
        body = signed_in.get("/api/v1/recommendations/", {name: value})
        assert body.json()["is_personal"] is False
        assert "elsewhere" not in body.content.decode()


def tenant_of(request):
    return (request and request.META.get("HTTP_X_SITE")) or "default"


def test_tenants_do_not_meet(signed_in, catalogue, llmrec):
    llmrec(TENANT="tests.rest_api.test_access.tenant_of")
    other = {"headers": {"X-Site": "other"}}
    view = {"verb": "viewed", "resource_key": "ml"}
    assert signed_in.post("/api/v1/interactions/", view, format="json", **other).status_code == 400
    assert signed_in.post("/api/v1/interactions/", view, format="json").status_code == 201
    signed_in.patch("/api/v1/profile/", {"goals": "theirs"}, format="json", **other)
    assert signed_in.get("/api/v1/profile/").json()["goals"] == ""
    for url in ("resources/", "recommendations/", "search/?q=machine"):
        items = signed_in.get(f"/api/v1/{url}", **other).json()["items"]
        assert [item.get("resource", item)["key"] for item in items] == ["elsewhere"], url
    assert signed_in.get("/api/v1/resources/ml/similar/", **other).status_code == 404
    assert signed_in.delete("/api/v1/profile/", **other).status_code == 204
    assert Interaction.objects.count() == 1


class TestCSRF:
    @pytest.fixture
    def strict(self):
        return APIClient(enforce_csrf_checks=True)

    def test_a_session_needs_the_token(self, strict, member, catalogue):
        strict.force_login(member)
        response = strict.patch("/api/v1/profile/", {"goals": "x"}, format="json")
        assert (response.status_code, response.json()["code"]) == (403, "permission_denied")

    @pytest.mark.parametrize(("method", "url"), [entry for entry in PERSONAL if entry[0] != "get"])
    def test_so_does_a_visitors_cookie(self, strict, catalogue, method, url):
        strict.cookies["visitor"] = "a-key-nobody-guesses"
        response = getattr(strict, method)(url, {}, format="json")
        assert (response.status_code, response.json()["code"]) == (403, "permission_denied")

    def test_with_the_token_it_passes(self, strict, catalogue):
        strict.cookies["visitor"] = "a-key-nobody-guesses"
        token = strict.get("/llmrec/token/").json()["token"]
        response = strict.patch("/api/v1/profile/", {"goals": "x"}, format="json", headers={"X-CSRFToken": token})
        assert response.status_code == 200

    def test_a_token_in_a_header_needs_none(self, strict, member, llmrec):
        llmrec(API_AUTHENTICATION=["tests.rest_api.test_access.HeaderAuthentication"])
        response = strict.patch("/api/v1/profile/", {"goals": "x"}, format="json", headers={"X-Member": member.email})
        assert response.status_code == 200


class TestThrottles:
    def test_each_scope_counts_alone_and_says_how_long_to_wait(self, signed_in, catalogue, llmrec):
        llmrec(API_THROTTLES={"read": "2/hour", "write": "1/hour", "search": "1/hour"})
        assert [signed_in.get("/api/v1/resources/").status_code for _ in range(3)] == [200, 200, 429]
        assert [signed_in.get("/api/v1/search/?q=x").status_code for _ in range(2)] == [200, 429]
        assert [signed_in.patch("/api/v1/profile/", {}, format="json").status_code for _ in range(2)] == [200, 429]
        response = signed_in.get("/api/v1/resources/")
        assert response.json()["code"] == "throttled"
        assert 0 < int(response["Retry-After"]) <= 3600

    def test_learners_are_counted_apart(self, signed_in, other, client, catalogue, llmrec):
        llmrec(API_THROTTLES={"read": "1/hour"})
        theirs = APIClient()
        theirs.force_login(other)
        for asking in (signed_in, theirs, client):
            assert asking.get("/api/v1/resources/").status_code == 200
            assert asking.get("/api/v1/resources/").status_code == 429

    def test_a_cache_that_is_down_lets_requests_pass(self, client, catalogue, llmrec, settings):
        settings.CACHES = {"default": {"BACKEND": "tests.rest_api.test_access.BrokenCache"}}
        llmrec(API_THROTTLES={"read": "1/hour"})
        assert [client.get("/api/v1/resources/").status_code for _ in range(3)] == [200, 200, 200]


class BrokenCache:
    def __init__(self, *args, **options):
        pass

    def __getattr__(self, name):
        if name in ("close", "_alias", "_connection"):
            return lambda *args, **options: None
        raise ConnectionError("the cache is down")


class Refuse:
    """Stands for any class of the host that would change or break our answers."""

    def __init__(self, *args, **options):
        raise AssertionError("a host default was used")


def explode(*args, **options):
    raise AssertionError("a host default was used")


ODD = {
    "DEFAULT_RENDERER_CLASSES": ["tests.rest_api.test_access.Refuse"],
    "DEFAULT_PARSER_CLASSES": ["tests.rest_api.test_access.Refuse"],
    "DEFAULT_PERMISSION_CLASSES": ["tests.rest_api.test_access.Refuse"],
    "DEFAULT_THROTTLE_CLASSES": ["tests.rest_api.test_access.Refuse"],
    "DEFAULT_THROTTLE_RATES": {"read": "1/year"},
    "DEFAULT_FILTER_BACKENDS": ["tests.rest_api.test_access.Refuse"],
    "DEFAULT_PAGINATION_CLASS": "tests.rest_api.test_access.Refuse",
    "DEFAULT_VERSIONING_CLASS": "rest_framework.versioning.AcceptHeaderVersioning",
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "tests.rest_api.test_access.Refuse",
    "DEFAULT_METADATA_CLASS": "tests.rest_api.test_access.Refuse",
    "EXCEPTION_HANDLER": "tests.rest_api.test_access.explode",
    "PAGE_SIZE": 1,
    "ALLOWED_VERSIONS": ["none"],
    "NON_FIELD_ERRORS_KEY": "everything",
    "URL_FORMAT_OVERRIDE": "q",
    "UNAUTHENTICATED_USER": None,
    "UNICODE_JSON": False,
    "COMPACT_JSON": False,
    "STRICT_JSON": False,
    "COERCE_DECIMAL_TO_STRING": False,
    "DATETIME_FORMAT": "%d",
    "DATETIME_INPUT_FORMATS": ["%d"],
}


def conversation(client, signed_in):
    """Return what a few typical requests answer."""
    at = "2026-01-02T03:04:05Z"
    answers = [
        client.get("/api/v1/resources/?page_size=2", headers={"Accept": "text/html"}),
        client.get("/api/v1/search/?q=learning&format=xml"),
        client.get("/api/v1/recommendations/?k=0"),
        client.get("/api/v1/resources/nowhere/"),
        client.get("/api/v1/profile/"),
        client.delete("/api/v1/resources/"),
        client.options("/api/v1/resources/"),
        signed_in.post("/api/v1/interactions/", [], format="json"),
        signed_in.post(
            "/api/v1/interactions/",
            {"verb": "viewed", "resource_key": "ml", "occurred_at": at, "event_id": "1"},
            format="json",
        ),
        signed_in.post("/api/v1/interactions/", b'{"value": NaN}', content_type="application/json"),
        signed_in.patch("/api/v1/profile/", {"goals": "学"}, format="json"),
    ]
    Interaction.objects.all().delete()
    LearnerProfile.objects.all().delete()
    return [(answer.status_code, answer["Content-Type"], answer.content) for answer in answers]


def test_no_default_of_the_host_changes_an_answer(client, signed_in, catalogue, settings, llmrec):
    plain = conversation(client, signed_in)
    assert [status for status, _, _ in plain] == [200, 200, 400, 404, 403, 405, 405, 400, 201, 400, 200]
    settings.REST_FRAMEWORK = ODD
    assert conversation(client, signed_in) == plain


def test_every_policy_is_set_by_us():
    """`override_settings` cannot show it: REST framework reads some defaults when its classes are made."""
    from rest_framework.renderers import JSONRenderer
    from rest_framework.views import APIView

    from llmrec_django.rest_api.v1 import base

    policies = {name for name in vars(APIView) if name.endswith(("_class", "_classes"))}
    assert policies - {"authentication_classes"} <= set(vars(base.LLMRecView))
    options = {name for name in ("compact", "ensure_ascii", "strict") if hasattr(JSONRenderer, name)}
    assert options <= set(vars(base.PlainJSONRenderer))
    assert "strict" in vars(base.StrictJSONParser)


def test_the_hosts_authentication_classes_are_used(client, member, settings):
    settings.REST_FRAMEWORK = {
        "DEFAULT_AUTHENTICATION_CLASSES": ["tests.rest_api.test_access.HeaderAuthentication"],
    }
    assert client.get("/api/v1/profile/").status_code == 401
    assert client.get("/api/v1/profile/", headers={"X-Member": member.email}).status_code == 200


def test_ours_come_before_the_hosts(client, member, settings, llmrec):
    settings.REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": ["tests.rest_api.test_access.NobodyAuthentication"]}
    llmrec(API_AUTHENTICATION=["tests.rest_api.test_access.HeaderAuthentication"])
    assert client.get("/api/v1/profile/", headers={"X-Member": member.email}).status_code == 200
