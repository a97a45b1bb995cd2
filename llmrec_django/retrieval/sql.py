"""Running candidate queries: our session settings, a time limit, and nothing left in the host's transaction."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from django.db import connections, router, transaction
from django.db.models.base import ModelState

from llmrec_django.conf import conf
from llmrec_django.models import Resource

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from django.db.models import Model

    from llmrec_django.types import Float32Matrix, Float32Vector


M = TypeVar("M", bound="Model")
T = TypeVar("T")


def database() -> str:
    """Return the alias of the database that holds our tables."""
    return router.db_for_read(Resource)


@functools.lru_cache(maxsize=8)
def _extension_version(using: str) -> tuple[int, ...]:
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        row = cursor.fetchone()
    return tuple(int(part) for part in row[0].split(".")) if row else ()


def _session_settings(using: str) -> str:
    """Return the statement that sets what candidate queries run under, until the end of the transaction."""
    return _settings_sql(_extension_version(using), int(conf.INDEX_EF_SEARCH), int(conf.STATEMENT_TIMEOUT_MS or 0))


@functools.lru_cache(maxsize=8)
def _settings_sql(extension: tuple[int, ...], ef_search: int, timeout_ms: int) -> str:
    settings = {
        # Compiling a query that runs for milliseconds costs more than it saves.
        "jit": "off",
        "hnsw.ef_search": str(ef_search),
    }
    if extension >= (0, 8):
        # Without it an index scan stops after ef_search rows, however few of them pass the filter.
        settings["hnsw.iterative_scan"] = "relaxed_order"
    if timeout_ms:
        settings["statement_timeout"] = f"{timeout_ms}ms"
    return "SELECT " + ", ".join(f"set_config('{name}', '{value}', true)" for name, value in settings.items())


def spelt_out(sql: str, params: Sequence[Any], using: str, *, but: Any = None) -> str:
    """Return SQL with its parameters written into it, as the driver quotes them: for what is compiled once and sent for
    every list.

    Args:
        but: A parameter that stays one, wherever it stands.
    """
    ops: Any = connections[using].ops
    written = ("%s" if value == but else ops.compose_sql("%s", [value]).replace("%", "%%") for value in params)
    return sql.replace("%%", "%%%%") % tuple(written)


def run_candidates(sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Run one candidate query under our settings and time limit; return its rows.

    The settings end with the query, inside the host's transaction too. Where the driver can do that, they go to the
    database in one message with it: on their own they would take longer on the way than many a query.
    """
    using = database()
    connection = connections[using]
    settings = _session_settings(using)
    in_one = _takes_several(connection)

    def run(cursor: Any) -> list[tuple[Any, ...]]:
        if in_one:
            cursor.execute(f"{settings}; {sql}", params)
            cursor.nextset()
        else:
            cursor.execute(settings)
            cursor.execute(sql, params)
        return list(cursor.fetchall())

    if in_one and connection.get_autocommit():  # one message is one transaction
        with connection.cursor() as cursor:
            return run(cursor)
    with transaction.atomic(using=using), connection.cursor() as cursor:
        rows = run(cursor)
        transaction.set_rollback(True, using=using)  # what is undone is the settings alone
        return rows


@dataclass(frozen=True)
class Query(Generic[T]):
    """A query that waits for no other one's rows, and what its rows mean."""

    sql: str
    params: Sequence[Any]
    read: Callable[[list[tuple[Any, ...]]], T]

    def run(self) -> T:
        with connections[database()].cursor() as cursor:
            cursor.execute(self.sql, self.params)
            return self.read(list(cursor.fetchall()))


def run_together(*queries: Query[Any]) -> list[Any]:
    """Run queries and return what each says; in one message where the driver can do that: each on its own would take
    longer on the way than it takes."""
    connection = connections[database()]
    if len(queries) < 2 or not _takes_several(connection):
        return [query.run() for query in queries]
    found = []
    with connection.cursor() as cursor:
        cursor.execute(
            "; ".join(query.sql for query in queries), [value for query in queries for value in query.params]
        )
        for query in queries:
            found.append(query.read(list(cursor.fetchall())))
            cursor.nextset()
    return found


