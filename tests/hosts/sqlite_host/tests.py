"""Run by `manage.py test` of this host: the app is there, and harmless."""

import io
import json
import tempfile
from contextlib import contextmanager
from pathlib import Path

from django.apps import apps
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import TestCase, TransactionTestCase

from llmrec_django import api
from llmrec_django.models import LearnerProfile, Resource
from llmrec_django.services.learners import merge_visitor
from llmrec_django.types import InteractionInput
from tests.hosts.school.models import Course, Enrolment

MODELS = list(apps.get_app_config("llmrec_django").get_models())
User = get_user_model()


def command(name, *arguments):
    out = io.StringIO()
    call_command(name, *arguments, stdout=out, stderr=out)
    return out.getvalue()


class DatabaseTests(TestCase):
    def test_it_is_sqlite_without_tables_of_the_app(self):
        assert connection.vendor == "sqlite"
        assert not [name for name in connection.introspection.table_names() if name.startswith("llmrec")]

    def test_registered_models_are_saved_changed_and_deleted(self):
        course = Course.objects.create(title="Algebra")
        Enrolment.objects.create(course=course, user=User.objects.create_user("ann"))
        course.title = "Geometry"
        course.save()
        Course.objects.update(title="Topology")
        course.delete()
        assert not Course.objects.exists()
        assert not Enrolment.objects.exists()

    def test_accounts_are_deleted_one_by_one_and_in_bulk(self):
        ann = User.objects.create_user("ann")
        Enrolment.objects.create(course=Course.objects.create(title="Algebra"), user=ann)
        User.objects.create_user("bob")
        ann.delete()
        User.objects.all().delete()
        assert not User.objects.exists()

    def test_a_content_type_is_deleted(self):
        stale = ContentType.objects.create(app_label="gone", model="thing")
        stale.delete()
        ContentType.objects.create(app_label="gone", model="other")
        command("remove_stale_contenttypes", "--no-input", "--include-stale-apps")
        assert not ContentType.objects.filter(app_label="gone").exists()

    def test_models_of_the_app_read_as_empty(self):
        for model in MODELS:
            assert list(model.objects.all()) == []
            assert model.objects.count() == 0
            assert model._base_manager.all().none().count() == 0

    def test_the_site_dumps_and_loads_its_data(self):
        Course.objects.create(title="Algebra")
        User.objects.create_user("ann")
        dumped = command("dumpdata")
        assert "llmrec_django" not in {row["model"].partition(".")[0] for row in json.loads(dumped)}
        Course.objects.all().delete()
        fixture = self.enterContext(_file(dumped))
        command("loaddata", fixture)
        assert Course.objects.get().title == "Algebra"


class PageTests(TestCase):
    def test_pages_with_tags_are_whole(self):
        course = Course.objects.create(title="Algebra")
        self.client.force_login(User.objects.create_user("ann"))
        for address in ("/", course.get_absolute_url()):
            page = self.client.get(address)
            self.assertContains(page, "<h1>")
            self.assertNotContains(page, "llmrec-item")

    def test_the_lazy_list_and_the_beacon_answer(self):
        self.client.force_login(User.objects.create_user("ann"))
        page = self.client.get("/").content.decode()
        address = page.partition('<llmrec-list src="')[2].partition('"')[0]
        answer = self.client.get(address)
        assert (answer.status_code, answer.content) == (200, b"")
        assert self.client.get("/llmrec/token/").status_code == 200
        assert self.client.post("/llmrec/events/", {"verb": "viewed", "key": "course:1"}).status_code == 204

    def test_somebody_logs_in_who_was_a_visitor(self):
        ann = User.objects.create_user("ann", password="secret")
        with self.settings(LLMREC={"VISITOR_COOKIE": "visitor"}):
            self.client.cookies["visitor"] = "x" * 32
            assert self.client.login(username="ann", password="secret")
        assert merge_visitor("x" * 32, ann).pk is None


