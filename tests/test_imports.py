"""What is loaded where: the package alone nothing, a web process no torch."""

from __future__ import annotations

import textwrap

import pytest

from tests.hosts.servers import empty_database
from tests.subprocesses import database_url, run_python

HEAVY = "torch", "transformers", "sentence_transformers", "onnx", "scipy", "sklearn", "pandas"
SHOW_LOADED = f"""
import sys
print("LOADED", [name for name in {HEAVY!r} if name in sys.modules])
"""


def run(program, **environment):
    """Run a program, and return what it printed and which heavy packages it loaded."""
    said = run_python(textwrap.dedent(program) + SHOW_LOADED, **environment)
    before, _, names = said.rpartition("LOADED ")
    return before, names.strip()


@pytest.fixture
def campus(tmp_path):
    """Environment of an example campus on an empty database of its own."""
    with empty_database("imports") as entry:
        yield {
            "DJANGO_SETTINGS_MODULE": "example_project.settings",
            "DATABASE_URL": database_url(entry),
            "CAMPUS_DATA_DIR": str(tmp_path),
            "CELERY_BROKER_URL": "memory://",
            "LLMREC_ENCODER": "minilm",
        }


def test_the_package_alone_loads_nothing():
    said = run_python("""
        import sys
        before = set(sys.modules)
        import llmrec_django
        print(sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
    """)
    assert said.strip() == "['llmrec_django']"


def test_the_engine_loads_no_django_and_nothing_heavy():
    _, loaded = run(
        """
        import importlib, pkgutil, sys
        import llmrec_django.engine as engine
        for module in pkgutil.walk_packages(engine.__path__, "llmrec_django.engine."):
            # The relevance model is trained with torch, and imported by nothing but training.
            if not module.name.startswith("llmrec_django.engine.relevance"):
                importlib.import_module(module.name)
        assert not [name for name in ("django", "celery", "rest_framework") if name in sys.modules]
        """
    )
    assert loaded == "[]"


@pytest.mark.parametrize("command", [["check"], ["migrate", "--plan"], ["llmrec_doctor", "--help"]])
def test_a_command_loads_nothing_heavy(campus, command):
    _, loaded = run(
        f"""
        from django.core.management import execute_from_command_line
        try:
            execute_from_command_line(["manage.py", *{command!r}])
        except SystemExit as end:
            assert not end.code, end.code
        """,
        **campus,
    )
    assert loaded == "[]"


@pytest.mark.model
def test_a_web_process_loads_no_torch_and_still_finds_by_meaning(campus):
    run_python(
        """
        import django
        django.setup()
        from django.core.management import call_command
        from llmrec_django.models import Resource
        call_command("migrate", verbosity=0)
        texts = {
            "Calculus": "Derivatives and integrals of functions.",
            "Oil painting": "Colour, brushes and canvas.",
            "Bread": "Flour, yeast and a hot oven.",
        }
        for title, description in texts.items():
            Resource.objects.create(key=title, title=title, description=description, language="en")
        call_command("llmrec_embed", verbosity=0)
        """,
        **campus,
    )
    said, loaded = run(
        """
        import django
        django.setup()
        from django.test import Client
        client = Client()

        def get(address):
            answer = client.get(address)
            assert answer.status_code == 200, (address, answer.status_code, answer.content[:500])
            return answer

        get("/")
        get("/api/llmrec/v1/resources/")
        assert len(get("/api/llmrec/v1/recommendations/").json()["items"]) == 3
        similar = get("/api/llmrec/v1/resources/Calculus/similar/").json()["items"]
        assert [item["source"] for item in similar] == ["similar", "similar"], similar
        # No word of it stands in any text.
        found = get("/api/llmrec/v1/search/?q=loaf").json()["items"]
        print("FOUND", found[0]["resource"]["key"], found[0]["source"])
        """,
        **campus,
    )
    assert "FOUND Bread meaning" in said
    assert loaded == "[]"
