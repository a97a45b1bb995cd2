"""Small sites of other people, each run as they run it: `check`, `makemigrations --check`, `migrate`, `test`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hosts.servers import connect, database, empty_database

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


def test_a_site_without_any_optional_package_works_by_commands():
    with empty_database("plain"):
        manage("plain_host", "check", "--fail-level", "WARNING")
        manage("plain_host", "makemigrations", "--check", "--dry-run")
        manage("plain_host", "migrate")
        said = manage("plain_host", "llmrec_doctor")
        assert "pgvector" in said
        manage("plain_host", "migrate", "llmrec_django", "zero")
        manage("plain_host", "migrate")
        assert "OK" in manage("plain_host", "test", "--no-input", "tests.hosts.plain_host")


def test_a_site_with_two_databases_keeps_them_apart():
    with empty_database("site"), empty_database("recommendations"):
        manage(
            "two_databases_host", "check", "--database", "default", "--database", "llmrec", "--fail-level", "WARNING"
        )
        manage("two_databases_host", "makemigrations", "--check", "--dry-run")
        manage("two_databases_host", "migrate")
        manage("two_databases_host", "migrate", "--database", "llmrec")
        said = manage("two_databases_host", "llmrec_doctor")
        assert "alias 'llmrec'" in said
        assert "OK" in manage("two_databases_host", "test", "--no-input", "tests.hosts.two_databases_host")


def test_a_site_that_reads_from_a_replica_writes_nothing_there():
    with empty_database("replica"):
        manage("replica_host", "check", "--fail-level", "WARNING")
        manage("replica_host", "migrate")
        assert "A day has passed." in manage("replica_host", "shell", "-c", "import tests.hosts.replica_host.day")


def test_a_site_that_does_everything_its_own_way_is_respected():
    with empty_database("strict"):
        manage("strict_host", "check", "--fail-level", "WARNING")
        manage("strict_host", "makemigrations", "--check", "--dry-run")
        manage("strict_host", "migrate")
        assert "OK" in manage("strict_host", "test", "--no-input", "tests.hosts.strict_host")


class TestARoleThatMayNotCreateExtensions:
    ROLE = f"{database('bare')['NAME']}_role"
    PASSWORD = "tests only"

    @pytest.fixture
    def bare(self):
        """A connection of an administrator to the database in which the role may do little."""
        with connect() as server, empty_database("bare") as entry:
            server.execute(f'DROP ROLE IF EXISTS "{self.ROLE}"')
            server.execute(f"CREATE ROLE \"{self.ROLE}\" LOGIN PASSWORD '{self.PASSWORD}'")
            try:
                with connect(entry["NAME"]) as admin:
                    admin.execute(f'GRANT USAGE, CREATE ON SCHEMA public TO "{self.ROLE}"')
                    yield admin
                    admin.execute(f'DROP OWNED BY "{self.ROLE}" CASCADE')
            finally:
                server.execute(f'DROP ROLE "{self.ROLE}"')

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
