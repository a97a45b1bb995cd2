"""The catalogue, similar resources, search and recommendations."""

import logging
from urllib.parse import quote

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from llmrec_django import api
from llmrec_django.models import Interaction, Placement, Resource
from llmrec_django.types import InteractionInput

pytestmark = pytest.mark.django_db


def keys(response):
    return [item.get("resource", item)["key"] for item in response.json()["items"]]


def url_of(key, tail=""):
    return f"/api/v1/resources/{quote(key, safe='')}/{tail}"


PUBLIC_LAST_FIRST = ["数学/入门 100%?#", "course:42", "cook", "stat", "dl", "ml"]


class TestCatalogue:
    def test_lists_what_is_public_last_added_first(self, client, catalogue):
        response = client.get("/api/v1/resources/")
        assert keys(response) == PUBLIC_LAST_FIRST
        assert response.json()["next"] is None

    def test_pages_meet_without_gap_or_overlap(self, client, catalogue):
        seen, url = [], "/api/v1/resources/?page_size=4&kind=course&kind=book"
        pages = 0
        while url:
            response = client.get(url)
            seen += keys(response)
            url = response.json()["next"]
            pages += 1
        assert seen == PUBLIC_LAST_FIRST
        assert pages == 2

    def test_a_full_last_page_has_no_next(self, client, catalogue):
        assert client.get("/api/v1/resources/?page_size=6").json()["next"] is None

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("kind=book", {"cook", "stat"}),
            ("level=advanced", {"dl"}),
            ("level=advanced&level=beginner", {"dl", "course:42"}),
            ("language=fr&kind=book", {"cook"}),
            ("kind=nothing", set()),
            ("unknown=1", set(PUBLIC_LAST_FIRST)),
        ],
    )
    def test_filters(self, client, catalogue, query, expected):
        assert set(keys(client.get(f"/api/v1/resources/?{query}"))) == expected

    def test_every_field_of_a_resource(self, client, catalogue):
        assert client.get(url_of("course:42")).json() == {
            "key": "course:42",
            "title": "Algebra",
            "description": "groups",
            "kind": "course",
            "url": "",
            "image": "",
            "level": "beginner",
            "language": "en",
            "duration_minutes": 90,
            "authors": ["E. Noether"],
            "keywords": ["maths"],
        }

    def test_titles_follow_the_language_of_the_request(self, client, catalogue):
        response = client.get(url_of("course:42"), headers={"Accept-Language": "zh-hans"})
        assert (response.json()["title"], response.json()["description"]) == ("代数", "群")

    @pytest.mark.parametrize("key", ["数学/入门 100%?#", "course:42"])
    def test_keys_with_any_character_are_found_when_percent_encoded(self, client, catalogue, key):
        assert client.get(url_of(key)).json()["key"] == key
        assert client.get(url_of(key, "similar/")).status_code == 200

    @pytest.mark.parametrize("key", ["draft", "elsewhere", "nowhere", "\n", "' OR 1=1 --", "a" * 3000])
    def test_hidden_and_unknown_resources_are_both_not_found(self, client, catalogue, key):
        for tail in ("", "similar/"):
            response = client.get(url_of(key, tail))
            assert response.status_code == 404
            assert response.json()["code"] == "unknown_resource"

    def test_nul_in_a_key_is_not_found(self, client, db):
        assert client.get("/api/v1/resources/a%00b/").status_code == 404

    def test_the_sources_rights_decide(self, client, signed_in, members_only):
        for url in ("/api/v1/resources/", "/api/v1/search/?q=secret", "/api/v1/recommendations/"):
            assert keys(client.get(url)) == [], url
            assert keys(signed_in.get(url)) == ["secret"], url
        assert client.get(url_of("secret")).status_code == 404
        assert signed_in.get(url_of("secret")).status_code == 200

    def test_odd_values_in_list_columns_and_addresses_come_out_harmless(self, client, db):
        Resource.objects.create(
            key="odd",
            title="<script>alert(1)</script>",
            authors={"name": "x"},
            keywords=[1, None, {"a": 1}],
            url="java\nscript:alert(1)",
            image="data:text/html,x",
        )
        body = client.get(url_of("odd")).json()
        assert body["authors"] == []
        assert body["keywords"] == ["1", "{'a': 1}"]
        assert (body["url"], body["image"]) == ("", "")
        assert body["title"] == "<script>alert(1)</script>"


class TestSimilarAndSearch:
    def test_similar_is_ranked_and_leaves_itself_out(self, client, catalogue):
        response = client.get(url_of("ml", "similar/?k=3"))
        body = response.json()
        assert body["enabled"] is True
        assert [item["rank"] for item in body["items"]] == [1, 2, 3]
        assert keys(response)[0] == "dl"
        assert "ml" not in keys(response)
        assert {item["source"] for item in body["items"]} == {"similar"}

    def test_similar_takes_filters(self, client, catalogue):
        assert set(keys(client.get(url_of("ml", "similar/?kind=book&language=fr")))) == {"cook"}

    def test_search_finds_by_words(self, client, catalogue):
        response = client.get("/api/v1/search/", {"q": "statistics"})
        assert keys(response)[0] == "stat"
        assert set(response.json()) == {"enabled", "items"}

    def test_search_finds_chinese(self, client, catalogue):
        assert keys(client.get("/api/v1/search/", {"q": "代数"}))[0] == "course:42"

    @pytest.mark.parametrize("q", ["", "   ", "a\x00b", "x" * 501])
    def test_search_refuses_what_it_cannot_look_for(self, client, db, q):
        response = client.get("/api/v1/search/", {"q": q})
        assert response.status_code == 400
        assert response.json()["errors"][0]["field"] == "q"


