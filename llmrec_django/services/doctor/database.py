"""The database, the extension and the tables."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from django.db import DatabaseError, connections, router
from django.db.migrations.executor import MigrationExecutor

from llmrec_django.models import Resource
from llmrec_django.services.doctor.findings import Finding, fail, ok, warn

if TYPE_CHECKING:
    from collections.abc import Iterator

APP_LABEL = "llmrec_django"
FLOOR = (0, 7)
"""pgvector with halfvec, which the indexes are made of."""
RECOMMENDED = (0, 8)
"""pgvector with iterative scans, which find enough rows under filters."""


def examine_database() -> Iterator[Finding]:
    alias = router.db_for_write(Resource)
    connection = connections[alias]
    if connection.vendor != "postgresql":
        yield fail(
            "database",
            f"{alias!r} is {connection.display_name}; the app stores and recommends nothing there",
            "Use PostgreSQL with pgvector, or name such a database in LLMREC['DATABASE'].",
        )
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute("SHOW server_version")
            version = cursor.fetchone()[0]
    except DatabaseError as exc:
        yield fail("database", f"{alias!r} cannot be reached: {str(exc).strip().splitlines()[0]}", "Start it.")
        return
    yield ok("database", f"PostgreSQL {version}, alias {alias!r}")
    yield from _extension(alias)
    yield from _migrations(alias)


def _extension(alias: str) -> Iterator[Finding]:
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT e.extversion, n.nspname, to_regtype('vector') IS NOT NULL FROM pg_extension e "
            "JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'"
        )
        row = cursor.fetchone()
    if row is None:
        yield fail(
            "pgvector",
            "the extension is not in this database",
            "Let an administrator run CREATE EXTENSION vector; here, then run migrate.",
        )
        return
    version, schema, is_visible = row
    found = f"version {version} in schema {schema!r}"
    number = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if not is_visible:
        yield fail("pgvector", f"{found}, outside the search_path", f"Add {schema} to the search_path.")
    elif number < FLOOR:
        yield fail("pgvector", f"{found}; 0.7 is needed", "Update the package, then ALTER EXTENSION vector UPDATE;")
    elif number < RECOMMENDED:
        yield warn(
            "pgvector",
            f"{found}; without iterative scans, lists under narrow filters need an exact scan",
            "Update to 0.8 or later, then ALTER EXTENSION vector UPDATE;",
        )
    else:
        yield ok("pgvector", found)


def _migrations(alias: str) -> Iterator[Finding]:
    executor = MigrationExecutor(connections[alias])
    targets = [node for node in executor.loader.graph.leaf_nodes() if node[0] == APP_LABEL]
    waiting = [migration.name for migration, _ in executor.migration_plan(targets) if migration.app_label == APP_LABEL]
    if waiting:
        yield fail("migrations", f"not applied: {', '.join(waiting)}", f"Run manage.py migrate --database {alias}.")
    else:
        yield ok("migrations", "all applied")
