import pytest
from django.core.cache import cache

from llmrec_django.models import VectorSpace
from llmrec_django.retrieval.facts import forget_counts
from llmrec_django.services import scorer as scorer_module
from llmrec_django.services import training
from llmrec_django.services.reasons import Reason
from tests.django_app.test_training import TOPICS

HASHING = {
    "CELERY": False,
    "ENCODERS": {
        "default": {"BACKEND": "llmrec_django.testing.HashingEncoder", "OPTIONS": {"dimension": 64}},
        "other": {"BACKEND": "llmrec_django.testing.HashingEncoder", "OPTIONS": {"dimension": 32}},
    },
}


@pytest.fixture
def hashing(settings):
    """Embed with the hashing encoder; returns a function that changes LLMREC."""

    def change(**options):
        settings.LLMREC = {**HASHING, **options}

    change()
    return change


@pytest.fixture
def trains(settings, tmp_path, monkeypatch):
    """Let whatever is trained serve; returns a function that takes names of sources and changes LLMREC."""

    def change(*sources, **options):
        settings.LLMREC = {"CELERY": False, "ARTIFACT_DIR": tmp_path, "TRAIN_SOURCES": sources, "TUNE_S": 0, **options}

    cache.clear()
    forget_counts()
    scorer_module.forget()
    # What serves, not whether it deserves to.
    monkeypatch.setattr(training.Evaluation, "verdict", lambda self: (True, [Reason("no_baseline")]))
    yield change
    scorer_module.forget()


@pytest.fixture
def topics(db):
    """The space of `make_resources`, which serves."""
    return VectorSpace.objects.create(encoder="default", encoder_id="t", recipe="1", dimension=TOPICS, status="active")
