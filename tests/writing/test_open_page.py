"""An open page in a real browser: its templates give way to what a language model wrote meanwhile."""

import contextlib
import shutil

import pytest
from django.db import connections
from django.http import HttpResponse
from django.template import engines
from django.test import override_settings
from django.urls import include, path

from llmrec_django.models import LearnerProfile, RecommendationItem
from llmrec_django.services import embedding
from llmrec_django.services.writing import run
from llmrec_django.testing.factories import InteractionFactory, ResourceFactory
from tests.testapp.models import Member
from tests.writing.conftest import chat

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

SAID = 'Because you completed "Linear Algebra", this is next for you.'
PAGE = "{% load llmrec_django %}<!doctype html><title>page</title>{% recommend k=2 LAZY %}{% llmrec_beacon %}"


def page(request, lazy=""):
    response = HttpResponse(engines["django"].from_string(PAGE.replace("LAZY", lazy)).render({}, request))
    response["Content-Security-Policy"] = "default-src 'none'; script-src 'self'; connect-src 'self'"
    return response


urlpatterns = [
    path("", page),
    path("lazy/", page, {"lazy": "lazy=True"}),
    path("favicon.ico", lambda request: HttpResponse()),
    path("llmrec/", include("llmrec_django.urls")),
]


@pytest.fixture
def learner(writer):
    algebra = ResourceFactory(title="Linear Algebra", description="vectors", keywords=["vectors"])
    for name in ("Spectral Graphs", "Matrix Analysis"):
        ResourceFactory(title=name, description="vectors", keywords=["vectors"])
    embedding.embed_pending()
    learner = LearnerProfile.objects.create(user=Member.objects.create_user("ada@example.org"))
    InteractionFactory(learner=learner, resource=algebra, verb="completed")
    return learner


@pytest.fixture
def tab(live_server, learner, client, monkeypatch):
    """A tab with a clock that the test moves, in which the learner is signed in."""
    playwright = pytest.importorskip("playwright.sync_api")
    # Playwright runs an event loop in this thread; the ORM is used from it, never inside a coroutine.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    client.force_login(learner.user)
    with contextlib.ExitStack() as stack:
        browser = stack.enter_context(playwright.sync_playwright()).chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"), args=["--no-sandbox"]
        )
        stack.callback(browser.close)
        stack.callback(connections.close_all)
        context = browser.new_context()
        session = client.cookies["sessionid"].value
        context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
        tab = context.new_page()
        tab.clock.install()
        stack.enter_context(override_settings(ROOT_URLCONF=__name__))
        yield tab


@pytest.mark.parametrize("address", ["/", "/lazy/"])
def test_better_reasons_replace_the_templates_on_an_open_page(tab, live_server, service, address):
    from playwright.sync_api import expect

    service.answers = [chat(SAID)]
    tab.goto(live_server.url + address)
    shown = tab.locator(".llmrec-reason")
    shown.first.wait_for()
    assert shown.count() == 2
    assert SAID not in shown.all_text_contents()
    run.write_pending()
    with tab.expect_response("**/llmrec/reasons/**"):
        tab.clock.run_for(5000)
    expect(shown).to_have_text([SAID, SAID])
    assert set(RecommendationItem.objects.values_list("reason_source", flat=True)) == {"llm"}


def test_a_page_asks_twice_at_most(tab, live_server, service):
    service.answers = [chat("Not good enough.")]
    asked = []
    tab.on("request", lambda request: asked.append(request.url) if "/reasons/" in request.url else None)
    tab.goto(live_server.url)
    tab.locator(".llmrec-reason").first.wait_for()
    templates = tab.locator(".llmrec-reason").all_text_contents()
    for _ in range(2):
        with tab.expect_response("**/llmrec/reasons/**"):
            tab.clock.run_for(25_000)
        tab.wait_for_timeout(100)
    tab.clock.run_for(300_000)
    tab.wait_for_timeout(200)
    assert len(asked) == 2
    assert tab.locator(".llmrec-reason").all_text_contents() == templates