def _takes_several(connection: Any) -> bool:
    """Say whether the driver sends several statements at once and gives back the results of each: psycopg 3 does,
    where it puts the parameters in itself."""
    return connection.Database.__name__ == "psycopg" and not connection.settings_dict["OPTIONS"].get(
        "server_side_binding"
    )


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
    return rows_query(model, fields, where, params, related).run()


def rows_query(
    model: type[M],
    fields: Sequence[str],
    where: str,
    params: Sequence[Any],
    related: Mapping[str, Sequence[str]] | None = None,
) -> Query[list[M]]:
    """Return the query of `load_rows`."""
    using = database()
    parts: list[tuple[str, Columns]] = [("t", columns_of(model, tuple(fields)))]
    tables = f'"{model._meta.db_table}" t'
    for place, (name, wanted) in enumerate((related or {}).items()):
        key: Any = model._meta.get_field(name)
        other = key.related_model
        parts.append((f"t{place}", columns_of(other, tuple(wanted))))
        tables += f' LEFT JOIN "{other._meta.db_table}" t{place} ON t{place}.id = t."{key.column}"'
    selected = ", ".join(columns.selected(table) for table, columns in parts)

    def instances(read: list[tuple[Any, ...]]) -> list[M]:
        found = []
        for values in read:
            begin, rows = 0, []
            for _, columns in parts:
                own = values[begin : begin + len(columns.names)]
                begin += len(columns.names)
                rows.append(columns.instance(own, using) if own[0] is not None else None)
            row = rows[0]
            assert row is not None
            for name, other in zip(related or (), rows[1:], strict=True):
                setattr(row, name, other)
            found.append(row)
        return found

    return Query(f"SELECT {selected} FROM {tables} WHERE {where}", params, instances)


@dataclass(frozen=True)
class Columns:
    """Columns of a model that are read by hand."""

    model: Any
    columns: tuple[str, ...]
    """As the table has them."""
    names: tuple[str, ...]
    """As instances have them."""
    converted: tuple[tuple[int, Any], ...]
    """Which of the values are JSON, and what reads them."""

    def selected(self, table: str) -> str:
        """Return them for a SELECT from a table of this name, which is taken as it stands."""
        return ", ".join(f'{table}."{column}"' for column in self.columns)

    def values(self, read: Sequence[Any]) -> list[Any]:
        """Return what was read as a queryset would."""
        values = list(read)
        for place, convert in self.converted:
            value = values[place]
            # Most rows have nothing in most columns of JSON.
            values[place] = {} if value == "{}" else [] if value == "[]" else convert(value, None, None)
        return values

    def instance(self, read: Sequence[Any], using: str) -> Any:
        """Return a row of a database as a queryset would, at a quarter of the cost; fields that are not among these
        are deferred. No signals of models being made are sent."""
        instance = self.model.__new__(self.model)
        state = instance._state = ModelState()
        state.adding, state.db = False, using
        instance.__dict__.update(zip(self.names, self.values(read), strict=True))
        return instance


@functools.lru_cache(maxsize=32)
def columns_of(model: type[Model], fields: tuple[str, ...]) -> Columns:
    """Return the columns of the fields, the primary key, by which a missing row is known, first."""
    found: list[Any] = [column for column in model._meta.concrete_fields if column.name in fields]
    return Columns(
        model,
        tuple(column.column for column in found),
        tuple(column.attname for column in found),
        tuple((place, column.from_db_value) for place, column in enumerate(found) if hasattr(column, "from_db_value")),
    )


def id_array(ids: Sequence[int]) -> str:
    """Return ids as PostgreSQL reads an array: quicker than a list for the driver to turn over, one by one."""
    return "{" + ",".join(map(str, ids)) + "}"


def vector_literal(vector: Float32Vector) -> str:
    """Return a vector as pgvector reads it."""
    numbers = np.asarray(vector, dtype=np.float32).tolist()
    # Nine digits are all that float32 holds.
    return "[" + ",".join(["%.9g"] * len(numbers)) % tuple(numbers) + "]"


def read_vectors(values: Sequence[Any]) -> Float32Matrix:
    """Decode `vector_send(…)` results: two uint16 (length, unused), then big-endian float32; float32 [n, d]."""
    if not values:
        return np.zeros((0, 0), dtype=np.float32)
    # All at once: the header is as long as a number.
    numbers = np.frombuffer(b"".join(values), dtype=">f4").reshape(len(values), -1)
    return numbers[:, 1:].astype(np.float32)
