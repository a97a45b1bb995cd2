"""The health check: what it finds with files that are really damaged, and whom it tells."""

import socket

import numpy as np
import pytest
from django.core.cache import cache
from django.db import DatabaseError, connection
from django.urls import reverse
from django.utils import timezone

from llmrec_django.models import EvaluationRecord, ModelVersion, Resource, VectorSpace
from llmrec_django.services import artifacts, health, nudge, training
from llmrec_django.services import scorer as scorer_module
from llmrec_django.services.reasons import Reason
from tests.testapp.models import Member

pytestmark = pytest.mark.django_db
ADDRESS = "/llmrec/health/"


@pytest.fixture(autouse=True)
def _fresh():
    cache.clear()
    health.forget()
    scorer_module.forget()
    yield
    health.forget()
    scorer_module.forget()


def look():
    """Look anew, and return what was found by name."""
    health._held.clear()
    return {check.name: check for check in health.health().checks}


class TestAnswer:
    def test_everybody_is_told_the_status_and_nothing_else(self, client):
        response = client.get(ADDRESS)
        assert (response.status_code, response.json()) == (200, {"status": "ok"})
        assert "no-cache" in response["Cache-Control"]
        assert reverse("llmrec_web:health") == ADDRESS

    def test_staff_are_told_what_was_found(self, client):
        client.force_login(Member.objects.create_user("staff@example.org", "secret", is_staff=True))
        assert [check["name"] for check in client.get(ADDRESS).json()["checks"]] == ["database", "broker"]

    def test_learners_are_not(self, client):
        client.force_login(Member.objects.create_user("ada@example.org", "secret"))
        assert "checks" not in client.get(ADDRESS).json()

    def test_who_has_the_token_is_told_what_was_found(self, client, settings):
        settings.LLMREC = {"CELERY": False, "HEALTH_TOKEN": "long and secret"}
        for given, told in (
            ("Bearer long and secret", True),
            ("Bearer wrong", False),
            ("Bearer ", False),
            ("x", False),
        ):
            assert ("checks" in client.get(ADDRESS, headers={"authorization": given}).json()) is told, given

    def test_without_a_token_no_token_opens_it(self, client):
        for given in ("Bearer ", "Bearer None"):
            assert "checks" not in client.get(ADDRESS, headers={"authorization": given}).json()

    def test_nothing_can_be_sent_to_it(self, client):
        assert client.post(ADDRESS).status_code == 405
        assert client.head(ADDRESS).status_code == 200

    def test_it_is_looked_at_once_however_often_it_is_asked(self, client, django_assert_num_queries):
        client.get(ADDRESS)
        with django_assert_num_queries(0):
            client.get(ADDRESS)

    def test_without_the_database_it_says_so(self, client, monkeypatch):
        class Gone:
            vendor = "postgresql"

            def cursor(self):
                raise DatabaseError("connection to server at 10.0.0.7 refused")

        monkeypatch.setattr(health, "connections", {"default": Gone()})
        response = client.get(ADDRESS)
        assert (response.status_code, response.json()) == (503, {"status": "failed"})
        assert "10.0.0.7" not in response.content.decode()
        assert list(look()) == ["database", "broker"], "nothing else is asked"

    def test_a_check_that_breaks_is_a_finding(self, client, monkeypatch):
        def broken():
            raise ValueError("no such thing")
            yield

        monkeypatch.setattr(health, "_backlog", broken)
        assert look()["backlog"].status == "degraded"


class TestQualityAndBacklog:
    def test_lists_that_have_become_worse_degrade_it_until_they_are_better(self, client):
        version = ModelVersion.objects.create(status="active")
        EvaluationRecord.objects.create(version=version, ndcg=0.1, expected=0.2, has_fallen=True)
        assert look()["quality"].status == "degraded"
        EvaluationRecord.objects.create(version=version, ndcg=0.2, expected=0.2)
        assert "quality" not in look()

    def test_a_backlog_degrades_it_and_a_few_that_wait_do_not(self, monkeypatch):
        VectorSpace.objects.create(
            encoder="default", encoder_id="t", recipe="1", dimension=3, status="active", activated_at=timezone.now()
        )
        Resource.objects.bulk_create([Resource(key=f"r{n}", title="R") for n in range(3)])
        found = look()["backlog"]
        assert (found.status, "3 wait" in found.found) == ("ok", True)
        monkeypatch.setattr(health, "WAITING", 2)
        assert look()["backlog"].status == "degraded"


