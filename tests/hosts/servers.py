"""Databases of the host projects: on the server of the test run, with names of their own."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.settings import DATABASES

if TYPE_CHECKING:
    from collections.abc import Iterator


def database(name: str, **changes: Any) -> dict[str, Any]:
    """Return the DATABASES entry of a host's database; `manage.py test` makes another one beside it."""
    server: dict[str, Any] = DATABASES["default"]
    # From the environment, which the host's process inherits: pytest-django renames the entry in this process alone.
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    full = f"{os.environ.get('LLMREC_TEST_DB', 'test_llmrec')}_{worker}_{name}"
    return {**server, "NAME": full, "TEST": {"NAME": f"{full}_tests"}, **changes}


def connect(name: str = "postgres") -> Any:
    """Return an autocommit connection to a database of the server, as the role of the test run."""
    import psycopg

    server = DATABASES["default"]
    options = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD"}
    given = {option: server[key] for option, key in options.items() if server.get(key)}
    return psycopg.connect(dbname=name, autocommit=True, **given)


@contextmanager
def empty_database(name: str) -> Iterator[dict[str, Any]]:
    """Make the database that `database(name)` names, yield that entry, and drop the database afterwards."""
    entry = database(name)
    full = entry["NAME"]
    with connect() as server:
        server.execute(f'DROP DATABASE IF EXISTS "{full}" WITH (FORCE)')
        server.execute(f'CREATE DATABASE "{full}"')
        try:
            yield entry
        finally:
            server.execute(f'DROP DATABASE IF EXISTS "{full}" WITH (FORCE)')
