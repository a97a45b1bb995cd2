"""Databases of the host projects: on the server of the test run, with names of their own."""

from __future__ import annotations

from typing import Any

from tests.settings import DATABASES


def database(name: str, **changes: Any) -> dict[str, Any]:
    """Return the DATABASES entry of a host's database; `manage.py test` makes another one beside it."""
    server: dict[str, Any] = DATABASES["default"]
    full = f"{server['TEST']['NAME']}_{name}"
    return {**server, "NAME": full, "TEST": {"NAME": f"{full}_tests"}, **changes}
