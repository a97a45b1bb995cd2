"""{% recommend %} and {% similar %}."""

import html
import logging
import re

import pytest
from django.contrib.auth import get_user
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.template import TemplateSyntaxError
from django.test.utils import CaptureQueriesContext
from django.utils import translation
from django.utils.functional import SimpleLazyObject

from llmrec_django import api
from llmrec_django.models import Placement, Resource
from llmrec_django.types import InteractionInput
from tests.testapp.models import Course

pytestmark = pytest.mark.django_db


def keys(text):
    return [html.unescape(key) for key in re.findall(r'data-llmrec-key="([^"]*)"', text)]


class TestRecommend:
    def test_a_stranger_sees_a_list_that_is_not_personal(self, render, request_of, catalogue):
        text = render("{% recommend k=3 %}", request=request_of())
        assert text.count("<li") == 3
        assert "<h2" in text
        assert "You may like" in text

    def test_a_learner_sees_their_own(self, render, request_of, member, catalogue):
        api.record(api.get_learner(member), InteractionInput("completed", "ml"))
        text = render("{% recommend k=1 %}", request=request_of(member))
        assert keys(text) == ["dl"]
        assert 'href="/dl/"' in text
        assert "Recommended for you" in text

    def test_options(self, render, request_of, catalogue):
        Placement.objects.create(name="home", title="Next for you", size=1)
        text = render('{% recommend placement="home" %}', request=request_of())
        assert text.count("<li") == 1
        assert "Next for you" in text
        assert 'data-llmrec-placement="home"' in text
        assert "Mine" in render('{% recommend placement="home" heading="Mine" %}', request=request_of())
        assert "<h2" not in render('{% recommend heading="" %}', request=request_of())
        books = render('{% recommend kinds="book, paper" %}', request=request_of())
        assert "Bread" in books
        assert "Deep learning" not in books
        assert render("{% recommend kinds=kinds %}", request=request_of(), kinds=["book"]) == render(
            '{% recommend kinds="book" %}', request=request_of()
        )

    def test_as_keeps_the_list_and_shows_nothing(self, render, request_of, catalogue):
        text = render(
            "{% recommend k=2 as items %}"
            "[{% for item in items %}{{ item.rank }} {{ item.resource.title }};{% endfor %}]",
            request=request_of(),
        )
        assert re.fullmatch(r"\[1 [\w ]+;2 [\w ]+;\]", text)

    def test_titles_follow_the_active_language(self, render, request_of, db):
        Resource.objects.create(key="a", title="Algebra", translations={"zh-hans": {"title": "代数"}})
        with translation.override("zh-hans"):
            assert "代数" in render("{% recommend %}", request=request_of())

    def test_an_empty_list_shows_nothing(self, render, request_of, db):
        assert render("{% recommend %}", request=request_of()) == ""

    @pytest.mark.parametrize("enabled", [False, "shadow"])
    def test_switched_off_or_in_shadow_nothing_is_shown(self, render, request_of, catalogue, llmrec, enabled):
        llmrec(ENABLED=enabled)
        assert render("{% recommend %}{% similar 'ml' %}", request=request_of()) == ""

    def test_text_and_addresses_are_escaped(self, render, request_of, db):
        evil = '"><script>alert(1)</script>'
        Resource.objects.create(
            key=evil, title=evil, description=evil, kind=evil[:32], level="", url='/x"onclick="alert(1)'
        )
        Resource.objects.create(key="js", title="js", url="JavaScript:alert(1)")
        Placement.objects.create(name="home", title=evil)
        text = render('{% recommend placement="home" %}', request=request_of())
        assert "<script" not in text
        assert "javascript:" not in text.lower()
        assert 'onclick="' not in text
        assert keys(text) == [evil]

    def test_no_inline_style_or_script(self, render, request_of, catalogue):
        text = render("{% recommend %}", request=request_of())
        assert not re.search(r"style=|<style|<script| on\w+=", text)


