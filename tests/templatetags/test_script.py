"""The script in a real browser, under a policy that forbids everything inline."""

import contextlib
import shutil

import pytest
from django.db import connections
from django.http import HttpResponse, HttpResponseRedirect
from django.template import engines
from django.test import override_settings
from django.urls import include, path
from django.utils import timezone

from llmrec_django import api
from llmrec_django.models import Interaction, RecommendationItem, Resource
from llmrec_django.types import InteractionInput

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'"
PAGE = """{% load llmrec_django %}<!doctype html><title>page</title>
{% recommend k=2 lazy=True %}
{% similar "ml" k=1 %}
{% llmrec_beacon "ml" seconds=0.2 %}"""


def page(request):
    response = HttpResponse(engines["django"].from_string(PAGE).render({}, request))
    response["Content-Security-Policy"] = POLICY
    return response


def blank(request):
    return HttpResponse("<!doctype html><title>elsewhere</title>")


urlpatterns = [
    path("", page),
    path("favicon.ico", blank),
    path("ml/", blank),
    path("dl/", blank),
    path("stat/", blank),
    path("llmrec/", include("llmrec_django.urls")),
]


@pytest.fixture
def tab(live_server, member, client, monkeypatch):
    """A browser tab in which `member` is signed in, and what its console said."""
    playwright = pytest.importorskip("playwright.sync_api")
    # Playwright runs an event loop in this thread; the ORM is used from it, never inside a coroutine.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    client.force_login(member)
    with contextlib.ExitStack() as stack:
        browser = stack.enter_context(playwright.sync_playwright()).chromium.launch(
            # The system's browser where there is one, else the one that playwright installed.
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox"],
        )
        stack.callback(browser.close)
        # Inside playwright's event loop Django keeps a connection of its own, which would outlive the test.
        stack.callback(connections.close_all)
        context = browser.new_context()
        session = client.cookies["sessionid"].value
        context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
        tab = context.new_page()
        said = []
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        stack.enter_context(override_settings(ROOT_URLCONF=__name__))
        yield tab, said


def recorded():
    return set(Interaction.objects.values_list("verb", "resource__key"))


def wait_until(tab, condition):
    for _ in range(100):
        if condition():
            return
        tab.wait_for_timeout(50)
    raise AssertionError(f"not in time; recorded: {recorded()}")


@pytest.mark.parametrize("cookie", ["readable", "hidden"])
def test_the_list_is_fetched_and_reading_and_clicks_are_recorded(live_server, tab, member, catalogue, settings, cookie):
    settings.CSRF_COOKIE_HTTPONLY = cookie == "hidden"
    tab, said = tab
    api.record(api.get_learner(member), InteractionInput("bookmarked", "stat"))
    Interaction.objects.all().delete()
    tab.goto(live_server.url)
    tab.wait_for_selector("llmrec-list[data-state=shown] li")
    assert tab.locator("llmrec-list li").count() == 2
    wait_until(tab, lambda: ("viewed", "ml") in recorded())
    tab.locator(".llmrec-similar a").first.click()
    tab.wait_for_url("**/dl/")
    wait_until(tab, lambda: ("clicked", "dl") in recorded())
    assert recorded() == {("viewed", "ml"), ("clicked", "dl")}
    assert said == []


def test_a_page_that_nobody_sees_is_not_read(live_server, tab, catalogue):
    tab, _ = tab
    tab.add_init_script(
        "Object.defineProperty(Document.prototype, 'visibilityState', {get: () => window.seen ? 'visible' : 'hidden'})"
    )
    tab.goto(live_server.url)
    tab.wait_for_selector("llmrec-list[data-state=shown]")
    tab.wait_for_timeout(600)
    assert recorded() == set()
    tab.evaluate("window.seen = true; document.dispatchEvent(new Event('visibilitychange'))")
    wait_until(tab, lambda: recorded() == {("viewed", "ml")})


