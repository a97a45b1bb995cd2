"""{% recommend lazy=True %} and the view that answers it."""

import re
from html import unescape

import pytest
from django.contrib.auth.models import AnonymousUser
from django.http import HttpResponse
from django.template import engines
from django.test import override_settings
from django.urls import path

from llmrec_django import api
from llmrec_django.models import Placement
from llmrec_django.types import InteractionInput
from llmrec_django.web.lists import ListOptions

pytestmark = pytest.mark.django_db

NONCE = "r4nd0m"


def src(text):
    return unescape(re.search(r'<llmrec-list src="([^"]*)"', text)[1])


def page(request):
    template = engines["django"].from_string("{% load llmrec_django %}{% recommend lazy=True %}")
    return HttpResponse(template.render({}, request))


def test_the_page_is_the_same_for_everyone(render, request_of, member, catalogue):
    mine = render("{% recommend k=2 lazy=True %}", request=request_of(member))
    assert mine == render("{% recommend k=2 lazy=True %}", request=request_of())
    assert mine == render("{% recommend k=2 lazy=True %}")
    assert "Machine learning" not in mine


def test_the_page_does_not_depend_on_the_session(client, member, catalogue):
    from tests import urls

    class URLs:
        urlpatterns = [*urls.urlpatterns, path("page/", page)]

    client.force_login(member)
    with override_settings(ROOT_URLCONF=URLs):
        response = client.get("/page/")
    assert b"<llmrec-list" in response.content
    assert "Cookie" not in response.get("Vary", "")


def test_the_fragment_is_the_callers_own_and_no_cache_may_keep_it(client, member, catalogue, render):
    api.record(api.get_learner(member), InteractionInput("completed", "ml"))
    address = src(render("{% recommend k=1 kinds='course' heading='Next' lazy=True %}"))
    client.force_login(member)
    response = client.get(address)
    assert response["Cache-Control"] == "private, no-store"
    assert "Cookie" in response["Vary"]
    text = response.content.decode()
    assert "Deep learning" in text
    assert ">Next<" in text
    assert text.count("<li") == 1
    client.logout()
    assert ">Next<" in client.get(address).content.decode()


def test_all_options_arrive(render, client, catalogue):
    Placement.objects.create(name="home", title="Home list")
    address = src(render("{% recommend placement='home' languages='en,zh' lazy=True %}"))
    text = client.get(address).content.decode()
    assert "Home list" in text


@pytest.mark.parametrize("options", ["", "x", ListOptions(k=3).signed() + "x", ListOptions(k=3).signed()[:-1]])
def test_options_that_the_tag_did_not_sign_are_refused(client, db, options):
    response = client.get("/llmrec/recommendations/", {"options": options})
    assert (response.status_code, response.content) == (400, b"")
    assert response["Cache-Control"] == "private, no-store"


def test_a_fragment_in_trouble_is_empty(client, catalogue, monkeypatch, render):
    monkeypatch.setattr(api, "recommend", None)
    response = client.get(src(render("{% recommend lazy=True %}")))
    assert (response.status_code, response.content) == (200, b"")
    response = client.get(src(render("{% recommend template='nowhere.html' lazy=True %}")))
    assert (response.status_code, response.content) == (200, b"")


def test_the_script_carries_the_nonce_of_the_page(render, request_of):
    assert "nonce" not in render("{% recommend lazy=True %}", request=request_of())
    assert f'nonce="{NONCE}"' in render("{% recommend lazy=True %}", csp_nonce=NONCE)
    request = request_of()
    request.csp_nonce = NONCE
    text = render("{% recommend lazy=True %}", request=request)
    assert f'<script src="/static/llmrec_django/llmrec.js" defer nonce="{NONCE}">' in text


def test_switched_off_there_is_no_placeholder(render, llmrec):
    llmrec(ENABLED=False)
    assert render("{% recommend lazy=True %}") == ""


@override_settings(ROOT_URLCONF="tests.testapp")
def test_without_our_addresses_nothing_is_rendered(render, caplog):
    assert render("{% recommend lazy=True %}") == ""


def test_a_user_without_session_gets_a_fragment(rf, catalogue):
    from llmrec_django import views

    request = rf.get("/", {"options": ListOptions(k=1).signed()})
    assert b"<li" in views.recommendation_fragment(request).content
    request.user = AnonymousUser()
    assert b"<li" in views.recommendation_fragment(request).content
