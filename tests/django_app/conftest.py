import pytest

from llmrec_django.services import encoders

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
        encoders.forget_encoders()

    change()
    yield change
    encoders.forget_encoders()
