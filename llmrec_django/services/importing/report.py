"""What an import did, and what it could not take."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db import connections, transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEPT_ERRORS = 100
"""So many errors stay in the report; all of them pass through `on_error`."""


@dataclass(frozen=True, slots=True)
class RowError:
    """One row that was not taken."""

    line: int
    """1-based line of the file on which the row begins."""
    field: str
    """Column at fault; "" when it is the row as a whole."""
    message: str

    def __str__(self) -> str:
        where = f"line {self.line}" + (f", {self.field}" if self.field else "")
        return f"{where}: {self.message}"


class RowProblem(ValueError):
    """Raised while one row is checked; the importer adds the line."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class StrictImportStopped(Exception):
    """Leaves the transaction of a strict import or a dry run, so that nothing of it stays."""


@dataclass
class ImportReport:
    """Counts of one import. `rows` = taken + failed."""

    rows: int = 0
    failed: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    """What became of the rows that could be read: created, updated, unchanged, known, opted out …"""
    errors: list[RowError] = field(default_factory=list)
    """The first ones, in the order of the file."""
    ignored_columns: tuple[str, ...] = ()
    is_stored: bool = True
    """False after a dry run, and after a strict import that met an error."""
    on_error: Callable[[RowError], None] | None = None
    on_progress: Callable[[int], None] | None = None

    def add_error(self, error: RowError) -> None:
        self.failed += 1
        if len(self.errors) < KEPT_ERRORS:
            self.errors.append(error)
        if self.on_error is not None:
            self.on_error(error)

    def advance(self, n_rows: int) -> None:
        self.rows += n_rows
        if self.on_progress is not None:
            self.on_progress(self.rows)


@contextmanager
def unit_of_work(report: ImportReport, *, strict: bool, dry_run: bool, aliases: set[str]) -> Iterator[None]:
    """Hold the whole import in one transaction when it must be possible to undo it.

    Without `strict` or `dry_run` each batch commits by itself: an import that is stopped keeps its work.
    """
    if not (strict or dry_run):
        yield
        return
    try:
        with ExitStack() as stack:
            for alias in sorted(aliases):
                stack.enter_context(transaction.atomic(using=alias))
            yield
            if dry_run or report.failed:
                raise StrictImportStopped
    except StrictImportStopped:
        report.is_stored = False


def require_postgresql(alias: str) -> None:
    """Raise `LLMRecConfigurationError` where this app's tables cannot exist."""
    from llmrec_django.conf import LLMRecConfigurationError

    vendor = connections[alias].vendor
    if vendor != "postgresql":
        raise LLMRecConfigurationError(
            f"Cannot import into database {alias!r}. It is {vendor}, and this app keeps its tables in "
            "PostgreSQL. Run the import where DATABASES (or LLMREC['DATABASE']) names a PostgreSQL database."
        )