class ApiTests(TestCase):
    def test_lists_are_empty(self):
        self.client.force_login(User.objects.create_user("ann"))
        for address in ("resources/", "search/?q=algebra", "recommendations/"):
            answer = self.client.get(f"/api/v1/{address}")
            assert answer.status_code == 200, (address, answer.content)
            assert answer.json()["items"] == []

    def test_a_resource_is_not_found(self):
        for address in ("resources/course:1/", "resources/course:1/similar/"):
            assert self.client.get(f"/api/v1/{address}").status_code == 404

    def test_the_profile_and_what_is_sent_fail_in_words_or_keep_nothing(self):
        self.client.force_login(User.objects.create_user("ann"))
        requests = [
            self.client.get("/api/v1/profile/"),
            self.client.get("/api/v1/profile/export/"),
            self.client.patch("/api/v1/profile/", {"goals": "sums"}, content_type="application/json"),
            self.client.delete("/api/v1/profile/"),
            self.client.post(
                "/api/v1/interactions/", {"verb": "viewed", "resource_key": "c:1"}, content_type="application/json"
            ),
        ]
        for answer in requests:
            assert answer.status_code in (200, 204, 503), (answer.request, answer.content)
            if answer.status_code == 503:
                assert answer.json()["code"] == "unavailable"

    def test_the_python_api_gives_nothing_and_keeps_nothing(self):
        ann = User.objects.create_user("ann")
        learner = api.get_learner(ann)
        assert api.find_learner(ann) is None
        assert len(api.recommend(learner)) == 0
        assert len(api.search("algebra")) == 0
        assert len(api.similar(Resource(title="Algebra"))) == 0
        assert api.record(learner, InteractionInput("viewed", "course:1")) == (None, False)
        assert api.record_many(learner, [InteractionInput("viewed", "course:1")]) == 0


class AdminTests(TestCase):
    def setUp(self):
        self.client.force_login(User.objects.create_superuser("root"))

    def test_the_index_and_every_list_open(self):
        assert self.client.get("/admin/").status_code == 200
        assert self.client.get("/admin/llmrec_django/").status_code == 200
        registered = [model for model in MODELS if admin.site.is_registered(model)]
        assert registered
        for model in registered:
            name = model._meta.model_name
            for query in ("", "?q=algebra"):
                page = self.client.get(f"/admin/llmrec_django/{name}/{query}")
                assert page.status_code == 200, (name, query)
            assert self.client.get(f"/admin/llmrec_django/{name}/add/").status_code == 403, name
            assert self.client.get(f"/admin/llmrec_django/{name}/1/change/").status_code == 302, name

    def test_accounts_are_deleted_in_the_admin(self):
        ann, bob = User.objects.create_user("ann"), User.objects.create_user("bob")
        assert self.client.get(f"/admin/auth/user/{ann.pk}/delete/").status_code == 200
        assert self.client.post(f"/admin/auth/user/{ann.pk}/delete/", {"post": "yes"}).status_code == 302
        chosen = {"action": "delete_selected", "_selected_action": [bob.pk], "post": "yes"}
        assert self.client.post("/admin/auth/user/", chosen).status_code == 302
        assert list(User.objects.values_list("username", flat=True)) == ["root"]


class CommandTests(TestCase):
    def test_what_cannot_be_done_is_said_in_words(self):
        path = self.enterContext(_file("item_id,title\n1,Algebra\n", suffix=".csv"))
        User.objects.create_user("ann")
        for name, *arguments in (
            ["llmrec_sync"],
            ["llmrec_embed"],
            ["llmrec_recommend"],
            ["llmrec_import", "resources", path],
            ["llmrec_import", "interactions", path],
            ["llmrec_doctor"],
        ):
            with self.assertRaises(CommandError, msg=name) as caught:  # noqa: PT027
                command(name, *arguments)
            assert "no such table" not in str(caught.exception), name

    def test_what_there_is_nothing_of_is_handed_out_and_forgotten(self):
        User.objects.create_user("ann")
        assert json.loads(command("llmrec_export", "--user", "ann")) == []
        assert "Nothing is held" in command("llmrec_forget", "--user", "ann")
        command("llmrec_prune")


class FlushTests(TransactionTestCase):
    """With `serialized_rollback`, as hosts have it that keep migrated data: the whole database is serialised."""

    serialized_rollback = True

    def test_the_database_is_flushed(self):
        Course.objects.create(title="Algebra")
        command("flush", "--no-input")
        assert not Course.objects.exists()
        assert not LearnerProfile.objects.exists()

    def test_what_the_migrations_made_is_back(self):
        assert ContentType.objects.exists()


@contextmanager
def _file(text, suffix=".json"):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"file{suffix}")
        path.write_text(text, encoding="utf-8")
        yield str(path)
