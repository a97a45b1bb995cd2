import pytest
from django.urls import reverse
from django.utils import timezone

from llmrec_django.models import EmbeddingClaim, VectorSpace

LIST = "admin:llmrec_django_vectorspace_changelist"
CLAIMS = "admin:llmrec_django_embeddingclaim_changelist"


@pytest.fixture
def second(space):
    return VectorSpace.objects.create(encoder="other", encoder_id="other@1", recipe="1", dimension=2)


def act(browser, page, name, *rows):
    data = {"action": name, "_selected_action": [row.pk for row in rows]}
    return browser.post(reverse(page), data, follow=True)


def statuses():
    return dict(VectorSpace.objects.values_list("encoder_id", "status"))


def test_the_list_counts_vectors(boss, space, make_resource, embed):
    embed(make_resource("a"), [1, 0, 0])
    embed(make_resource("b"), [0, 1, 0])
    [row] = boss.get(reverse(LIST)).context["cl"].result_list
    assert (row.count_vectors, row.count_failed) == (2, 0)


def test_the_page_of_a_space_says_how_it_is_searched(boss, space):
    content = boss.get(reverse("admin:llmrec_django_vectorspace_change", args=[space.pk])).content.decode()
    assert "every search is exact" in content


def test_activate_switches_and_says_what_is_missing(boss, space, second, make_resource):
    make_resource("a")
    response = act(boss, LIST, "activate", second)
    assert statuses() == {"test@1": "retired", "other@1": "active"}
    assert "1 resource has no vector" in response.content.decode()


def test_only_one_space_can_be_chosen_to_serve(boss, space, second):
    response = act(boss, LIST, "activate", space, second)
    assert "Choose one space" in response.content.decode()
    assert statuses() == {"test@1": "active", "other@1": "building"}


def test_retire_refuses_the_one_that_serves(boss, space, second):
    response = act(boss, LIST, "retire", space, second)
    assert "Cannot retire" in response.content.decode()
    assert statuses() == {"test@1": "active", "other@1": "retired"}


def test_retry_makes_pending_again(boss, space, make_resource):
    resource = make_resource("a")
    common = {"space": space, "content_hash": resource.content_hash, "token": "t", "lease_until": timezone.now()}
    failed = EmbeddingClaim.objects.create(resource=resource, state="failed", error="x", **common)
    working = EmbeddingClaim.objects.create(resource=make_resource("b"), state="working", **common)
    response = act(boss, CLAIMS, "retry", failed, working)
    assert "1 resource will be tried again" in response.content.decode()
    assert list(EmbeddingClaim.objects.all()) == [working]


@pytest.mark.parametrize("name", ["activate", "retire"])
def test_viewers_cannot_switch(staff_with, space, second, name):
    act(staff_with("view_vectorspace"), LIST, name, second)
    assert statuses() == {"test@1": "active", "other@1": "building"}


def test_who_may_change_spaces_may_switch(staff_with, space, second):
    act(staff_with("view_vectorspace", "change_vectorspace"), LIST, "activate", second)
    assert statuses()["other@1"] == "active"
