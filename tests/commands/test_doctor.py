import io
import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from llmrec_django.models import EmbeddingClaim, Resource, ResourceVector, VectorSpace
from llmrec_django.services import doctor, encoders, spaces
from llmrec_django.services.doctor import workers
from tests.testapp.models import Course

pytestmark = pytest.mark.django_db
HASHING = {"default": {"BACKEND": "llmrec_django.testing.HashingEncoder", "OPTIONS": {"dimension": 4}}}


@pytest.fixture(autouse=True)
def healthy(settings):
    """An installation without fault: no Celery, an encoder without a model."""

    def change(**options):
        settings.LLMREC = {"ENCODERS": HASHING, "CELERY": False, **options}

    change()
    return change


@pytest.fixture
def space(healthy):
    return spaces.space_for(encoders.document_encoder())


def examine():
    return {finding.name: finding for finding in doctor.examine()}


def embed(space, n=1):
    for number in range(n):
        resource = Resource.objects.create(key=f"r{number}", title="x")
        resource.refresh_from_db()
        ResourceVector.objects.create(
            resource=resource,
            space=space,
            vector=np.array([1, 0, 0, 0], dtype=np.float32),
            content_hash=resource.content_hash,
            text_hash="t",
        )


def break_index(space):
    spaces.ensure_index(space, force=True)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass(%s)", [space.index_name])


class TestFindings:
    def test_a_complete_installation_has_nothing_to_do(self, space, settings):
        settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "c"}}
        embed(space)
        findings = examine()
        assert {name for name, finding in findings.items() if finding.status != "ok"} == set()
        for name in ("database", "pgvector", "migrations", "vector spaces", "celery", "enabled", "sources"):
            assert name in findings or name == "sources"

    def test_an_empty_site_is_told_how_to_begin(self):
        findings = examine()
        assert "llmrec_embed" in findings["vector spaces"].todo
        assert "llmrec_import" in findings["resources"].todo

    def test_failed_and_pending_embeddings(self, space):
        embed(space)
        Resource.objects.create(key="new", title="x")
        name = f"embeddings in space {space.pk}"
        assert examine()[name].found == "1 done, 1 pending, 0 working, 0 failed, 0 empty"
        resource = Resource.objects.get(key="new")
        EmbeddingClaim.objects.create(
            resource=resource,
            space=space,
            state="failed",
            content_hash=resource.content_hash,
            token="t",
            lease_until=timezone.now(),
        )
        assert examine()[name].found == "1 done, 0 pending, 0 working, 1 failed, 0 empty"
        assert examine()[name].status == "warn"

    def test_a_changed_encoder_is_noticed(self, space, healthy):
        healthy(ENCODERS={"default": {**HASHING["default"], "OPTIONS": {"dimension": 8}}})
        finding = examine()["vector spaces"]
        assert finding.status == "warn"
        assert "llmrec_embed" in finding.todo

    def test_an_encoder_that_cannot_be_built_fails_without_stopping_the_rest(self, healthy):
        healthy(ENCODERS={"default": {"BACKEND": "no.such.Encoder"}})
        findings = examine()
        assert findings["encoder 'default'"].status == "fail"
        assert findings["check llmrec_django.E008"].status == "fail"
        assert findings["migrations"].status == "ok"

    def test_objects_that_are_not_synced(self, space):
        Course.objects.create(name="New")
        Resource.objects.all().delete()
        finding = examine()["source course"]
        assert (finding.status, finding.found) == ("warn", "1 objects, 0 resources")

    @pytest.mark.parametrize(("state", "status"), [(True, "ok"), (False, "warn"), ("shadow", "warn")])
    def test_whether_it_is_switched_on(self, healthy, state, status):
        healthy(ENABLED=state)
        assert examine()["enabled"].status == status

    def test_a_private_cache_is_a_warning(self):
        assert examine()["cache"].status == "warn"

    def test_an_examination_that_breaks_is_a_finding(self, monkeypatch):
        def broken():
            raise OSError("disk on fire")

        monkeypatch.setattr("llmrec_django.services.doctor.site.examine_cache", broken)
        assert examine()["cache"].found == "OSError: disk on fire"


