"""Starts a PostgreSQL for the test run where the environment names none."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from example_project.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@pytest.fixture(autouse=True)
def _english() -> Iterator[None]:
    """A test that activates a language must not leave it to the next one in its process."""
    from django.utils import translation

    translation.activate("en")
    yield
    translation.deactivate_all()
