"""Small sites of other people, each run as they run it: `check`, `makemigrations --check`, `migrate`, `test`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.hosts.servers import database

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.hosts


def manage(host, *arguments, expect=0, **environment):
    """Run `manage.py` of a host and return what it printed."""
    done = subprocess.run(
        # What this app does in a host's house warns of nothing.
        [sys.executable, "-W", "error::DeprecationWarning:llmrec_django", "-m", "django", *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": f"tests.hosts.{host}.settings",
            "PYTHONPATH": str(ROOT),
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == expect, f"{' '.join(arguments)} gave {done.returncode}:\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def server():
    """An autocommit connection to the server's `postgres` database."""
    settings = database("any")
    options = {
        "host": settings.get("HOST"),
        "port": settings.get("PORT") or None,
        "user": settings.get("USER"),
        "password": settings.get("PASSWORD") or None,
    }
    with psycopg.connect(dbname="postgres", autocommit=True, **options) as connection:
        yield connection


@pytest.fixture
def made(server):
    """Return a function that makes an empty database of a host by its short name; all are dropped afterwards."""
    names = []

    def make(name, owner=None):
        full = database(name)["NAME"]
        names.append(full)
        server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(full)))
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(full)))
        return full

    yield make
    for full in names:
        server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(full)))


def connect(server, name):
    """An autocommit connection to another database of the same server, as the same role."""
    return psycopg.connect(f"{server.info.dsn} dbname={name}", password=server.info.password, autocommit=True)


def test_a_developer_on_sqlite_is_not_disturbed(tmp_path):
    said = manage("sqlite_host", "check", "--fail-level", "ERROR")
    assert "llmrec_django.W001" in said
    assert said.count("(llmrec_django.") == 1
    manage("sqlite_host", "makemigrations", "--check", "--dry-run")
    file = str(tmp_path / "site.sqlite3")
    manage("sqlite_host", "migrate", SQLITE_FILE=file)
    assert "No planned migration operations" in manage("sqlite_host", "migrate", "--plan", SQLITE_FILE=file)
    manage("sqlite_host", "migrate", "llmrec_django", "zero", SQLITE_FILE=file)
    manage("sqlite_host", "migrate", SQLITE_FILE=file)
    assert "OK" in manage("sqlite_host", "test", "tests.hosts.sqlite_host")


def test_a_site_without_any_optional_package_works_by_commands(made):
    made("plain")
    manage("plain_host", "check", "--fail-level", "WARNING")
    manage("plain_host", "makemigrations", "--check", "--dry-run")
    manage("plain_host", "migrate")
    said = manage("plain_host", "llmrec_doctor")
    assert "pgvector" in said
    assert "OK" in manage("plain_host", "test", "--no-input", "tests.hosts.plain_host")


def test_a_site_with_two_databases_keeps_them_apart(made):
    made("site"), made("recommendations")
    manage("two_databases_host", "check", "--database", "default", "--database", "llmrec", "--fail-level", "WARNING")
    manage("two_databases_host", "makemigrations", "--check", "--dry-run")
    manage("two_databases_host", "migrate")
    manage("two_databases_host", "migrate", "--database", "llmrec")
    said = manage("two_databases_host", "llmrec_doctor")
    assert "alias 'llmrec'" in said
    assert "OK" in manage("two_databases_host", "test", "--no-input", "tests.hosts.two_databases_host")


def test_a_site_that_does_everything_its_own_way_is_respected(made):
    made("strict")
    manage("strict_host", "check", "--fail-level", "WARNING")
    manage("strict_host", "makemigrations", "--check", "--dry-run")
    manage("strict_host", "migrate")
    assert "OK" in manage("strict_host", "test", "--no-input", "tests.hosts.strict_host")


class TestARoleThatMayNotCreateExtensions:
    ROLE = f"{database('bare')['TEST']['NAME']}_role"
    PASSWORD = "tests only"

    @pytest.fixture
    def bare(self, server, made):
        name = made("bare")
        role = sql.Identifier(self.ROLE)
        server.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(role))
        server.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(self.PASSWORD)))
        with connect(server, name) as admin:
            admin.execute(sql.SQL("GRANT USAGE, CREATE ON SCHEMA public TO {}").format(role))
            yield admin
            admin.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(role))
        server.execute(sql.SQL("DROP ROLE {}").format(role))

    def manage(self, *arguments, **options):
        return manage("bare_host", *arguments, BARE_ROLE=self.ROLE, BARE_PASSWORD=self.PASSWORD, **options)

    def test_is_told_what_a_dba_has_to_do_and_goes_on_afterwards(self, bare):
        said = self.manage("migrate", expect=1)
        assert "Traceback" not in said
        assert "CREATE EXTENSION vector;" in said
        assert self.ROLE in said
        bare.execute("CREATE EXTENSION vector")
        self.manage("migrate")
        self.manage("check", "--database", "default", "--fail-level", "WARNING")

    def test_may_have_the_extension_in_another_schema(self, bare):
        bare.execute("CREATE SCHEMA extensions")
        bare.execute("CREATE EXTENSION vector SCHEMA extensions")
        bare.execute("GRANT USAGE ON SCHEMA extensions TO PUBLIC")
        said = self.manage("migrate", expect=1)
        assert "Traceback" not in said
        assert "'extensions'" in said
        assert "search_path" in said
        path = {"BARE_OPTIONS": "-c search_path=public,extensions"}
        self.manage("migrate", **path)
        program = (
            "from tests.hosts.school.models import Course\n"
            "from llmrec_django import api\n"
            "from llmrec_django.models import Resource\n"
            "from django.core.management import call_command\n"
            "for n in range(3): Course.objects.create(title=f'Painting {n}')\n"
            "call_command('llmrec_embed', verbosity=0)\n"
            "from llmrec_django.services.spaces import active_space, ensure_index\n"
            "assert ensure_index(active_space(), force=True)\n"
            "print('similar:', len(api.similar(Resource.objects.first())))\n"
        )
        assert "similar: 2" in self.manage("shell", "-c", program, **path)
