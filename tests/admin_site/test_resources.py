import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse
from django.utils import timezone

from llmrec_django.models import (
    EmbeddingClaim,
    Interaction,
    LearnerProfile,
    Resource,
    ResourceVector,
)

LIST = "admin:llmrec_django_resource_changelist"


def act(browser, name, *resources):
    data = {"action": name, "_selected_action": [resource.pk for resource in resources]}
    return browser.post(reverse(LIST), data, follow=True)


def form_of(browser, resource=None):
    """Return the data that the open form would send."""
    name = "admin:llmrec_django_resource_change" if resource else "admin:llmrec_django_resource_add"
    response = browser.get(reverse(name, args=[resource.pk] if resource else []))
    form = response.context["adminform"].form
    data = {}
    for field in form:
        value = field.value()
        if isinstance(value, bool):
            if value:
                data[field.html_name] = "on"
        elif field.html_name.startswith("available_"):
            data[f"{field.html_name}_0"] = data[f"{field.html_name}_1"] = ""
        else:
            data[field.html_name] = "" if value is None else value
    for inline in response.context["inline_admin_formsets"]:
        for field in inline.formset.management_form:
            data[field.html_name] = field.value()
    return data


def claim(resource, space, state, error=""):
    return EmbeddingClaim.objects.create(
        resource=resource,
        space=space,
        state=state,
        content_hash=resource.content_hash,
        token="t",
        lease_until=timezone.now(),
        error=error,
    )


@pytest.fixture
def in_each_state(space, make_resource, embed):
    """One resource in each embedding state."""
    found = {name: make_resource(name) for name in ("done", "pending", "stale", "failed", "empty", "working")}
    embed(found["done"], [1, 0, 0])
    embed(found["stale"], [1, 0, 0])
    Resource.objects.filter(pk=found["stale"].pk).update(title="Changed since")
    claim(found["failed"], space, "failed", "Tokens <b>missing</b>")
    claim(found["empty"], space, "empty")
    claim(found["working"], space, "working")
    return found


class TestEmbeddingState:
    def test_the_list_says_what_became_of_each(self, boss, in_each_state):
        rows = boss.get(reverse(LIST)).context["cl"].result_list
        states = {row.key: row.embedding_state for row in rows}
        assert states == {
            "done": "done",
            "pending": "pending",
            "stale": "pending",
            "failed": "failed",
            "empty": "empty",
            "working": "working",
        }

    def test_an_error_is_shown_as_text(self, boss, in_each_state):
        content = boss.get(reverse(LIST)).content.decode()
        assert "Tokens &lt;b&gt;missing" in content

    def test_the_filter_keeps_one_state(self, boss, in_each_state):
        rows = boss.get(reverse(LIST), {"embedding": "pending"}).context["cl"].result_list
        assert {row.key for row in rows} == {"pending", "stale"}

    def test_another_space_does_not_count(self, boss, space, make_resource, embed):
        embed(make_resource("a"), [1, 0, 0])
        type(space).objects.update(status="building")
        [row] = boss.get(reverse(LIST)).context["cl"].result_list
        assert row.embedding_state == "pending"


class TestActions:
    def test_embed_again_makes_pending_and_keeps_the_vector(self, boss, in_each_state):
        response = act(boss, "embed_again", in_each_state["done"], in_each_state["failed"], in_each_state["working"])
        assert "3 resources will be embedded again" in response.content.decode()
        states = {row.key: row.embedding_state for row in response.context["cl"].result_list}
        assert states["done"] == "pending"
        assert states["failed"] == "pending"
        assert states["working"] == "working"  # a worker is on it
        assert ResourceVector.objects.filter(resource=in_each_state["done"]).exists()

    def test_unpublish_and_publish(self, boss, make_resource):
        one, two = make_resource("one"), make_resource("two")
        act(boss, "unpublish", one)
        assert list(Resource.objects.filter(published=False)) == [one]
        response = act(boss, "publish", one, two)
        assert "1 resource published" in response.content.decode()
        assert not Resource.objects.filter(published=False).exists()
        assert LogEntry.objects.filter(object_id=str(one.pk)).count() == 2

    @pytest.mark.parametrize("name", ["embed_again", "publish", "unpublish"])
    def test_viewers_cannot_act(self, staff_with, make_resource, embed, name):
        resource = make_resource("one", published=name != "publish")
        embed(resource, [1, 0, 0])
        browser = staff_with("view_resource")
        act(browser, name, resource)
        resource.refresh_from_db()
        assert resource.published is (name != "publish")
        assert ResourceVector.objects.get().content_hash == resource.content_hash

    def test_delete_takes_everything_along(self, boss, make_resource, embed):
        resource = make_resource("one")
        embed(resource, [1, 0, 0])
        learner = LearnerProfile.objects.create(visitor_key="v")
        for n in range(3):
            Interaction.objects.create(
                learner=learner, resource=resource, verb="viewed", occurred_at=timezone.now(), event_id=str(n)
            )
        address = reverse("admin:llmrec_django_resource_delete", args=[resource.pk])
        assert dict(boss.get(address).context["model_count"])["interactions"] == 3
        boss.post(address, {"post": "yes"})
        assert not Resource.objects.exists()
        assert not Interaction.objects.exists()

    def test_staff_may_delete_a_resource_with_activity(self, staff_with, make_resource, embed):
        resource = make_resource("one")
        embed(resource, [1, 0, 0])
        browser = staff_with("view_resource", "delete_resource")
        browser.post(reverse("admin:llmrec_django_resource_delete", args=[resource.pk]), {"post": "yes"})
        assert not Resource.objects.exists()


