"""What the people of the campus are recommended, by the encoder that the campus comes with."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser import conftest as browsers
from tests.campus.running import ROOT, Campus, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

pytestmark = [pytest.mark.model, pytest.mark.worker]

one_thread, browser = browsers.one_thread, browsers.browser

HAN = re.compile("[\u3400-\u9fff]")
TOPICS = {
    "lin-xiaoyu": {"programming"},
    "daniel-reyes": {"data-science", "machine-learning"},
    # Her goals are climate, and cities on sun and wind: on the campus that is taught under both.
    "sofia-rossi": {"environment", "physics"},
}


@pytest.fixture(scope="module")
def campus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campus]:
    campus = Campus(tmp_path_factory.mktemp("campus"), encoder="e5", learners=60)
    try:
        campus.address()
        yield campus
    finally:
        campus.stop()


@pytest.fixture(scope="module")
def said(campus: Campus) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.campus.asking"],
        cwd=ROOT,
        env={**environment(campus.folder, "e5"), "DJANGO_SETTINGS_MODULE": "example_project.settings"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def keys(items: list[dict[str, Any]]) -> list[str]:
    return [item["key"] for item in items]


def place(ranked: list[str], key: str) -> int:
    """Return the place of a key, from 0; the one after the last where it has none."""
    return ranked.index(key) if key in ranked else len(ranked)


def on_topic(items: list[dict[str, Any]], topics: set[str]) -> int:
    return sum(bool(topics & set(item["subjects"])) for item in items)


@pytest.mark.parametrize("persona", TOPICS)
def test_eight_of_ten_are_on_topic(said: dict[str, Any], persona: str) -> None:
    items = said["before"][persona]
    assert len(items) == 10
    assert on_topic(items, TOPICS[persona]) >= 8, [(item["title"], item["subjects"]) for item in items]


def test_who_reads_english_alone_is_shown_english_alone(said: dict[str, Any]) -> None:
    for persona in ("daniel-reyes", "sofia-rossi"):
        assert {item["language"] for item in said["before"][persona]} == {"en"}


def test_every_reason_is_there_in_the_readers_language_and_names_only_what_they_did(said: dict[str, Any]) -> None:
    for persona, items in said["before"].items():
        for item in items:
            assert item["reason"], (persona, item["title"])
            is_chinese = bool(HAN.search(item["reason"]))
            assert is_chinese == (persona in ("lin-xiaoyu", "zhou-ming")), item["reason"]
            did = set(said["histories"][persona])
            assert {*item["own"], *item["unlocked_by"]} <= did, (persona, item)


def test_every_goal_word_in_evidence_stands_in_the_goals(said: dict[str, Any]) -> None:
    named = [
        (persona, word) for persona, items in said["before"].items() for item in items for word in item["goal_words"]
    ]
    assert named
    for persona, word in named:
        # Words of scripts with spaces as a whole: "art" is not in "start".
        pattern = re.escape(word) if HAN.search(word) else rf"\b{re.escape(word)}\b"
        assert re.search(pattern, said["goals"][persona], re.IGNORECASE), (persona, word, said["goals"][persona])


def test_goals_typed_in_chinese_are_understood(said: dict[str, Any]) -> None:
    assert on_topic(said["typed"], {"environment"}) >= 7, [item["title"] for item in said["typed"]]


def test_swapped_histories_and_goals_swap_the_lists(said: dict[str, Any]) -> None:
    for one, other in (("daniel-reyes", "eleanor-whitfield"), ("eleanor-whitfield", "daniel-reyes")):
        old, others, now = (
            set(keys(items)) for items in (said["before"][one], said["before"][other], said["swapped"][one])
        )
        assert len(now & others) >= 8
        assert len(now & old) <= 2


def test_swapped_histories_alone_make_each_list_more_like_the_others(said: dict[str, Any]) -> None:
    """Each keeps their own goals, which go on counting."""
    for one, other in (("daniel-reyes", "eleanor-whitfield"), ("eleanor-whitfield", "daniel-reyes")):
        old, others, now = (
            set(keys(items)) for items in (said["before"][one], said["before"][other], said["histories_swapped"][one])
        )
        assert len(now & (others - old)) > len(now & (old - others))


def test_turning_down_and_clicking_change_the_next_list(said: dict[str, Any]) -> None:
    dismissed, clicked = keys(said["after_dismissing"]), keys(said["after_clicking"])
    assert said["turned_down"] in keys(said["before"]["sofia-rossi"])
    assert said["turned_down"] not in dismissed
    assert said["turned_down"] not in clicked
    assert said["clicked"] in dismissed
    assert said["clicked"] not in clicked
    # That it is gone itself moves what stood below it by one place; what is like it must move further.
    dismissed.remove(said["clicked"])
    like = [key for key in said["like_clicked"] if key in dismissed or key in clicked]
    assert len(like) >= 3
    before, after = (sum(place(ranked, key) for key in like) / len(like) for ranked in (dismissed, clicked))
    assert after < before, "what is like the clicked one stands higher"


@pytest.mark.browser
def test_in_a_browser_turning_down_and_clicking_change_the_next_list(
    campus: Campus,
    said: dict[str, Any],  # which wants the histories as they were
    browser: Browser,
) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, locale="en-GB")
    page = context.new_page()

    def shown() -> list[str]:
        page.goto(campus.address())
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        return page.locator(".llmrec-recommend .card h3").all_inner_texts()

    page.goto(f"{campus.address()}people/")
    with page.expect_navigation():
        page.get_by_role("button", name="Be Lin Xiaoyu").click()
    before = shown()
    item = page.locator(".llmrec-recommend li").first
    item.locator("summary").click()
    item.get_by_role("button", name="不感兴趣").click()
    item.get_by_text("不会再向您展示这项内容。").wait_for()
    after_dismissing = shown()
    assert before[0] not in after_dismissing
    assert len(after_dismissing) == len(before) == 6
    with page.expect_navigation():
        page.locator(".llmrec-recommend li h3 a").nth(1).click()
    after_clicking = shown()
    assert after_dismissing[1] not in after_clicking
    assert before[0] not in after_clicking
    assert len(after_clicking) == 6
    context.close()
