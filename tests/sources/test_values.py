"""What host values become."""

import datetime as dt
from decimal import Decimal

import pytest
from django.utils.translation import gettext_lazy

from llmrec_django.sources import values


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, ""),
        ("a\x00b", "ab"),
        ("  padded\n", "padded"),
        ("broken \ud800 pair", "broken ? pair"),
        (["one", None, "two"], "one\ntwo"),
        (gettext_lazy("title"), "title"),
        (7, "7"),
        ("<p>kept</p>", "<p>kept</p>"),
    ],
)
def test_text(given, expected):
    assert values.text(given) == expected
    assert type(values.text(given)) is str


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, []),
        ("maths, physics；化学、生物", ["maths", "physics", "化学", "生物"]),
        (["b", "a", "b", "", None], ["b", "a"]),
        (("x", 3), ["x", "3"]),
    ],
)
def test_keywords_are_distinct_and_keep_their_order(given, expected):
    assert values.keywords(given) == expected


def test_a_name_with_a_comma_stays_one_name():
    assert values.names("Noether, Emmy") == ["Noether, Emmy"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Beginner", "beginner"), ("Introductory", "beginner"), ("B2", "intermediate"), ("高级", "advanced"),
        ("unheard of", ""), (None, ""), (3, ""),
    ],
)  # fmt: skip
def test_level(given, expected):
    assert values.level(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [("zh_Hans", "zh-hans"), ("EN", "en"), ("English (UK)", ""), (None, ""), ("pt-BR", "pt-br"), ("x" * 40, "")],
)
def test_language(given, expected):
    assert values.language(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (dt.timedelta(seconds=61), 2), (dt.timedelta(0), 0), (90, 90), ("45", 45), (Decimal("1.5"), 2),
        (-1, None), (float("nan"), None), (float("inf"), None), ("1:30", None), (None, None), (10**12, None),
    ],
)  # fmt: skip
def test_minutes(given, expected):
    assert values.minutes(given) == expected


def test_a_date_counts_to_its_last_second(settings):
    settings.TIME_ZONE = "Asia/Shanghai"
    day = dt.date(2026, 5, 1)
    assert values.moment(day) == dt.datetime(2026, 4, 30, 16, tzinfo=dt.UTC)
    assert values.end(day) == dt.datetime(2026, 5, 1, 16, tzinfo=dt.UTC)
    noon = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
    assert values.end(noon) == noon
    assert values.end(dt.date.max) is not None
    assert values.moment("yesterday") is None


def test_json_comes_back_as_it_will_from_the_database():
    given = {"when": dt.date(2026, 1, 2), "price": Decimal("1.50"), "text": "a\x00b", "n": [1, None]}
    assert values.json_object(given) == {"when": "2026-01-02", "price": "1.50", "text": "ab", "n": [1, None]}
    assert values.json_object({"x": float("nan")}) == {}
    assert values.json_object({"x": object()}) == {}
    assert values.json_object("text") == {}


def test_translations():
    given = {"zh_Hans": {"title": "代数", "description": None, "other": "x"}, "fr": "Algèbre", "de": "", "??": "x"}
    assert values.translations(given) == {"zh-hans": {"title": "代数"}, "fr": {"title": "Algèbre"}}
    assert values.translations(None) == {}
