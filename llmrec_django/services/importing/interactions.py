"""Importing what learners did."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import connections, router, transaction
from django.utils import timezone

from llmrec_django.conf import conf, verb_named
from llmrec_django.models import Interaction, LearnerProfile, Resource
from llmrec_django.services.attribution import attribute_deeds
from llmrec_django.services.forgotten import NOT_FORGOTTEN
from llmrec_django.services.importing import values
from llmrec_django.services.importing.accounts import LearnerFinder
from llmrec_django.services.importing.files import Row, open_rows
from llmrec_django.services.importing.report import (
    ImportReport,
    RowError,
    RowProblem,
    require_postgresql,
    unit_of_work,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

BATCH = 20_000
COLUMNS = frozenset({"user_id", "item_id", "timestamp", "event", "value", "event_id"})


class Event(NamedTuple):
    """One checked row."""

    line: int
    learner: str
    item: str
    verb: str
    value: float | None
    occurred_at: datetime
    event_id: str


def import_interactions(
    path: str | Path,
    *,
    tenant: str = "default",
    source: str = "import",
    create_users: bool = False,
    visitors: bool = False,
    strict: bool = False,
    dry_run: bool = False,
    report: ImportReport | None = None,
) -> ImportReport:
    """Add interactions from a file with user_id, item_id, event and maybe timestamp, value, event_id.

    Importing a file again adds nothing: an event without an `event_id` is known by its item, verb, time and
    value. Rows of equal or no time keep the order of the file; rows without a time count as done at the import.
    The file is trusted: every verb is taken. Learners who switched personal recommendations off stay out.

    Args:
        create_users: Make accounts (without password) for ids that have none; no signals are sent for them.
        visitors: Keep ids without an account as visitors, named "import:<user_id>".

    Raises:
        ImportFileError: the file cannot be read or lacks a column.
        CannotCreateAccounts: the host's user model needs values that a file has not.
        LLMRecConfigurationError: the database is not PostgreSQL.
    """
    alias = router.db_for_write(Interaction)
    require_postgresql(alias)
    report = report or ImportReport()
    finder = LearnerFinder(tenant=tenant, create_users=create_users, visitors=visitors)
    reader = _Reader(report)
    with (
        open_rows(path) as file,
        unit_of_work(report, strict=strict, dry_run=dry_run, aliases={alias, finder.alias, finder.user_alias}),
    ):
        report.ignored_columns = file.require("user_id", "item_id", "event", known=COLUMNS)
        events: list[Event] = []
        pending_rows = 0
        for row in file.rows:
            pending_rows += 1
            try:
                events.append(reader.check(row))
            except RowProblem as problem:
                report.add_error(RowError(row.line, problem.field, str(problem)))
            if pending_rows >= BATCH:
                _store(events, tenant, source, alias, finder, report)
                report.advance(pending_rows)
                events, pending_rows = [], 0
        _store(events, tenant, source, alias, finder, report)
        report.advance(pending_rows)
    if finder.n_created_users:
        report.counts["accounts created"] = finder.n_created_users
    return report


class _Reader:
    """Checks rows; what does not change during an import is read once."""

    def __init__(self, report: ImportReport) -> None:
        self.report = report
        self.started_at = timezone.now()
        self.latest = values.tomorrow()
        self.low, self.high = conf.RATING_SCALE
        self.allowed = ", ".join(sorted(set(conf.VERBS) - {"searched"}))

    def check(self, row: Row | RowError) -> Event:
        if isinstance(row, RowError):
            raise RowProblem(row.field, row.message)
        cells = row.cells
        learner = values.text(cells, "user_id", limit=240, needed=True)
        item = values.text(cells, "item_id", limit=255, needed=True)
        name = values.text(cells, "event", needed=True)
        verb = verb_named(name)
        if verb is None or verb == "searched":
            raise RowProblem("event", f"{name[:60]!r} is no known event, must be one of: {self.allowed}")
        value = self._value(cells, verb)
        time = values.moment(cells, "timestamp", latest=self.latest)
        event_id = values.text(cells, "event_id", limit=255)
        if not event_id:
            content = f"{item}\x1f{verb}\x1f{time.timestamp() if time else ''}\x1f{'' if value is None else value}"
            event_id = hashlib.blake2b(content.encode(), digest_size=16).hexdigest()
        return Event(row.line, learner, item, verb, value, time or self.started_at, event_id)

    def _value(self, cells: Mapping[str, Any], verb: str) -> float | None:
        """Return the value scaled to [0, 1]; only ratings and progress mean anything."""
        value = values.number(cells, "value")
        if verb == "rated":
            if value is None:
                raise RowProblem("value", "is empty, but a rating needs one")
            if not self.low <= value <= self.high:
                raise RowProblem("value", f"{value:g} is not on the rating scale {self.low:g} to {self.high:g}")
            return float((value - self.low) / (self.high - self.low))
        if verb == "progressed":
            if value is not None and not 0 <= value <= 1:
                raise RowProblem("value", f"{value:g} is not between 0 and 1, as progress must be")
            return value
        return None


def _store(
    events: list[Event], tenant: str, source: str, alias: str, finder: LearnerFinder, report: ImportReport
) -> None:
    if not events:
        return
    with transaction.atomic(using=alias):
        learners = finder.find(event.learner for event in events)
        keys = {event.item for event in events}
        items = dict(Resource.objects.using(alias).filter(tenant=tenant, key__in=keys).values_list("key", "pk"))
        ready = []
        for event in events:
            if event.learner not in learners:
                report.add_error(
                    RowError(event.line, "user_id", f"{event.learner!r}: {finder.problems[event.learner]}")
                )
            elif event.item not in items:
                report.add_error(RowError(event.line, "item_id", f"no resource has the key {event.item!r}"))
            elif not learners[event.learner].personalise:
                report.counts["opted out"] += 1
            else:
                ready.append((learners[event.learner].id, items[event.item], event))
        n_created = _insert(ready, tenant, source, alias)
    report.counts["created"] += n_created
    report.counts["known"] += len(ready) - n_created


INSERT = """
INSERT INTO {table} (tenant, source, query, received_at,
                     learner_id, resource_id, verb, value, occurred_at, event_id)
