"""Importing competencies and prerequisites."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import router, transaction

from llmrec_django.models import Competency, Prerequisite, Resource, ResourceCompetency
from llmrec_django.services.importing import values
from llmrec_django.services.importing.files import Row, open_rows
from llmrec_django.services.importing.report import (
    ImportReport,
    RowError,
    RowProblem,
    require_postgresql,
    unit_of_work,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COMPETENCY_COLUMNS = frozenset({"competency_id", "title", "description", "item_id", "relation", "strength"})
PREREQUISITE_COLUMNS = frozenset({"item_id", "requires_item_id", "strength"})


def import_competencies(
    path: str | Path,
    *,
    tenant: str = "default",
    strict: bool = False,
    dry_run: bool = False,
    report: ImportReport | None = None,
) -> ImportReport:
    """Create and update competencies (`competency_id`, `title`, `description`) and what has to do with them.

    A row that also has an `item_id` says that this resource teaches (or `relation`: assesses, requires) the
    competency, with a `strength` from 0 to 1. An empty title leaves the title of a known competency as it is.
    """

    def store(row: Row) -> str:
        cells = row.cells
        key = values.text(cells, "competency_id", limit=255, needed=True)
        details = {
            "title": values.text(cells, "title", limit=500),
            "description": values.text(cells, "description"),
        }
        item = values.text(cells, "item_id", limit=255)
        relation = values.choice(
            cells,
            "relation",
            list(ResourceCompetency.Relation.values),
            default=ResourceCompetency.Relation.TEACHES,
        )
        strength = values.fraction(cells, "strength", default=1.0)
        resource = _resource(tenant, item, "item_id") if item else None
        competency, is_new = Competency.objects.get_or_create(
            tenant=tenant, key=key, defaults={**details, "title": details["title"] or key}
        )
        given = {name: value for name, value in details.items() if value}
        outcome = "created" if is_new else _update(competency, given)
        if resource is None:
            return outcome
        link, is_new = ResourceCompetency.objects.get_or_create(
            resource=resource, competency=competency, relation=relation, defaults={"strength": strength}
        )
        link_outcome = "created" if is_new else _update(link, {"strength": strength})
        return outcome if link_outcome == "unchanged" else link_outcome

    return _import(path, Competency, ("competency_id",), COMPETENCY_COLUMNS, store, strict, dry_run, report)


def import_prerequisites(
    path: str | Path,
    *,
    tenant: str = "default",
    strict: bool = False,
    dry_run: bool = False,
    report: ImportReport | None = None,
) -> ImportReport:
    """Create and update prerequisites: `item_id` asks for `requires_item_id`, with a `strength` in [0, 1]."""

    def store(row: Row) -> str:
        key = values.text(row.cells, "item_id", limit=255, needed=True)
        required_key = values.text(row.cells, "requires_item_id", limit=255, needed=True)
        strength = values.fraction(row.cells, "strength", default=1.0)
        if key == required_key:
            raise RowProblem("requires_item_id", "is the resource itself")
        link, is_new = Prerequisite.objects.get_or_create(
            resource=_resource(tenant, key, "item_id"),
            requires=_resource(tenant, required_key, "requires_item_id"),
            defaults={"strength": strength},
        )
        return "created" if is_new else _update(link, {"strength": strength})

    needed = ("item_id", "requires_item_id")
    return _import(path, Prerequisite, needed, PREREQUISITE_COLUMNS, store, strict, dry_run, report)


def _import(
    path: str | Path,
    model: Any,
    needed: tuple[str, ...],
    columns: frozenset[str],
    store: Callable[[Row], str],
    strict: bool,
    dry_run: bool,
    report: ImportReport | None,
) -> ImportReport:
    """Store row by row: such files have hundreds of rows, not millions."""
    alias = router.db_for_write(model)
    require_postgresql(alias)
    report = report or ImportReport()
    with open_rows(path) as file, unit_of_work(report, strict=strict, dry_run=dry_run, aliases={alias}):
        report.ignored_columns = file.require(*needed, known=columns)
        for row in file.rows:
            try:
                if isinstance(row, RowError):
                    raise RowProblem(row.field, row.message)
                with transaction.atomic(using=alias):
                    report.counts[store(row)] += 1
            except RowProblem as problem:
                report.add_error(RowError(row.line, problem.field, str(problem)))
            report.advance(1)
    return report


def _resource(tenant: str, key: str, field: str) -> Resource:
    resource = Resource.objects.filter(tenant=tenant, key=key).only("pk").first()
    if resource is None:
        raise RowProblem(field, f"no resource has the key {key!r}")
    return resource


def _update(obj: Any, given: dict[str, Any]) -> str:
    changed = [name for name, value in given.items() if getattr(obj, name) != value]
    if not changed:
        return "unchanged"
    for name in changed:
        setattr(obj, name, given[name])
    obj.save(update_fields=changed)
    return "updated"
