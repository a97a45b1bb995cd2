"""A scratch database for benchmarks: the example project under a data folder of its own."""

from __future__ import annotations

import atexit
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent


def start(name: str, *, encoder: str = "minilm") -> Path:
    """Set Django up on an empty-or-known database of the example project; return its data folder."""
    os.environ.setdefault("CAMPUS_DATA_DIR", str(ROOT / ".campus" / f"benchmark_{name}"))
    os.environ["LLMREC_ENCODER"] = encoder
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_project.settings")
    from example_project.settings import start_database

    atexit.register(start_database())
    set_up()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    return Path(os.environ["CAMPUS_DATA_DIR"])


def set_up() -> None:
    """Set Django up as a site that serves has it: DEBUG writes every query down, which takes time and memory."""
    import django

    django.setup()
    from django.conf import settings

    settings.DEBUG = False


def empty() -> None:
    """Delete every resource, space and learner of the scratch database."""
    from django.db import connection

    from llmrec_django.models import LearnerProfile, Resource, VectorSpace
    from llmrec_django.services import spaces

    for space in VectorSpace.objects.all():
        spaces.drop_index(space)
    with connection.cursor() as cursor:
        for model in (Resource, VectorSpace, LearnerProfile):
            cursor.execute(f"TRUNCATE {model._meta.db_table} CASCADE")


@contextmanager
def seconds() -> Iterator[Callable[[], float]]:
    """Yield a function that tells the seconds since the block began, or its whole length afterwards."""
    began = time.perf_counter()
    ended: list[float] = []
    yield lambda: (ended[0] if ended else time.perf_counter()) - began
    ended.append(time.perf_counter())


def replay(direct: Any, statements: list[tuple[str, Any]]) -> None:
    """Send what a product sent through bare psycopg, on a connection that commits by itself; read all of its rows."""
    import psycopg

    with psycopg.ClientCursor(direct) as cursor:
        for sql, params in statements:
            cursor.execute(sql, params or None)
            while True:  # a message may hold several statements
                if cursor.description:
                    cursor.fetchall()
                if not cursor.nextset():
                    break


def one_by_one(sql: str, params: list[Any]) -> list[tuple[str, list[Any]]]:
    """Take a message of several statements apart; settings stay with the statement that they are for."""
    parts = sql.split("; ")
    if parts[0].startswith("SELECT set_config("):
        parts[:2] = ["; ".join(parts[:2])]
    found, begin = [], 0
    for part in parts:
        n = part.replace("%%", "").count("%s")
        found.append((part, params[begin : begin + n]))
        begin += n
    assert begin == len(params), sql
    return found


def percentile(values: list[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(q * len(ordered)), len(ordered) - 1)]


def table(rows: list[dict[str, Any]]) -> str:
    """Return rows as a Markdown table; the keys of the first are the headings."""
    headings = list(rows[0])
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    lines += ["| " + " | ".join(str(row.get(name, "")) for name in headings) + " |" for row in rows]
    return "\n".join(lines)
