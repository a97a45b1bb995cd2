"""The OpenAPI description is a golden file: a change of the API shows in a diff."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent.parent / "golden" / "openapi.yml"
ACCEPT = "LLMREC_ACCEPT_GOLDEN"


def described():
    """Return the description and what drf-spectacular had to say about it."""
    from drf_spectacular.drainage import GENERATOR_STATS
    from drf_spectacular.generators import SchemaGenerator
    from drf_spectacular.renderers import OpenApiYamlRenderer
    from drf_spectacular.validation import validate_schema

    GENERATOR_STATS.reset()
    schema = SchemaGenerator(urlconf="llmrec_django.rest_api.urls").get_schema(request=None, public=True)
    validate_schema(schema)
    text = OpenApiYamlRenderer().render(schema, renderer_context={}).decode()
    said = [str(line) for cache in (GENERATOR_STATS._warn_cache, GENERATOR_STATS._error_cache) for line in cache]
    return text, said


def test_the_description_is_the_accepted_one():
    text, said = described()
    assert said == []
    if os.environ.get(ACCEPT):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text(), (
        f"The API description changed. If that is meant, run `{ACCEPT}=1 pytest {Path(__file__).name}` and commit it."
    )


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()}
    )


def test_the_api_works_without_drf_spectacular():
    code = """
import sys
sys.modules["drf_spectacular"] = None
import django
django.setup()
from django.urls import reverse
from llmrec_django.rest_api.v1 import views
assert reverse("llmrec:profile", urlconf="tests.urls") == "/api/v1/profile/"
assert "drf_spectacular" in sys.modules and sys.modules["drf_spectacular"] is None
"""
    result = run(code)
    assert result.returncode == 0, result.stderr


def test_without_rest_framework_everything_else_imports():
    code = """
import sys
sys.modules["rest_framework"] = None
from django.conf import settings
from tests import settings as host
settings.configure(**{
    **{name: getattr(host, name) for name in dir(host) if name.isupper()},
    "INSTALLED_APPS": [app for app in host.INSTALLED_APPS if app != "rest_framework"],
    "ROOT_URLCONF": "llmrec_django.urls",
})
import django
django.setup()
from django.core.management import call_command
call_command("check")
from django.template import engines
engines["django"].from_string("{% load llmrec_django %}{% recommend %}{% llmrec_beacon %}").render({})
"""
    result = run(code)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("key", "path"), [("course:42", "course:42"), ("a b/ü?#%", "a%20b/%C3%BC%3F%23%25"), ("a/similar", "a/similar")]
)
def test_addresses_of_keys_are_encoded_once(key, path):
    from django.urls import reverse

    assert reverse("llmrec:resource", args=[key]) == f"/api/v1/resources/{path}/"