class TestForm:
    def test_add_with_lists_of_words(self, boss):
        data = form_of(boss) | {
            "key": "new",
            "title": "New",
            "keywords": "algebra, sets",
            "authors": "Doe, Jane; Roe, Max",
        }
        boss.post(reverse("admin:llmrec_django_resource_add"), data)
        resource = Resource.objects.get(key="new")
        assert resource.keywords == ["algebra", "sets"]
        assert resource.authors == ["Doe, Jane", "Roe, Max"]

    def test_saving_unchanged_changes_nothing(self, boss, make_resource):
        resource = make_resource("one", authors=["Doe, Jane"], keywords=["a", "b"], url="/one", extra={"x": 1})
        response = boss.post(
            reverse("admin:llmrec_django_resource_change", args=[resource.pk]), form_of(boss, resource)
        )
        assert response.status_code == 302
        stored = Resource.objects.get()
        for field in ("authors", "keywords", "url", "extra", "title", "content_hash", "published"):
            assert getattr(stored, field) == getattr(resource, field), field

    def test_the_key_of_a_stored_resource_stays(self, boss, make_resource):
        resource = make_resource("one")
        data = form_of(boss, resource) | {"key": "other", "title": "Renamed"}
        boss.post(reverse("admin:llmrec_django_resource_change", args=[resource.pk]), data)
        resource.refresh_from_db()
        assert (resource.key, resource.title) == ("one", "Renamed")

    @pytest.mark.parametrize("field", ["url", "image"])
    def test_an_address_that_would_run_is_refused(self, boss, make_resource, field):
        resource = make_resource("one")
        data = form_of(boss, resource) | {field: "javascript:alert(1)"}
        response = boss.post(reverse("admin:llmrec_django_resource_change", args=[resource.pk]), data)
        assert "must begin with http" in str(response.context["adminform"].form.errors[field])

    def test_translations_have_a_shape(self, boss, make_resource):
        resource = make_resource("one")
        data = form_of(boss, resource) | {"translations": '{"zh-hans": "标题"}'}
        response = boss.post(reverse("admin:llmrec_django_resource_change", args=[resource.pk]), data)
        assert response.context["adminform"].form.errors["translations"]


class TestSimilar:
    def test_the_change_page_links_to_the_nearest_with_scores(self, boss, make_resource, embed):
        one, near, far = make_resource("one"), make_resource("near"), make_resource("far")
        embed(one, [1, 0, 0])
        embed(near, [1, 0.1, 0])
        embed(far, [0.2, 1, 0])
        hidden = make_resource("hidden", published=False)
        embed(hidden, [1, 0, 0])
        address = reverse("admin:llmrec_django_resource_similar", args=[one.pk])
        assert address in boss.get(reverse("admin:llmrec_django_resource_change", args=[one.pk])).content.decode()
        response = boss.get(address)
        assert [item.resource.key for item in response.context["recommendations"]] == ["near", "far"]
        assert f"{response.context['recommendations'].items[0].score:.3f}" in response.content.decode()

    def test_without_vectors_it_says_so(self, boss, make_resource):
        response = boss.get(reverse("admin:llmrec_django_resource_similar", args=[make_resource("one").pk]))
        assert response.status_code == 200
        assert "pending" in response.content.decode()

    def test_it_needs_the_permission_to_view(self, staff_with, make_resource):
        address = reverse("admin:llmrec_django_resource_similar", args=[make_resource("one").pk])
        assert staff_with().get(address).status_code == 403

    def test_a_resource_that_is_gone_is_not_found(self, boss):
        assert boss.get(reverse("admin:llmrec_django_resource_similar", args=[999])).status_code == 404
