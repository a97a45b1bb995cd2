"""Running candidate queries: our session settings, a time limit, and nothing left in the host's transaction."""

from __future__ import annotations

import functools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

import numpy as np
from django.db import connections, router, transaction

from llmrec_django.conf import conf
from llmrec_django.models import Resource

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from django.db.models import Model

    from llmrec_django.types import Float32Matrix, Float32Vector


M = TypeVar("M", bound="Model")


def database() -> str:
    """Return the alias of the database that holds our tables."""
    return router.db_for_read(Resource)


@functools.lru_cache(maxsize=8)
def _extension_version(using: str) -> tuple[int, ...]:
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        row = cursor.fetchone()
    return tuple(int(part) for part in row[0].split(".")) if row else ()


def _session_settings(using: str) -> dict[str, str]:
    settings = {
        # Compiling a query that runs for milliseconds costs more than it saves.
        "jit": "off",
        "hnsw.ef_search": str(conf.INDEX_EF_SEARCH),
    }
    if _extension_version(using) >= (0, 8):
        # Without it an index scan stops after ef_search rows, however few of them pass the filter.
        settings["hnsw.iterative_scan"] = "relaxed_order"
    if conf.STATEMENT_TIMEOUT_MS:
        settings["statement_timeout"] = f"{int(conf.STATEMENT_TIMEOUT_MS)}ms"
    return settings


@contextmanager
def candidate_cursor(using: str) -> Iterator[Any]:
    """Yield a cursor for candidate queries, in a transaction (a savepoint inside the host's).

    The settings are local to the transaction; inside the host's transaction they are put back afterwards. Inside
    another one of ours it is the same transaction, and costs nothing: queries that belong together are put in one.
    """
    connection = connections[using]
    if connection in _inside:
        with connection.cursor() as cursor:
            yield cursor
        return
    settings = _session_settings(using)
    nested = connection.in_atomic_block
    with transaction.atomic(using=using), connection.cursor() as cursor:
        names = list(settings)
        before: tuple[Any, ...] = ()
        if nested:
            cursor.execute("SELECT " + ", ".join(f"current_setting('{name}', true)" for name in names))
            before = cursor.fetchone()
        cursor.execute(
            "SELECT " + ", ".join(f"set_config('{name}', %s, true)" for name in names),
            list(settings.values()),
        )
        _inside.add(connection)
        try:
            yield cursor
        finally:
            _inside.discard(connection)
        if nested:
            # A parameter of an extension that was not loaded before reads as NULL: leave ours.
            back = {name: value for name, value in zip(names, before, strict=True) if value}
            cursor.execute(
                "SELECT " + ", ".join(f"set_config('{name}', %s, true)" for name in back), list(back.values())
            )


_inside: WeakSet[Any] = WeakSet()
"""Connections, each of one thread, that are inside a `candidate_cursor`."""


def load_rows(
    model: type[M],
    fields: Sequence[str],
    where: str,
    params: Sequence[Any],
    related: Mapping[str, Sequence[str]] | None = None,
) -> list[M]:
    """Return instances with the given fields, others deferred, at half a queryset's cost: every request pays it.

    Args:
        where: A condition; the model's table is called `t` in it.
        related: Foreign key of the model → fields of the row it points to, which comes along.
    """
    using = database()
    connection = connections[using]
    parts: list[tuple[str, Any, list[Any]]] = [("t", model, columns_of(model, fields))]
    tables = f'"{model._meta.db_table}" t'
    for place, (name, wanted) in enumerate((related or {}).items()):
        key: Any = model._meta.get_field(name)
        other = key.related_model
        parts.append((f"t{place}", other, columns_of(other, wanted)))
        tables += f' LEFT JOIN "{other._meta.db_table}" t{place} ON t{place}.id = t."{key.column}"'
    selected = ", ".join(f'{table}."{column.column}"' for table, _, columns in parts for column in columns)
    found = []
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {selected} FROM {tables} WHERE {where}", params)
        for values in cursor.fetchall():
            begin, rows = 0, []
            for _, of, columns in parts:
                own = values[begin : begin + len(columns)]
                begin += len(columns)
                rows.append(instance_of(of, columns, own, connection) if own[0] is not None else None)
            row = rows[0]
            assert row is not None
            for name, other in zip(related or (), rows[1:], strict=True):
                setattr(row, name, other)
            found.append(row)
    return found


def columns_of(model: type[Model], fields: Sequence[str]) -> list[Any]:
    """Return the columns of the fields, the primary key, by which a missing row is known, first."""
    return [column for column in model._meta.concrete_fields if column.name in fields]


def instance_of(model: type[Any], columns: list[Any], values: Sequence[Any], connection: Any) -> Any:
    """Return a row from the values of its columns, as a queryset would; other fields are deferred."""
    read = [
        column.from_db_value(value, None, connection) if hasattr(column, "from_db_value") else value
        for column, value in zip(columns, values, strict=True)
    ]
    return model.from_db(connection.alias, [column.attname for column in columns], read)


def id_array(ids: Sequence[int]) -> str:
    """Return ids as PostgreSQL reads an array: quicker than a list for the driver to turn over, one by one."""
    return "{" + ",".join(map(str, ids)) + "}"


def vector_literal(vector: Float32Vector) -> str:
    """Return a vector as pgvector reads it."""
    return "[" + ",".join(map(repr, np.asarray(vector, dtype=np.float32).tolist())) + "]"


def read_vectors(values: Sequence[Any]) -> Float32Matrix:
    """Decode `vector_send(…)` results: two uint16 (length, unused), then big-endian float32; float32 [n, d]."""
    if not values:
        return np.zeros((0, 0), dtype=np.float32)
    return np.stack([np.frombuffer(bytes(value), dtype=">f4", offset=4) for value in values]).astype(np.float32)
