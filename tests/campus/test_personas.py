"""What the people of the campus are recommended, by the encoder that the campus comes with."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.campus.running import ROOT, Campus, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.model, pytest.mark.worker]

HAN = re.compile("[\u3400-\u9fff]")
TOPICS = {
    "lin-xiaoyu": {"programming"},
    "daniel-reyes": {"data-science", "machine-learning"},
    # Her goals are climate, and cities on sun and wind: on the campus that is taught under both.
    "sofia-rossi": {"environment", "physics"},
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("campus")
    campus = Campus(folder, encoder="e5", learners=60)
    try:
        campus.address()
        done = subprocess.run(
            [sys.executable, "-m", "tests.campus.asking"],
            cwd=ROOT,
            env={**environment(folder, "e5"), "DJANGO_SETTINGS_MODULE": "example_project.settings"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        yield json.loads(done.stdout)
    finally:
        campus.stop()


def keys(items: list[dict[str, Any]]) -> list[str]:
    return [item["key"] for item in items]


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


def test_goals_typed_in_chinese_are_understood(said: dict[str, Any]) -> None:
    assert on_topic(said["typed"], {"environment"}) >= 7, [item["title"] for item in said["typed"]]


def test_swapped_histories_swap_the_lists(said: dict[str, Any]) -> None:
    for one, other in (("daniel-reyes", "eleanor-whitfield"), ("eleanor-whitfield", "daniel-reyes")):
        old, others, now = (
            set(keys(items)) for items in (said["before"][one], said["before"][other], said["swapped"][one])
        )
        assert len(now & others) >= 8
        assert len(now & old) <= 2


def test_turning_down_and_clicking_change_the_next_list(said: dict[str, Any]) -> None:
    before, dismissed, clicked = (
        keys(said[name]) for name in ("after_dismissing", "after_dismissing", "after_clicking")
    )
    assert said["turned_down"] in keys(said["before"]["sofia-rossi"])
    assert said["turned_down"] not in dismissed
    assert said["clicked"] not in clicked
    assert before != clicked
    assert said["turned_down"] not in clicked
