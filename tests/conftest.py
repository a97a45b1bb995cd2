"""Starts a PostgreSQL for the test run where the environment names none."""

from __future__ import annotations

import os

import pytest

from example_project.embedded import EmbeddedPostgres

_server = pytest.StashKey[EmbeddedPostgres]()


def pytest_configure(config: pytest.Config) -> None:
    # Workers of xdist use their controller's server; several runs at once share one.
    if hasattr(config, "workerinput") or os.environ.get("LLMREC_TEST_PGHOST") or os.environ.get("DATABASE_URL"):
        return
    from tests.settings import EMBEDDED_DATA_DIR

    # Nothing here has to survive a crash.
    server = EmbeddedPostgres(EMBEDDED_DATA_DIR, {"fsync": "off", "full_page_writes": "off"})
    server.acquire()
    config.stash[_server] = server


def pytest_unconfigure(config: pytest.Config) -> None:
    server = config.stash.get(_server, None)
    if server is not None:
        server.release()
