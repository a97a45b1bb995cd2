"""Run by `manage.py test` of this host: all works by commands, with nothing optional installed."""

import csv
import importlib.util
import io
import json
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import TestCase
from django.utils import timezone

from llmrec_django import api
from llmrec_django.conf import conf
from llmrec_django.models import Interaction, LearnerProfile, Resource, ResourceVector, VectorSpace
from llmrec_django.services import nudge
from llmrec_django.types import InteractionInput
from tests.hosts.school.models import Course, Enrolment

User = get_user_model()
COURSES = [
    ("Linear algebra", "Vectors, matrices and linear maps."),
    ("Matrix methods", "Matrices and vectors in practice: linear systems."),
    ("Impressionism", "Monet, Renoir and the painting of light."),
    ("Portrait painting", "Painting faces in oil, after Renoir."),
]


def command(name, *arguments):
    out = io.StringIO()
    call_command(name, *arguments, stdout=out, stderr=out)
    return out.getvalue()


class WithoutExtrasTests(TestCase):
    def setUp(self):
        for title, summary in COURSES:
            Course.objects.create(title=title, summary=summary)
        self.ann = User.objects.create_user("ann")
        Enrolment.objects.create(course=Course.objects.get(title="Linear algebra"), user=self.ann)

    def test_the_packages_are_absent(self):
        for name in ("celery", "rest_framework", "torch", "transformers", "onnxruntime", "tokenizers"):
            assert importlib.util.find_spec(name) is None, name
            with self.assertRaises(ModuleNotFoundError):  # noqa: PT027
                __import__(name)
        assert "llmrec_django.tasks" not in sys.modules

    def test_saving_asks_nobody_and_logs_nothing(self):
        with self.assertNoLogs("llmrec_django"), self.captureOnCommitCallbacks(execute=True):
            Course.objects.create(title="Sculpture")
        assert nudge.publish() is True

    def test_commands_do_everything(self):
        Resource.objects.all().delete()
        command("llmrec_sync")
        assert Resource.objects.count() == len(COURSES)
        assert Interaction.objects.get().verb == "enrolled"
        assert f"Embedded {len(COURSES)} resources" in command("llmrec_embed")
        assert ResourceVector.objects.count() == len(COURSES)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "run.csv")
            command("llmrec_recommend", "-k", "3", "--output", str(path))
            rows = list(csv.DictReader(path.open(encoding="utf-8")))
        assert [row["rank"] for row in rows] == ["1", "2", "3"]
        first = Resource.objects.get(key=rows[0]["item_id"])
        assert first.title == "Matrix methods"
        assert json.loads(command("llmrec_export", "--user", "ann"))[0]["interactions"]
        command("llmrec_forget", "--user", "ann")
        assert not LearnerProfile.objects.exists()
        command("llmrec_prune")

    def test_a_space_retired_long_ago_is_deleted_without_a_worker(self):
        command("llmrec_embed")
        old = VectorSpace.objects.create(
            encoder="gone", encoder_id="gone", recipe="1", dimension=3, status=VectorSpace.Status.RETIRED,
            retired_at=timezone.now() - timedelta(days=conf.RETIRED_SPACE_DAYS + 1),
        )  # fmt: skip
        assert "Retired vector spaces deleted: 1." in command("llmrec_embed")
        assert not VectorSpace.objects.filter(pk=old.pk).exists()

    def test_pages_show_lists(self):
        command("llmrec_embed")
        self.client.force_login(self.ann)
        home = self.client.get("/")
        self.assertContains(home, "Matrix methods")
        self.assertNotContains(home, ">Linear algebra<")
        course = self.client.get(Course.objects.get(title="Impressionism").get_absolute_url())
        self.assertContains(course, "Portrait painting")
        self.assertContains(course, "<llmrec-beacon")
        event = {"verb": "viewed", "key": Resource.objects.get(title="Impressionism").key}
        assert self.client.post("/llmrec/events/", event).status_code == 204
        assert Interaction.objects.filter(verb="viewed").count() == 1

    def test_search_and_activity_work_in_python(self):
        command("llmrec_embed")
        found = [item.resource.title for item in api.search("oil painting of faces")]
        assert found[0] == "Portrait painting"
        learner = api.get_learner(self.ann)
        row, is_new = api.record(learner, InteractionInput("viewed", api.search("Monet").items[0].resource.key))
        assert is_new
        assert row.resource.title == "Impressionism"

    def test_the_admin_opens(self):
        self.client.force_login(User.objects.create_superuser("root"))
        for name in ("resource", "learnerprofile", "interaction", "vectorspace", "placement"):
            assert self.client.get(f"/admin/llmrec_django/{name}/").status_code == 200, name
        resource = Resource.objects.first()
        assert self.client.get(f"/admin/llmrec_django/resource/{resource.pk}/change/").status_code == 200
