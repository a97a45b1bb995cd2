"""Similar resources, and search by words and by meaning."""

import pytest

from llmrec_django.models import Resource
from llmrec_django.retrieval.candidates import query_words, words
from llmrec_django.retrieval.eligibility import Audience, eligible
from llmrec_django.services import embedding
from llmrec_django.services.search import search
from llmrec_django.services.similar import similar

pytestmark = pytest.mark.django_db


@pytest.fixture
def catalogue(hashing):
    Resource.objects.bulk_create(
        [
            Resource(key="ml", title="Machine learning", description="models trained on data", keywords=["AI"]),
            Resource(key="dl", title="Deep learning", description="neural models trained on data"),
            Resource(key="ml-zh", title="机器学习基础", description="用数据训练模型。", language="zh-hans"),
            Resource(key="cook", title="Bread", description="flour, water and an oven"),
            Resource(
                key="stat",
                title="Statistics",
                description="samples and tests",
                translations={"zh-hans": {"title": "统计学", "description": "抽样与检验"}},
            ),
            Resource(key="hidden", title="Machine learning, a draft", published=False),
        ]
    )
    embedding.embed_pending()
    return {resource.key: resource for resource in Resource.objects.all()}


def keys(result):
    return [item.resource.key for item in result]


def test_similar_is_nearest_first_without_itself_or_hidden_ones(catalogue):
    result = similar(catalogue["ml"], k=10)
    assert keys(result)[0] == "dl"
    assert len(result) == 4
    assert not {"ml", "hidden"} & set(keys(result))
    scores = [item.score for item in result]
    assert scores == sorted(scores, reverse=True)


def test_similar_without_a_vector_matches_words(catalogue):
    fresh = Resource.objects.create(key="new", title="Learning to learn")
    result = similar(fresh, k=3)
    assert result.items
    assert {item.source for item in result} == {"words"}


def test_similar_of_two_resources_with_the_same_text_finds_the_other(catalogue):
    Resource.objects.create(key="twin", title="Bread", description="flour, water and an oven")
    embedding.embed_pending()
    assert keys(similar(catalogue["cook"], k=1)) == ["twin"]


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("bread", "cook"),
        ("机器学习", "ml-zh"),
        ("统计", "stat"),
        ("AI", "ml"),
        ("neural", "dl"),
    ],
)
def test_words_are_found_in_english_and_chinese(catalogue, query, first):
    assert keys(search(query))[0] == first


def test_words_match_as_prefixes_and_all_of_them_beat_some(catalogue):
    found = words("mach learn", eligible(Audience("default")), 10)
    assert [pk for pk, _ in found] == [catalogue["ml"].pk, catalogue["dl"].pk]


def test_meaning_finds_what_shares_no_prefix_query(catalogue):
    result = search("data models", k=3)
    assert {"ml", "dl"} <= set(keys(result))


@pytest.mark.parametrize("query", ["", "   ", "\x00", "'", "\\", "a:*", "!!", "& | ( )", "🙂", "x" * 5000, "%s %(a)s"])
def test_odd_queries_do_no_harm(catalogue, query):
    search(query)


def test_hidden_resources_are_not_found(catalogue):
    assert "hidden" not in keys(search("draft"))


def test_words_alone_serve_without_vectors(hashing):
    Resource.objects.create(key="a", title="Only words here")
    result = search("words")
    assert [item.source for item in result] == ["words"]


def test_query_words():
    assert query_words("Deep 学习入门") == (["deep"], ["'学' <-> '习'", "'习' <-> '入'", "'入' <-> '门'"])
    assert query_words("学") == ([], ["'学'"])
    assert query_words("it's IT") == (["it", "s"], [])
    assert query_words("👩\u200d💻 पाठ्यक्रम, 学") == (["पाठ्यक्रम"], ["'学'"])


@pytest.mark.parametrize("word", ["पाठ्यक्रम", "พฤกษศาสตร์", "בּוֹטָנִיקָה", "الجَبْر", "re\u0301sume\u0301", "می\u200cخواهم"])
def test_a_word_with_marks_is_found(hashing, word):
    Resource.objects.create(key="found", title=f"1 {word} 2")
    Resource.objects.create(key="other", title="1 2")
    assert keys(search(word)) == ["found"]


def test_an_encoder_that_cannot_read_the_query_has_no_say(catalogue, monkeypatch):
    from llmrec_django.testing import HashingEncoder

    assert search("quite unrelated").items
    monkeypatch.setattr(HashingEncoder, "known_share", lambda self, text: 0.2)
    assert not search("quite unrelated").items


def test_scattered_words_do_not_count_as_found(hashing):
    Resource.objects.create(key="calculus", title="微积分：变化率与面积")
    Resource.objects.create(key="climate", title="气候科学", description="气候变化的原因")
    Resource.objects.create(key="why", title="Why and because", description="Giving reasons")
    Resource.objects.create(key="rome", title="How empires fall")
    assert keys(search("气候变化"))[0] == "climate"
    assert keys(search("why do empires fall")) == ["rome"]
    assert keys(search("the empire is falling")) == ["rome"], "stems match, stop words do not count"
    assert keys(search("why")) == ["why"], "unless there is nothing else"


def test_a_word_that_its_stem_spells_otherwise_is_found_in_both_forms(hashing):
    Resource.objects.bulk_create(
        [Resource(key="one", title="A history of Spain"), Resource(key="many", title="Histories of Spain")]
    )
    everything = eligible(Audience("default"))
    found = {resource.pk: resource.key for resource in Resource.objects.all()}
    for query in ("history", "histories"):
        assert sorted(found[pk] for pk, _ in words(query, everything, 5)) == ["many", "one"]