class TestSimilar:
    def test_to_a_resource_or_its_key(self, render, request_of, catalogue):
        by_key = render("{% similar 'ml' k=1 %}", request=request_of())
        assert keys(by_key) == ["dl"]
        assert by_key == render("{% similar resource k=1 %}", request=request_of(), resource=catalogue["ml"])

    def test_to_an_object_of_the_host(self, render, request_of, catalogue):
        course = Course.objects.create(name="Machine learning", summary="models trained on data")
        content_type = ContentType.objects.get_for_model(Course)
        Resource.objects.update_or_create(
            content_type=content_type, object_id=str(course.pk), defaults={"key": "x", "title": "Machine learning"}
        )
        assert "Machine learning" in render("{% similar course k=1 %}", request=request_of(), course=course)

    @pytest.mark.parametrize("target", [None, "", "nowhere", 7, object(), Course()])
    def test_to_something_that_is_no_resource_shows_nothing(self, render, request_of, catalogue, target, caplog):
        assert render("{% similar target %}", request=request_of(), target=target) == ""
        assert not caplog.records


class TestTrouble:
    @pytest.mark.parametrize("tag", ["{% recommend %}", "{% similar 'ml' %}"])
    def test_without_a_request_the_list_is_nobodys(self, render, catalogue, tag):
        assert "<li" in render(tag)

    def test_without_user_and_session_too(self, render, rf, catalogue):
        request = rf.get("/")
        assert "<li" in render("{% recommend %}", request=request)
        # As the authentication middleware leaves it where the session middleware did not run.
        request.user = SimpleLazyObject(lambda: get_user(request))
        assert "<li" in render("{% recommend %}", request=request)

    @pytest.mark.parametrize("tag", ["{% recommend k='ten' %}", "{% recommend %}", "{% similar 'ml' %}"])
    def test_errors_show_nothing_and_are_logged_once(self, render, request_of, catalogue, tag, caplog, monkeypatch):
        def fail(*args, **options):
            with connection.cursor() as cursor:
                cursor.execute("SELECT no_such_column")

        monkeypatch.setattr(api, "recommend", fail)
        monkeypatch.setattr(api, "similar", fail)
        with caplog.at_level(logging.ERROR):
            assert render(f"a{tag}b{tag}c", request=request_of()) == "abc"
        assert len(caplog.records) == 1
        # The host's transaction lives on.
        assert Resource.objects.exists()

    def test_a_template_of_the_host_that_fails_shows_nothing(self, render, request_of, catalogue, caplog):
        assert render("{% recommend template='nowhere.html' %}", request=request_of()) == ""
        assert len(caplog.records) == 1

    def test_in_trouble_a_variable_is_an_empty_list(self, render, request_of, catalogue, monkeypatch):
        monkeypatch.setattr(api, "recommend", None)
        text = render("{% recommend as items %}{% for i in items %}x{% empty %}none{% endfor %}", request=request_of())
        assert text == "none"

    @pytest.mark.parametrize(
        "tag",
        ["{% recommend 5 %}", "{% recommend size=5 %}", "{% similar %}", "{% similar k=5 %}", "{% similar a lazy=1 %}"],
    )
    def test_a_misspelt_option_is_an_error_of_the_template(self, render, tag):
        with pytest.raises(TemplateSyntaxError):
            render(tag)


@pytest.mark.parametrize("tag", ["{{% recommend placement='home' k={} %}}", "{{% similar 'r0' k={} %}}"])
def test_the_number_of_queries_does_not_grow_with_the_list(render, request_of, member, tag):
    Resource.objects.bulk_create(
        [Resource(key=f"r{i}", title=f"word {i}", translations={"en": {"title": "x"}}) for i in range(60)]
    )
    render(tag.format(1), request=request_of(member))
    counts = []
    for k in (1, 50):
        with CaptureQueriesContext(connection) as queries:
            assert render(tag.format(k), request=request_of(member)).count("<li") == k
        counts.append(len(queries))
    assert counts[0] == counts[1]
    assert counts[0] <= 20
