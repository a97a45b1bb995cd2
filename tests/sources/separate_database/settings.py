"""A host on SQLite that keeps this app's tables in a PostgreSQL database of their own."""

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES as TEST_DATABASES

_postgresql = TEST_DATABASES["default"]
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
    "recommendations": {**_postgresql, "TEST": {"NAME": f"{_postgresql['TEST']['NAME']}_separate"}},
}
LLMREC = {"DATABASE": "recommendations", "CELERY": False}
DATABASE_ROUTERS = ["llmrec_django.routers.LLMRecRouter"]