def test_a_login_page_in_place_of_the_list_is_not_shown(live_server, tab, catalogue, monkeypatch):
    tab, _ = tab
    sent_away = path("llmrec/recommendations/", lambda request: HttpResponseRedirect("/ml/"))
    with override_settings(ROOT_URLCONF=type("URLs", (), {"urlpatterns": [sent_away, *urlpatterns]})):
        tab.goto(live_server.url)
        tab.wait_for_selector("llmrec-list[data-state=empty]", state="attached")
    assert tab.locator("llmrec-list").inner_html() == ""


def test_titles_that_are_markup_stay_text(live_server, tab, db):
    tab, said = tab
    evil = "<img src=x onerror=\"document.title='broken'\">"
    Resource.objects.create(key=evil, title=evil, url="/ml/")
    tab.goto(live_server.url)
    tab.wait_for_selector("llmrec-list[data-state=shown]")
    assert tab.locator("llmrec-list a").inner_text() == evil
    assert tab.title() == "page"
    assert said == []


LISTS = """{% load llmrec_django %}<!doctype html><title>page</title>
<div style="height: 3000px">{% recommend k=2 heading="" %}</div>
{% recommend k=4 heading="below" %}
{% llmrec_beacon %}"""


def test_impressions_clicks_dismissals_and_undo_reach_their_items(live_server, tab, member, catalogue, monkeypatch):
    tab, said = tab
    monkeypatch.setattr(f"{__name__}.PAGE", LISTS)
    monkeypatch.setattr(f"{__name__}.POLICY", f"{POLICY}; style-src 'unsafe-inline'")
    tab.goto(live_server.url)

    def items(**conditions):
        rows = RecommendationItem.objects.filter(**conditions).order_by("list__created_at", "rank")
        return list(rows.values_list("list__k", "rank"))

    # Only what was on the screen was seen.
    wait_until(tab, lambda: items(shown_at__isnull=False) == [(2, 1), (2, 2)])
    lower = tab.locator("[data-llmrec-list]").nth(1)
    lower.scroll_into_view_if_needed()
    wait_until(tab, lambda: len(items(shown_at__isnull=False)) == 6)

    item = lower.locator("li").nth(1)
    title = item.locator("h3").inner_text()
    item.locator("summary").click()
    item.get_by_role("button", name="Too hard").click()
    wait_until(tab, lambda: items(dismissed_at__isnull=False) == [(4, 2)])
    assert not item.locator("h3").is_visible()
    assert item.get_by_text("You will not be shown this again.").is_visible()
    assert recorded() == {("too_hard", Resource.objects.get(title=title).key)}

    item.get_by_role("button", name="Undo").click()
    item.locator("h3").wait_for(state="visible")
    assert items(dismissed_at__isnull=False) == []
    item.locator("summary").click()
    item.get_by_role("button", name="I know this already").click()
    wait_until(tab, lambda: items(dismissed_at__isnull=False) == [(4, 2)])

    with tab.expect_navigation():
        tab.locator("[data-llmrec-list]").first.locator("a").first.click()
    wait_until(tab, lambda: [k for k, _ in items(clicked_at__isnull=False)] == [2])
    assert said == []


def test_how_long_a_page_was_read_is_reported_when_it_is_left(live_server, tab, member, catalogue):
    tab, _ = tab
    tab.goto(live_server.url)
    api.recommend(api.get_learner(member), k=4)
    RecommendationItem.objects.filter(resource__key="ml").update(shown_at=timezone.now(), clicked_at=timezone.now())
    wait_until(tab, lambda: ("viewed", "ml") in recorded())  # by now it may report, on a slow machine too
    tab.wait_for_timeout(700)
    tab.goto(f"{live_server.url}/dl/")
    wait_until(tab, lambda: RecommendationItem.objects.filter(dwell_s__gte=0.6, dwell_s__lt=30).exists())