SELECT %s, %s, '', now(), learner_id, resource_id, verb, value, occurred_at, event_id
FROM {learners} learner JOIN unnest(%s::bigint[], %s::bigint[], %s::text[], %s::float8[], %s::timestamptz[], %s::text[])
     WITH ORDINALITY AS row (learner_id, resource_id, verb, value, occurred_at, event_id, place)
     ON learner.id = row.learner_id
WHERE (learner.history_from IS NULL OR row.occurred_at > learner.history_from)
AND {not_forgotten}
ORDER BY place
ON CONFLICT DO NOTHING
"""


def _insert(ready: list[tuple[int, int, Event]], tenant: str, source: str, alias: str) -> int:
    """Add the rows that are new, ids in the order given; return how many."""
    if not ready:
        return 0
    connection = connections[alias]
    # One array a column: a single statement of fixed length for a whole batch, with any driver.
    columns: list[Any] = [
        [learner for learner, _, _ in ready],
        [resource for _, resource, _ in ready],
        [event.verb for _, _, event in ready],
        [event.value for _, _, event in ready],
        [event.occurred_at for _, _, event in ready],
        [event.event_id for _, _, event in ready],
    ]
    with connection.cursor() as cursor:
        table = connection.ops.quote_name(Interaction._meta.db_table)
        learners = connection.ops.quote_name(LearnerProfile._meta.db_table)
        sql = INSERT.format(table=table, learners=learners, not_forgotten=NOT_FORGOTTEN)
        cursor.execute(sql, [tenant, source, *columns, source])
        created = int(cursor.rowcount)
    if created:
        attribute_deeds((learner, resource, event.verb) for learner, resource, event in ready)
    return created
