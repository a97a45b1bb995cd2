import pytest

from llmrec_django.engine.phrases import holds, phrases_in, telling_words


@pytest.mark.parametrize(
    ("text", "phrase", "expected"),
    [
        ("I want to learn Data Science soon", "data science", True),
        ("database design", "data", False),
        ("non-linear models", "linear", False),
        ("C++ for games", "c++", True),
        ("我想学习机器学习", "机器学习", True),
        ("机器人", "机器学习", False),
        ("", "art", False),
    ],
)
def test_a_phrase_is_held_as_a_whole(text, phrase, expected):
    assert holds(text, phrase) is expected


def test_phrases_keep_their_order_each_once_and_no_single_characters():
    assert phrases_in("Go and R and statistics", ["R", "statistics", "Go", "statistics", "art"], most=5) == (
        "statistics",
        "Go",
    )
    assert phrases_in("one two three", ["one", "two", "three"], most=2) == ("one", "two")


def test_words_that_any_title_holds_tell_nothing():
    assert telling_words(["Introduction to Statistics for Beginners", "统计学入门", "Your First Year: Bayes 101"]) == [
        "statistics",
        "bayes",
    ]
