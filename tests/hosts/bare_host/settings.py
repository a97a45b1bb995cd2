"""A site whose database role may not create extensions."""

import os

from tests.hosts.servers import database

SECRET_KEY = "tests only"
USE_TZ = True
DATABASES = {
    "default": database(
        "bare",
        USER=os.environ.get("BARE_ROLE", "nobody"),
        PASSWORD=os.environ.get("BARE_PASSWORD", ""),
        OPTIONS={"options": os.environ["BARE_OPTIONS"]} if os.environ.get("BARE_OPTIONS") else {},
    )
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "llmrec_django", "tests.hosts.school"]
LLMREC = {"CELERY": False, "ENCODERS": {"default": {"BACKEND": "llmrec_django.testing.HashingEncoder"}}}
