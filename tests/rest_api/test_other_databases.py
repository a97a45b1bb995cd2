"""A host on SQLite: nothing of ours is there, and nothing breaks."""

import os
import subprocess
import sys

import pytest

CODE = """
from django.conf import settings
from tests import settings as host
settings.configure(**{
    **{name: getattr(host, name) for name in dir(host) if name.isupper()},
    "DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    "LLMREC": {"VISITOR_COOKIE": "visitor"},
})
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from django.contrib.auth import get_user_model
from rest_framework.test import APIClient

client = APIClient()
client.force_login(get_user_model().objects.create_user("ada@example.org"))
for url in ("resources/", "search/?q=x", "recommendations/?placement=home"):
    response = client.get("/api/v1/" + url)
    assert (response.status_code, response.json()["items"]) == (200, []), (url, response.content)
for url in ("resources/x/", "resources/x/similar/"):
    assert client.get("/api/v1/" + url).status_code == 404, url
view = {"verb": "viewed", "resource_key": "x"}
for url, data in (("interactions/", view), ("interactions/batch/", {"interactions": [view]})):
    response = client.post("/api/v1/" + url, data, format="json")
    assert (response.status_code, response.json()) == (200, {"recorded": 0}), (url, response.content)
assert client.get("/api/v1/profile/").json()["goals"] == ""
assert client.get("/api/v1/profile/export/").json() == {}
assert client.patch("/api/v1/profile/", {"goals": "x"}, format="json").status_code == 503
assert client.delete("/api/v1/profile/").status_code == 204
assert client.post("/llmrec/events/", {"verb": "viewed", "key": "x"}).status_code == 204
dismissed = {"feedback": [{"kind": "dismissed", "resource_key": "x"}]}
response = client.post("/api/v1/feedback/", dismissed, format="json")
assert (response.status_code, response.json()) == (200, {"changed": 0}), response.content
assert client.get("/api/v1/recommendations/00000000-0000-4000-8000-000000000000/").status_code == 404
assert client.get("/api/v1/profile/insight/").json()["history"] == []
assert client.post("/api/v1/profile/restore/", {"resource_key": "x"}, format="json").status_code == 200
assert client.post("/api/v1/profile/forget/", {"resource_key": "x"}, format="json").status_code == 200
assert client.post("/api/v1/profile/reset/").status_code == 204

from django.template import engines
from django.test import RequestFactory
request = RequestFactory().get("/")
request.user = get_user_model().objects.get()
text = "{% load llmrec_django %}{% recommend placement='home' %}{% similar user %}{% similar 'x' %}"
assert engines["django"].from_string(text).render({"user": request.user}, request) == ""
text = "{% load llmrec_django %}{% llmrec_beacon user %}"
engines["django"].from_string(text).render({"user": request.user}, request)
"""


@pytest.mark.hosts
def test_lists_are_empty_and_nothing_is_recorded():
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE], capture_output=True, text=True, env=environment
    )
    assert (result.returncode, result.stderr) == (0, "")
