"""Import a catalogue, activity, competencies or prerequisites from a file."""

from __future__ import annotations

import csv
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from llmrec_django.conf import resolve_tenant
from llmrec_django.exceptions import LLMRecError
from llmrec_django.services import importing

if TYPE_CHECKING:
    from argparse import ArgumentParser

SHOWN_ERRORS = 20
IMPORTERS: dict[str, Any] = {
    "resources": importing.import_resources,
    "interactions": importing.import_interactions,
    "competencies": importing.import_competencies,
    "prerequisites": importing.import_prerequisites,
}


class Command(BaseCommand):
    help = "Adds the rows of a CSV or JSON-lines file (plain or .gz, UTF-8) to the catalogue or the activity."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("what", choices=list(IMPORTERS))
        parser.add_argument("file", help='Path of the file; "-" reads standard input.')
        parser.add_argument("--tenant", help="Tenant key; default: the site's own.")
        parser.add_argument("--strict", action="store_true", help="Import nothing if any row has an error.")
        parser.add_argument("--dry-run", action="store_true", help="Check every row and store nothing.")
        parser.add_argument("--errors", metavar="FILE", help="Write all row errors to this CSV file.")
        parser.add_argument(
            "--create-users",
            action="store_true",
            help="interactions: make accounts, without a password, for user ids that have none.",
        )
        parser.add_argument(
            "--visitors",
            action="store_true",
            help="interactions: keep user ids without an account as visitors.",
        )
        parser.add_argument(
            "--source",
            default="import",
            help="interactions: where they come from; an event counts once a source.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self.verbosity = options["verbosity"]
        what = options["what"]
        arguments = {
            "tenant": options["tenant"] or resolve_tenant(),
            "strict": options["strict"],
            "dry_run": options["dry_run"],
        }
        if what == "interactions":
            arguments |= {name: options[name] for name in ("create_users", "visitors", "source")}
        elif options["create_users"] or options["visitors"]:
            raise CommandError(f"--create-users and --visitors are for interactions, not for {what}.")
        report = importing.ImportReport(on_progress=self._progress)
        with ExitStack() as stack:
            if options["errors"]:
                report.on_error = self._error_writer(stack, options["errors"])
            try:
                IMPORTERS[what](options["file"], report=report, **arguments)
            except LLMRecError as exc:
                raise CommandError(str(exc)) from exc
        self._summarise(report, options)

    def _error_writer(self, stack: ExitStack, path: str) -> Any:
        try:
            stream = stack.enter_context(Path(path).open("w", encoding="utf-8", newline=""))  # noqa: SIM115
        except OSError as exc:
            raise CommandError(f"Cannot write {path!r}: {exc.strerror}. Check the path.") from exc
        writer = csv.writer(stream)
        writer.writerow(["line", "field", "message"])
        return lambda error: writer.writerow([error.line, error.field, error.message])

    def _progress(self, n_rows: int) -> None:
        if self.verbosity >= 1 and n_rows and self.stdout.isatty():
            self.stdout.write(f"\r  {n_rows:,} rows", ending="")
            self.stdout.flush()

    def _summarise(self, report: importing.ImportReport, options: dict[str, Any]) -> None:
        if self.verbosity >= 1:
            if self.stdout.isatty():
                self.stdout.write("")
            if report.ignored_columns:
                self.stdout.write(self.style.WARNING(f"Columns not read: {', '.join(report.ignored_columns)}."))
            counts = ", ".join(f"{n:,} {name}" for name, n in sorted(report.counts.items()) if n)
            self.stdout.write(f"{report.rows:,} rows: {counts or 'nothing to store'}, {report.failed:,} with errors.")
        for error in report.errors[:SHOWN_ERRORS]:
            self.stderr.write(f"{options['file']}: {error}")
        if report.failed > SHOWN_ERRORS:
            self.stderr.write(f"… and {report.failed - SHOWN_ERRORS:,} more; --errors FILE writes all of them.")
        if options["dry_run"]:
            self.stdout.write("Dry run: nothing was stored.")
        if report.failed and options["strict"]:
            raise CommandError(f"Nothing was imported: {report.failed:,} rows have errors and --strict was given.")
        if report.failed and report.failed == report.rows:
            raise CommandError("Nothing was imported: every row has an error.")
