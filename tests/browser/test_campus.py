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
        # The icon of a page ("other") is fetched after everything else, and given up when the next page is opened.
        # So are the suggestions of a field ("xhr") when what was typed is chosen or sent.
        if not (failed.resource_type in ("ping", "other", "xhr") and failed.failure == "net::ERR_ABORTED"):
            complaints.append(f"{failed.resource_type} {failed.url} {failed.failure}")

    page.on("requestfailed", complain)
    yield page
    context.close()
    assert complaints == []


def titles(page: Page, within: str) -> list[str]:
    return page.locator(f"{within} .card h3").all_inner_texts()


def become(page: Page, campus: Campus, name: str) -> None:
    page.goto(f"{campus.address()}people/")
    with page.expect_navigation():
        page.get_by_role("button", name=f"Be {name}").click()


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
    with page.expect_navigation():
        page.get_by_role("button", name="搜索").click()
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
    with page.expect_navigation():
        page.get_by_role("button", name="Enrol").click()
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
    with page.expect_navigation():
        page.get_by_role("button", name=f"Show again: {before[0]}").click()
    assert page.get_by_text("It may be recommended again.").is_visible()
    assert turned_down.filter(has_text=before[0]).count() == 0


def sign_in_to_admin(page: Page, campus: Campus) -> None:
    page.goto(f"{campus.address()}admin/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill("campus")
    with page.expect_navigation():
        page.get_by_role("button", name="Log in").click()


def test_an_editor_adds_a_rule_and_the_learners_list_follows_it(page: Page, campus: Campus) -> None:
    chosen = "Automate Everyday Work with Python"
    become(page, campus, "Eleanor Whitfield")
    assert chosen not in titles(page, ".llmrec-recommend")

    sign_in_to_admin(page, campus)
    page.goto(f"{campus.address()}admin/llmrec_django/editorialrule/add/")
    page.get_by_label("Name").fill("Exam weeks")
    page.get_by_label("Effect").select_option(label="show first")
    with page.expect_navigation():
        page.get_by_role("button", name="Save", exact=True).click()
    assert page.get_by_text("Name a resource, or say which ones it is about.").is_visible()
    assert fits(page)
    page.locator(".field-resource .select2-selection").click()
    page.locator(".select2-search__field").fill(chosen)
    page.locator(".select2-results__option", has_text=chosen).first.click()
    page.get_by_label("Reason:", exact=True).fill("Exams begin on Monday.")
    page.get_by_label("Reason in other languages").fill("zh-hans: 周一开始考试。")
    with page.expect_navigation():
        page.get_by_role("button", name="Save", exact=True).click()
    assert page.locator("#result_list tbody tr").count() == 1
    assert chosen in page.locator("#result_list").inner_text()
    assert fits(page)
    rule = page.locator("#result_list tbody th a").get_attribute("href").split("?")[0]
    try:
        become(page, campus, "Eleanor Whitfield")
        assert titles(page, ".llmrec-recommend")[0] == chosen
        first = page.locator(".llmrec-recommend li").first
        assert first.get_by_text("Chosen by the editors: Exams begin on Monday.").is_visible()
        with page.expect_navigation():
            page.get_by_role("button", name="简体中文").click()
        assert page.locator(".llmrec-recommend li").first.get_by_text("编辑推荐：周一开始考试。").is_visible()
        assert fits(page)
        with page.expect_navigation():
            page.get_by_role("button", name="English").click()
    finally:
        sign_in_to_admin(page, campus)
        page.goto(f"{campus.address().rstrip('/')}{rule.removesuffix('change/')}delete/")
        with page.expect_navigation():
            page.get_by_role("button", name="Yes, I’m sure").click()
    become(page, campus, "Eleanor Whitfield")
    assert chosen not in titles(page, ".llmrec-recommend")


def test_admin_shows_resources_under_the_campus_policy(page: Page, campus: Campus) -> None:
    sign_in_to_admin(page, campus)
    with page.expect_navigation():
        page.get_by_role("link", name="Learning resources").first.click()
    assert page.locator("#result_list tbody tr").count() > 10
