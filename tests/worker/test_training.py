"""Training and measuring through a real worker on a real broker."""

from datetime import timedelta

import pytest
from django.utils import timezone

from llmrec_django import tasks
from llmrec_django.models import EvaluationRecord, Interaction, LearnerProfile, ModelVersion, Resource
from llmrec_django.services.training.lock import only_run
from tests.worker.conftest import kill, wait_for

pytestmark = [pytest.mark.worker, pytest.mark.django_db(transaction=True)]
N, LEARNERS = 30, 80


@pytest.fixture
def learners(transactional_db, settings, tmp_path):
    """Everybody walks on by one."""
    settings.LLMREC = {"CELERY": False, "ARTIFACT_DIR": tmp_path / "artifacts"}
    resources = Resource.objects.bulk_create([Resource(key=f"r{n:02}", title=f"Course {n}") for n in range(N)])
    made = LearnerProfile.objects.bulk_create([LearnerProfile(visitor_key=f"v{u}") for u in range(LEARNERS)])
    walk(made, resources, range(4), timezone.now() - timedelta(days=9))
    return made


def walk(learners, resources, steps, began):
    Interaction.objects.bulk_create(
        Interaction(
            learner=learner,
            resource=resources[(7 * u + step) % N],
            verb="completed",
            occurred_at=began + timedelta(minutes=step),
            event_id=str(step),
        )
        for u, learner in enumerate(learners)
        for step in steps
    )


def send(task):
    task.apply_async(queue="llmrec.train")


def active():
    return ModelVersion.objects.filter(status="active").first()


def said(tmp_path, text):
    return text in (tmp_path / "worker0.log").read_text(errors="replace")


def test_the_task_trains_and_what_earned_it_serves(start_worker, learners):
    start_worker()
    send(tasks.train)
    wait_for(lambda: active() is not None)
    assert "transitions" in active().config["sources"]


def test_a_second_one_gives_up_at_once_and_says_why(start_worker, learners, tmp_path):
    start_worker()
    with only_run("default"):
        send(tasks.train)
        wait_for(lambda: said(tmp_path, "not trained tenant=default"))
        assert said(tmp_path, "Another process is training it")
        assert not ModelVersion.objects.exists()
    send(tasks.train)
    wait_for(lambda: active() is not None)


def test_what_serves_is_measured_once_however_often_the_message_comes(start_worker, learners, tmp_path):
    start_worker()
    send(tasks.train)
    wait_for(lambda: active() is not None)
    send(tasks.evaluate)
    wait_for(lambda: said(tmp_path, "Only 0 learners met something new"))
    walk(learners, list(Resource.objects.order_by("key")), range(4, 5), timezone.now() + timedelta(hours=1))
    send(tasks.evaluate)
    send(tasks.evaluate)
    wait_for(
        lambda: (tmp_path / "worker0.log").read_text(errors="replace").count("evaluated tenant=default version=") == 2
    )
    record = EvaluationRecord.objects.get()
    assert record.version == active()
    assert record.ndcg > 0.9


def test_a_worker_killed_in_training_leaves_what_serves_and_the_next_run_goes_on(start_worker, learners, tmp_path):
    worker = start_worker()
    send(tasks.train)
    wait_for(lambda: active() is not None)
    first = active()
    send(tasks.train)
    wait_for(lambda: ModelVersion.objects.filter(pk__gt=first.pk, status="training").exists())
    kill(worker)
    assert active() == first
    start_worker()
    send(tasks.train)
    wait_for(lambda: ModelVersion.objects.filter(pk__gt=first.pk, finished_at__isnull=False).count() >= 2)
    # Where a baseline serves, it learns once more after the run that was rejected.
    wait_for(lambda: not ModelVersion.objects.filter(status="training").exists())