class TestBroker:
    @pytest.fixture
    def broker_at(self, settings, monkeypatch):
        celery = pytest.importorskip("celery")
        settings.LLMREC = {"CELERY": True}

        def point(address):
            app = celery.Celery("health", broker=address, set_as_current=False)
            monkeypatch.setattr("celery.current_app", app)

        return point

    def test_one_that_refuses_is_named_without_its_password(self, broker_at):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        broker_at(f"redis://user:hidden@127.0.0.1:{port}/0")
        found = look()["broker"]
        assert found.status == "degraded"
        assert "hidden" not in found.found

    def test_one_that_is_silent_holds_nobody_up(self, broker_at):
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            broker_at(f"amqp://guest:guest@127.0.0.1:{silent.getsockname()[1]}//")
            assert look()["broker"].status == "degraded"

    def test_one_that_answers_is_fine(self, broker_at):
        broker_at("memory://")
        assert nudge.reach(1.0) == ""
        assert look()["broker"].status == "ok"

    def test_without_celery_it_is_off(self):
        assert look()["broker"].status == "off"


@pytest.mark.model
class TestFiles:
    @pytest.fixture
    def version(self, settings, tmp_path, monkeypatch):
        """A version that was really trained, unpacked and opened."""
        from tests.django_app.test_training import TOPICS, make_activity, make_resources, mixed_sequences

        settings.LLMREC = {
            "CELERY": False,
            "ARTIFACT_DIR": tmp_path,
            "TRAIN_SOURCES": ("transitions", "popularity"),
            "TUNE_S": 0,
            "HEALTH_TOKEN": "secret",
        }
        monkeypatch.setattr(training.Evaluation, "verdict", lambda self: (True, [Reason("no_baseline")]))
        space = VectorSpace.objects.create(
            encoder="default", encoder_id="t", recipe="1", dimension=TOPICS, status="active"
        )
        make_activity(make_resources(space), mixed_sequences(100))
        return training.train("default")

    def test_files_that_are_damaged_or_gone_are_named_and_lists_go_on(self, version, client, tmp_path):
        name = f"version {version.pk}"
        assert look()[name].status == "ok"
        archive = tmp_path / version.artifact
        good = archive.read_bytes()
        folder = artifacts.fetch(version)
        array = next(folder.glob("transitions.*.npy"))
        whole = array.read_bytes()

        # A file that this machine serves from is cut off, or deleted.
        array.write_bytes(whole[: len(whole) // 2])
        assert (look()[name].status, array.name in look()[name].found) == ("degraded", True)
        array.unlink()
        assert "It is missing" in look()[name].found
        array.write_bytes(whole)
        assert look()[name].status == "ok"

        # One byte of the archive turns; the machine that unpacked it goes on.
        damaged = bytearray(good)
        damaged[len(damaged) // 2] ^= 255
        archive.write_bytes(damaged)
        found = look()[name]
        assert (found.status, "not what training wrote" in found.found) == ("degraded", True)
        response = client.get(ADDRESS, headers={"authorization": "Bearer secret"})
        assert response.status_code == 200, "the process still serves"
        assert [check["status"] for check in response.json()["checks"] if check["name"] == name] == ["degraded"]
        archive.unlink()
        assert "No such file" in look()[name].found
        archive.write_bytes(good)
        assert look()[name].status == "ok"
        assert np.load(array).size

    def test_the_archive_is_read_once_as_long_as_it_does_not_change(self, version, monkeypatch):
        look()
        monkeypatch.setattr(artifacts, "verify", lambda version: pytest.fail("read again"))
        assert look()[f"version {version.pk}"].status == "ok"

    def test_it_costs_a_fixed_number_of_queries(self, version, django_assert_max_num_queries):
        look()
        health._held.clear()
        with django_assert_max_num_queries(12):
            health.health()
        assert connection.vendor == "postgresql"
