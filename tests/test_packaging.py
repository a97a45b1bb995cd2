"""The wheel: everything in it that is needed, nothing else, and the core dependencies are enough."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from tests.hosts.servers import empty_database
from tests.subprocesses import ROOT, run_python

PACKAGE = ROOT / "llmrec_django"
CORE = {"celery", "django", "djangorestframework", "numpy", "pgvector", "scipy"}
SETTINGS = """
SECRET_KEY = "tests only"
USE_TZ = True
DATABASES = {{"default": {database!r}}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.messages",
    "django.contrib.sessions", "django.contrib.staticfiles", "rest_framework", "llmrec_django",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware", "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [{{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True, "OPTIONS": {{
    "context_processors": ["django.template.context_processors.request", "django.contrib.auth.context_processors.auth",
                           "django.contrib.messages.context_processors.messages"]}}}}]
ROOT_URLCONF = "site_urls"
STATIC_URL = "/static/"
LLMREC = {{"ENCODERS": {{"default": {{"BACKEND": "llmrec_django.testing.HashingEncoder"}}}}}}
"""
URLS = """
from django.contrib import admin
from django.urls import include, path
urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/", include("llmrec_django.rest_api.urls")),
    path("llmrec/", include("llmrec_django.urls")),
]
"""
CORE_ALONE = """
import importlib, os, pkgutil, sys
from importlib.metadata import distribution, packages_distributions
from packaging.requirements import Requirement

def needed(name, extras=frozenset(), seen=None):
    "Return the distributions that `name` needs, itself included."
    seen = {} if seen is None else seen
    name = name.lower().replace("_", "-")
    if not extras <= seen.get(name, frozenset()) or name not in seen:
        seen[name] = seen.get(name, frozenset()) | extras
        for text in distribution(name).requires or ():
            requirement = Requirement(text)
            wanted = [{"extra": extra} for extra in extras or {""}]
            if requirement.marker is None or any(requirement.marker.evaluate(each) for each in wanted):
                needed(requirement.name, frozenset(requirement.extras), seen)
    return set(seen)

# The database driver is the host's choice, so it comes on top.
allowed = needed("llmrec_django") | needed("psycopg", frozenset({"binary"}))
hidden = [
    package
    for package, owners in packages_distributions().items()
    if not {owner.lower().replace("_", "-") for owner in owners} & allowed and package not in sys.modules
]
assert "torch" in hidden and "transformers" in hidden, hidden

root = sys.argv[1]
sys.path.append(root)
from tests.hosts.absent import uninstall
sys.path.remove(root)
uninstall(*hidden)

import django
from django.core.management import call_command
django.setup()

import llmrec_django
assert not llmrec_django.__file__.startswith(root), llmrec_django.__file__
call_command("check", fail_level="WARNING")
call_command("migrate", verbosity=0)
for module in pkgutil.walk_packages(llmrec_django.__path__, "llmrec_django."):
    # For sites with django-import-export, for training with torch, and for tests with factory_boy.
    optional = "contrib.import_export", "engine.relevance", "testing.factories"
    if not module.name.startswith(tuple("llmrec_django." + name for name in optional)):
        importlib.import_module(module.name)

from django.test import Client
from llmrec_django import api
from llmrec_django.models import Resource
for title in ("Algebra", "Geometry"):
    Resource.objects.create(key=title, title=title, description="Shapes and numbers")
call_command("llmrec_embed", verbosity=0)
assert len(api.similar(Resource.objects.get(key="Algebra"))) == 1
answer = Client(headers={"host": "localhost"}).get("/api/v1/recommendations/")
assert len(answer.json()["items"]) == 2, answer.content
print("all works with", ", ".join(sorted(allowed)))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def test_it_holds_every_file_of_the_package(names):
    sources = {
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }
    assert {name for name in names if name.startswith("llmrec_django/")} == sources


def test_it_holds_what_is_no_python(names):
    for name in (
        "llmrec_django/py.typed",
        "llmrec_django/static/llmrec_django/llmrec.js",
        "llmrec_django/templates/llmrec_django/recommendations.html",
        "llmrec_django/templates/admin/llmrec_django/resource/change_form.html",
        "llmrec_django/migrations/0001_vector_extension.py",
    ):
        assert name in names


def test_its_translations_are_compiled(names):
    texts = {name for name in names if name.endswith(".po")}
    assert {name.removesuffix(".po") + ".mo" for name in texts} == {name for name in names if name.endswith(".mo")}


def test_it_holds_nothing_of_ours_but_the_package(names):
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"llmrec_django"}
    assert not [name for name in names if "/tests/" in name or "example_project" in name or "benchmark" in name]


def test_its_metadata_ask_for_the_core_only(wheel):
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    required = [text for text in metadata.get_all("Requires-Dist") if "extra ==" not in text]
    assert {text.partition(">=")[0] for text in required} == CORE
    # A host pins its own versions: no upper bounds, and no driver beside the one it has.
    assert not [text for text in required if "<" in text or "==" in text or "~" in text]
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert metadata["Requires-Python"] == ">=3.11"


def test_core_dependencies_alone_import_check_migrate_and_serve(wheel, tmp_path):
    """Everything else that is installed here is hidden: torch, drf-spectacular, django-import-export …"""
    target = tmp_path / "site-packages"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)],
        check=True,
        timeout=120,
    )
    Path(tmp_path, "site_urls.py").write_text(URLS)
    with empty_database("packaging") as entry:
        Path(tmp_path, "site_settings.py").write_text(SETTINGS.format(database=entry))
        said = run_python(
            CORE_ALONE,
            str(ROOT),
            cwd=tmp_path,
            PYTHONPATH=os.pathsep.join([str(target), str(tmp_path)]),
            DJANGO_SETTINGS_MODULE="site_settings",
        )
    assert "all works with" in said