@pytest.mark.django_db(transaction=True)
class TestIndexes:
    @pytest.fixture(autouse=True)
    def no_index(self, healthy):
        """Indexes are no rows: emptying the tables leaves them."""
        list(doctor.repair())
        yield
        VectorSpace.objects.all().delete()
        list(doctor.repair())

    def test_small_spaces_need_none(self, space):
        assert "not needed" in examine()[f"index of space {space.pk}"].found

    def test_a_missing_one_is_built(self, space, healthy):
        healthy(INDEX_MIN_VECTORS=2)
        embed(space, 2)
        assert examine()[f"index of space {space.pk}"].status == "warn"
        assert list(doctor.repair()) == [f"Index of space {space.pk} built."]
        assert examine()[f"index of space {space.pk}"].status == "ok"

    def test_a_broken_one_is_rebuilt(self, space, healthy):
        healthy(INDEX_MIN_VECTORS=1)
        embed(space)
        break_index(space)
        assert examine()[f"index of space {space.pk}"].status == "fail"
        assert list(doctor.repair()) == [f"Index of space {space.pk} rebuilt."]
        assert spaces.index_state(space) == "valid"

    def test_a_broken_one_of_a_small_space_is_dropped(self, space):
        embed(space)
        break_index(space)
        assert "too small" in "".join(doctor.repair())
        assert spaces.index_state(space) == "none"

    def test_one_whose_space_is_gone_is_dropped(self, space):
        spaces.ensure_index(space, force=True)
        VectorSpace.objects.all().delete()
        assert list(doctor.repair()) == [f"Index {space.index_name} dropped: its space is gone."]
        assert list(doctor.repair()) == []


class TestCelery:
    @pytest.fixture
    def broker(self, healthy):
        """Return a function that points Celery at a broker URL."""
        from celery import current_app

        healthy(CELERY=True)
        before = current_app.conf.broker_url

        def use(url):
            current_app.conf.broker_url = url
            current_app.pool.force_close_all()

        yield use
        use(before)

    def test_a_broker_that_refuses(self, broker):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            broker(f"redis://127.0.0.1:{free.getsockname()[1]}/0")
            finding = examine()["broker"]
        assert finding.status == "fail"

    def test_a_broker_that_accepts_and_never_answers(self, broker, monkeypatch):
        monkeypatch.setattr(workers, "PATIENCE_S", 0.5)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            broker(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
            finding = examine()["broker"]
        assert finding.status == "fail"

    def test_a_broker_without_workers(self, broker):
        broker("memory://")
        findings = examine()
        assert findings["broker"].status == "ok"
        assert findings["workers"].status == "warn"
        assert "llmrec.embed" in findings["workers"].todo

    def test_queues_that_nobody_reads(self):
        [finding] = workers._queues({"celery": ["worker1"], "llmrec.default": ["worker1"]}, "")
        assert finding.found == "nobody reads llmrec.embed, llmrec.train; workers read celery, llmrec.default"
        [finding] = workers._queues({"llmrec.embed": ["a", "b"], "llmrec.train": ["b"], "llmrec.default": ["a"]}, "")
        assert (finding.status, finding.found) == ("ok", "llmrec.default: 1; llmrec.embed: 2; llmrec.train: 1")

    def test_eager_tasks_are_a_warning(self, healthy):
        from celery import current_app

        healthy(CELERY=True)
        before = current_app.conf.task_always_eager
        current_app.conf.task_always_eager = True
        try:
            assert "llmrec_embed" in examine()["celery"].todo
        finally:
            current_app.conf.task_always_eager = before


class TestCommand:
    def test_it_prints_a_table_and_ends_well(self, space):
        embed(space)
        out = io.StringIO()
        call_command("llmrec_doctor", stdout=out, no_color=True)
        assert "ok    database" in out.getvalue()
        assert "→ Use a shared cache" in out.getvalue()

    def test_it_fails_when_something_fails(self, healthy):
        healthy(ENCODERS={"default": {"BACKEND": "no.such.Encoder"}})
        with pytest.raises(CommandError, match="examinations failed"):
            call_command("llmrec_doctor", stdout=io.StringIO())

    def test_json(self, space):
        out = io.StringIO()
        call_command("llmrec_doctor", "--json", stdout=out)
        first = json.loads(out.getvalue())[0]
        assert first["name"] == "database"
        assert set(first) == {"name", "status", "found", "todo"}

    def test_repair_says_what_it_did(self, space):
        break_index(space)
        out = io.StringIO()
        call_command("llmrec_doctor", "--repair", stdout=out)
        assert "dropped" in out.getvalue()

    @pytest.mark.hosts
    def test_on_sqlite_it_says_so_and_does_not_break(self, tmp_path):
        (tmp_path / "sqlite_settings.py").write_text(
            "from tests.settings import *\n"
            "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': ':memory:'}}\n"
            "LLMREC = {'CELERY': False}\n"
        )
        environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "sqlite_settings"}
        environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), *sys.path])
        done = subprocess.run(
            [sys.executable, "-m", "django", "llmrec_doctor", "--json"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        findings = {finding["name"]: finding for finding in json.loads(done.stdout)}
        assert findings["database"]["status"] == "fail"
        assert "SQLite" in findings["database"]["found"]
