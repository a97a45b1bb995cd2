"""Importing a catalogue."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from django.db import DataError, IntegrityError, router, transaction

from llmrec_django.models import Resource
from llmrec_django.services.importing import values
from llmrec_django.services.importing.files import Row, open_rows
from llmrec_django.services.importing.report import (
    ImportReport,
    RowError,
    RowProblem,
    require_postgresql,
    unit_of_work,
)
from llmrec_django.services.nudge import nudge_embedding

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

BATCH = 1000


def _authors(cells: Mapping[str, Any]) -> list[str]:
    return values.words(cells, "author" if "author" in cells else "authors", commas=False)


READERS: dict[str, tuple[str, Callable[[Mapping[str, Any]], Any]]] = {
    "title": ("title", lambda cells: values.text(cells, "title", limit=1000)),
    "description": ("description", lambda cells: values.text(cells, "description")),
    "body": ("body", lambda cells: values.text(cells, "body")),
    "translations": ("translations", lambda cells: values.translations(cells, "translations")),
    "kind": ("kind", lambda cells: values.text(cells, "kind", limit=32).lower() or "course"),
    "author": ("authors", _authors),
    "authors": ("authors", _authors),
    "publisher": ("publisher", lambda cells: values.text(cells, "publisher", limit=255)),
    "keywords": ("keywords", lambda cells: values.words(cells, "keywords", commas=True)),
    "language": ("language", lambda cells: values.language(cells, "language")),
    "level": ("level", lambda cells: values.choice(cells, "level", list(Resource.Level.values))),
    "duration_minutes": ("duration_minutes", lambda cells: values.whole_number(cells, "duration_minutes")),
    "url": ("url", lambda cells: values.address(cells, "url")),
    "image": ("image", lambda cells: values.address(cells, "image")),
    "license": ("license", lambda cells: values.text(cells, "license", limit=255)),
    "extra": ("extra", lambda cells: values.json_object(cells, "extra")),
    "published": ("published", lambda cells: values.boolean(cells, "published", default=True)),
    "available_from": ("available_from", lambda cells: values.moment(cells, "available_from")),
    "available_until": ("available_until", lambda cells: values.moment(cells, "available_until")),
}
"""Column → (field of Resource, how to read it from a row)."""
COLUMNS = frozenset(READERS) | {"item_id"}

Checked = tuple[int, str, dict[str, Any]]
"""(line, key, values by field name)"""


def import_resources(
    path: str | Path,
    *,
    tenant: str = "default",
    strict: bool = False,
    dry_run: bool = False,
    report: ImportReport | None = None,
) -> ImportReport:
    """Create and update resources from a file with the column `item_id` and any of `READERS`.

    A column that the file has sets the field, to empty too; a column that it has not leaves the field of a
    known resource as it is. A key that stands twice in the file keeps the later row. Rows equal to what is
    stored are not written.

    Raises:
        ImportFileError: the file cannot be read or has no column `item_id`.
        LLMRecConfigurationError: the database is not PostgreSQL.
    """
    alias = router.db_for_write(Resource)
    require_postgresql(alias)
    report = report or ImportReport()
    with (
        open_rows(path) as file,
        unit_of_work(report, strict=strict, dry_run=dry_run, aliases={alias}),
    ):
        report.ignored_columns = file.require("item_id", known=COLUMNS)
        batch: list[Checked] = []
        pending_rows = 0
        for row in file.rows:
            pending_rows += 1
            try:
                batch.append(_check(row))
            except RowProblem as problem:
                report.add_error(RowError(row.line, problem.field, str(problem)))
            if pending_rows >= BATCH:
                _store(batch, tenant, alias, report)
                report.advance(pending_rows)
                batch, pending_rows = [], 0
        _store(batch, tenant, alias, report)
        report.advance(pending_rows)
    if report.is_stored and (report.counts["created"] or report.counts["updated"]):
        nudge_embedding()
    return report


def _check(row: Row | RowError) -> Checked:
    if isinstance(row, RowError):
        raise RowProblem(row.field, row.message)
    key = values.text(row.cells, "item_id", limit=255, needed=True)
    found = {READERS[column][0]: READERS[column][1](row.cells) for column in row.cells if column in READERS}
    start, end = found.get("available_from"), found.get("available_until")
    if start and end and end <= start:
        raise RowProblem("available_until", "is not after available_from")
    return row.line, key, found


def _store(batch: list[Checked], tenant: str, alias: str, report: ImportReport) -> None:
    """Write a batch; when the database refuses it, halve it until the row at fault stands alone."""
    if not batch:
        return
    try:
        with transaction.atomic(using=alias):
            counts = _upsert(batch, tenant, alias)
    except (DataError, IntegrityError) as exc:
        if len(batch) == 1:
            report.add_error(RowError(batch[0][0], "", f"the database refuses it: {str(exc).splitlines()[0]}"))
            return
        middle = len(batch) // 2
        _store(batch[:middle], tenant, alias, report)
        _store(batch[middle:], tenant, alias, report)
    else:
        report.counts.update(counts)


def _upsert(batch: list[Checked], tenant: str, alias: str) -> dict[str, int]:
    rows = {key: found for _, key, found in batch}
    stored = {
        resource.key: resource
        for resource in Resource.objects.using(alias).filter(tenant=tenant, key__in=rows).defer("search_words")
    }
    changed = {
        key: found
        for key, found in rows.items()
        if key not in stored or any(getattr(stored[key], name) != value for name, value in found.items())
    }
    # Rows of JSON lines may name different fields, and an upsert writes the same fields of all its rows.
    by_fields = sorted(changed.items(), key=lambda item: sorted(item[1]))
    for names, group in groupby(by_fields, key=lambda item: sorted(item[1])):
        Resource.objects.using(alias).bulk_create(
            [Resource(tenant=tenant, key=key, **found) for key, found in group],
            update_conflicts=True,
            unique_fields=["tenant", "key"],
            update_fields=[*names, "updated_at"],
        )
    created = len(rows.keys() - stored.keys())
    return {
        "created": created,
        "updated": len(changed) - created,
        "unchanged": len(rows) - len(changed),
        "repeated": len(batch) - len(rows),
    }