class TestRecommendations:
    def test_a_stranger_gets_a_list_that_is_not_personal(self, client, catalogue):
        body = client.get("/api/v1/recommendations/?k=4").json()
        assert len(body["items"]) == 4
        assert body["is_personal"] is False
        assert body["fallback"] == "newest"
        assert body["placement"] == ""

    def test_a_learner_gets_their_own(self, signed_in, member, catalogue):
        api.record(api.get_learner(member), InteractionInput("completed", "ml"))
        response = signed_in.get("/api/v1/recommendations/?k=2")
        assert response.json()["is_personal"] is True
        assert keys(response)[0] == "dl"

    def test_a_visitor_gets_their_own(self, visitor, catalogue):
        visitor.post("/api/v1/interactions/", {"verb": "bookmarked", "resource_key": "ml"}, format="json")
        assert visitor.get("/api/v1/recommendations/").json()["is_personal"] is True

    def test_a_placement_decides_the_size(self, client, catalogue):
        Placement.objects.create(name="home", size=2)
        body = client.get("/api/v1/recommendations/?placement=home").json()
        assert body["placement"] == "home"
        assert len(body["items"]) == 2

    def test_an_unknown_placement_is_named(self, client, catalogue):
        Placement.objects.create(name="elsewhere", tenant="other")
        response = client.get("/api/v1/recommendations/?placement=elsewhere")
        assert response.status_code == 400
        assert response.json()["errors"] == [
            {"field": "placement", "code": "unknown_placement", "detail": "No placement is named 'elsewhere'."}
        ]


@pytest.mark.parametrize(
    "url",
    [
        "/api/v1/recommendations/?k=0",
        "/api/v1/recommendations/?k=101",
        "/api/v1/recommendations/?k=ten",
        "/api/v1/recommendations/?k=1e3",
        "/api/v1/recommendations/?k=" + "9" * 5000,
        "/api/v1/recommendations/?placement=a%20b",
        "/api/v1/recommendations/?kind=" + "x" * 36,
        "/api/v1/recommendations/?kind=a%00",
        "/api/v1/recommendations/?" + "&".join(f"kind={i}" for i in range(21)),
        "/api/v1/resources/?cursor=!",
        "/api/v1/resources/?cursor=zzzzzzzzzzzzz",
        "/api/v1/resources/?cursor=-1",
        "/api/v1/resources/?page_size=1000",
        "/api/v1/resources/?level=expert",
    ],
)
def test_parameters_out_of_range_are_a_400_that_names_them(client, db, url):
    response = client.get(url)
    assert response.status_code == 400
    body = response.json()
    assert body["code"] == "invalid"
    assert body["errors"][0]["field"] == url.split("?")[1].split("=")[0]


READS = [
    "/api/v1/resources/",
    "/api/v1/resources/ml/",
    "/api/v1/resources/ml/similar/",
    "/api/v1/search/?q=learning",
    "/api/v1/recommendations/",
]


@pytest.mark.parametrize(
    "url", [*READS, "/api/v1/profile/", "/api/v1/resources/nowhere/", "/api/v1/resources/?level=x"]
)
def test_no_cache_may_keep_an_answer(client, catalogue, url):
    response = client.get(url)
    assert response["Cache-Control"] == "private, no-store"
    assert {"Cookie", "Authorization", "Accept-Language"} <= {name.strip() for name in response["Vary"].split(",")}


class TestSwitch:
    @pytest.mark.parametrize("enabled", [False, "shadow"])
    @pytest.mark.parametrize("url", READS[2:])
    def test_switched_off_or_in_shadow_lists_are_empty(self, client, catalogue, llmrec, enabled, url):
        llmrec(ENABLED=enabled)
        response = client.get(url)
        assert response.status_code == 200
        assert response.json()["items"] == []
        assert response.json()["enabled"] is False

    def test_activity_is_recorded_while_switched_off(self, signed_in, catalogue, llmrec):
        llmrec(ENABLED=False)
        response = signed_in.post("/api/v1/interactions/", {"verb": "viewed", "resource_key": "ml"}, format="json")
        assert response.status_code == 201
        assert Interaction.objects.count() == 1


@pytest.mark.parametrize("url", READS[2:])
def test_a_failing_recommender_gives_an_empty_list_and_a_log(client, catalogue, llmrec, url, caplog, monkeypatch):
    def fail(*args, **options):
        with connection.cursor() as cursor:
            cursor.execute("SELECT no_such_column")

    for name in ("recommend", "similar", "search"):
        monkeypatch.setattr(api, name, fail)
    monkeypatch.setattr("llmrec_django.web.guard._logged", {})
    with caplog.at_level(logging.ERROR):
        response = client.get(url)
    assert response.status_code == 200
    assert response.json()["items"] == []
    assert "no_such_column" in caplog.text
    # The transaction around the request lives on.
    assert Resource.objects.exists()


@pytest.mark.parametrize(
    "url", ["/api/v1/resources/?page_size={}", "/api/v1/recommendations/?k={}", "/api/v1/search/?q=word&k={}"]
)
def test_the_number_of_queries_does_not_grow_with_the_list(signed_in, db, url):
    Resource.objects.bulk_create(
        [
            Resource(key=f"r{i}", title=f"word {i}", description="text", translations={"en": {"title": "x"}})
            for i in range(60)
        ]
    )
    signed_in.get(url.format(1))
    counts = []
    for k in (1, 50):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert len(signed_in.get(url.format(k)).json()["items"]) == k
        counts.append(len(queries))
    assert counts[0] == counts[1]
    assert counts[0] <= 20
