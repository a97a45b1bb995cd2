"""The example campus, seen with a browser: what the README promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page, Request

    from tests.campus.running import Campus

pytestmark = [pytest.mark.browser, pytest.mark.model, pytest.mark.worker]

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


@pytest.fixture(params=SIZES)
def page(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:
    """Give a new visitor's page; complain about anything the browser complained about."""
    width, height = SIZES[request.param]
    context = browser.new_context(viewport={"width": width, "height": height}, locale="en-GB")
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))

    def complain(failed: Request) -> None:
        # A beacon that is sent while its page goes away is given up by the page, not by the browser, which delivers it.
        if not (failed.resource_type == "ping" and failed.failure == "net::ERR_ABORTED"):
            complaints.append(f"{failed.resource_type} {failed.url} {failed.failure}")

    page.on("requestfailed", complain)
    yield page
    context.close()
    assert complaints == []


def titles(page: Page, within: str) -> list[str]:
    return page.locator(f"{within} .card h3").all_inner_texts()


def become(page: Page, campus: Campus, name: str) -> None:
    page.goto(f"{campus.address()}people/")
    page.get_by_role("button", name=f"Be {name}").click()
    page.wait_for_load_state()


def fits(page: Page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_home_recommends_to_a_persona_by_their_own_history(page: Page, campus: Campus) -> None:
    become(page, campus, "Eleanor Whitfield")
    first = titles(page, ".llmrec-recommend")
    assert page.get_by_role("heading", name="Recommended for you").is_visible()
    become(page, campus, "Daniel Reyes")
    second = titles(page, ".llmrec-recommend")
    assert len(first) == len(second) == 6
    assert len(set(first) & set(second)) < 3
    assert fits(page)


def test_search_in_chinese_finds_courses_given_in_chinese(page: Page, campus: Campus) -> None:
    page.goto(campus.address())
    page.get_by_role("button", name="简体中文").click()
    page.get_by_role("searchbox").fill("编程入门")
    page.get_by_role("button", name="搜索").click()
    page.wait_for_load_state()
    assert "Python 编程第一步" in titles(page, ".cards")[:3]
    assert fits(page)


def test_a_course_shows_similar_ones_and_not_itself(page: Page, campus: Campus) -> None:
    page.goto(f"{campus.address()}courses/python-first-steps/")
    similar = titles(page, ".llmrec-similar")
    assert len(similar) == 6
    assert "First Steps in Python" not in similar
    assert any("Python" in title for title in similar)
    assert fits(page)


def test_enrolling_takes_the_course_off_the_recommendations(page: Page, campus: Campus) -> None:
    become(page, campus, "Amina Yusuf")
    course = page.locator(".llmrec-recommend .card.kind-course h3 a").first
    title = course.inner_text()
    course.click()
    page.get_by_role("button", name="Enrol").click()
    page.wait_for_load_state()
    assert page.get_by_text("You are enrolled.").is_visible()
    page.goto(campus.address())
    assert title not in titles(page, ".llmrec-recommend")


def test_turning_down_and_clicking_change_the_next_list(page: Page, campus: Campus) -> None:
    become(page, campus, "Daniel Reyes")
    before = titles(page, ".llmrec-recommend")
    item = page.locator(".llmrec-recommend li").first
    item.locator("summary").click()
    item.get_by_role("button", name="Not interested").click()
    item.get_by_text("You will not be shown this again.").wait_for()
    assert fits(page)
    page.goto(campus.address())
    after = titles(page, ".llmrec-recommend")
    assert before[0] not in after
    assert len(after) == 6
    card = page.locator(".llmrec-recommend li h3 a").nth(1)
    opened = card.inner_text()
    with page.expect_navigation():
        card.click()
    page.goto(campus.address())
    assert opened not in titles(page, ".llmrec-recommend")

    page.goto(f"{campus.address()}me/")
    page.get_by_role("link", name="See it all, change it, start anew").click()
    turned_down = page.locator(".llmrec-turned-down li")
    assert before[0] in turned_down.first.inner_text()
    assert opened in page.locator(".llmrec-history").inner_text()
    assert fits(page)
    page.get_by_role("button", name=f"Show again: {before[0]}").click()
    page.wait_for_load_state()
    assert page.get_by_text("It may be recommended again.").is_visible()
    assert turned_down.filter(has_text=before[0]).count() == 0


def test_admin_shows_resources_under_the_campus_policy(page: Page, campus: Campus) -> None:
    page.goto(f"{campus.address()}admin/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill("campus")
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("link", name="Learning resources").first.click()
    page.wait_for_load_state()
    assert page.locator("#result_list tbody tr").count() > 10
