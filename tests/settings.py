"""Settings of the test run: a host with UUID keys and a custom user, on a real PostgreSQL."""

import os
from pathlib import Path

from example_project.databases import database_from_url
from example_project.embedded import socket_dir

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = "tests only"
USE_TZ = True
DEBUG = False
ALLOWED_HOSTS = ["testserver", "127.0.0.1", "localhost"]
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
# DATABASE_URL, a server's folder or host in LLMREC_TEST_PGHOST, or the embedded PostgreSQL that conftest.py starts.
EMBEDDED_DATA_DIR = BASE_DIR / ".campus" / "tests"
DATABASES: dict[str, dict[str, object]] = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "postgres",
        "USER": "postgres",
        "HOST": os.environ.get("LLMREC_TEST_PGHOST") or str(socket_dir(EMBEDDED_DATA_DIR)),
    }
}
if os.environ.get("DATABASE_URL"):
    DATABASES["default"] = database_from_url(os.environ["DATABASE_URL"])
DATABASES["default"]["TEST"] = {"NAME": os.environ.get("LLMREC_TEST_DB", "test_llmrec")}
AUTH_USER_MODEL = "testapp.Member"
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "import_export",
    "rest_framework",
    "llmrec_django",
    "tests.testapp",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
STATIC_URL = "/static/"
ROOT_URLCONF = "tests.urls"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# Tests that want a nudge switch it on; the others leave no thread behind that looks for a broker.
LLMREC = {"CELERY": False}
