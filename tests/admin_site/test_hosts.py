"""The admin in hosts of other kinds."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.hosts

SQLITE = """
from tests.settings import *
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
INSTALLED_APPS = [app for app in INSTALLED_APPS if app != "import_export"]
"""
VISIT = """
import django
django.setup()
from django.apps import apps
from django.core.management import call_command
from django.test import Client
from tests.testapp.models import Member

call_command("migrate", verbosity=0)
client = Client()
client.force_login(Member.objects.create_superuser("boss@example.org", "secret"))
assert client.get("/admin/").status_code == 200
for model in apps.get_app_config("llmrec_django").get_models():
    address = f"/admin/llmrec_django/{model._meta.model_name}/"
    assert client.get(address).status_code == 200, address
    assert client.get(address, {"q": "x"}).status_code == 200, address
    assert client.get(address + "add/").status_code == 403, address
print("all pages open")
"""


def run_python(folder, settings, code):
    (folder / "host_settings.py").write_text(settings)
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "host_settings"}
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), *sys.path])
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_on_sqlite_every_list_opens_empty_and_nothing_can_be_added(tmp_path):
    assert "all pages open" in run_python(tmp_path, SQLITE, VISIT)
