from __future__ import annotations

import sys
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from llmrec_django.exceptions import LLMRecError
from llmrec_django.services import embedding, nudge, screening, spaces
from llmrec_django.services.embedding import EmbedReport
from llmrec_django.services.encoders import document_encoder, export_query_encoder

LOG_LINE_EVERY_S = 10
"""Where the output is a file, a line of progress so often."""


class Command(BaseCommand):
    help = (
        "Embeds every resource and goal whose text has no vector yet, builds the index of a space that has grown, and "
        "lets a complete space of a new encoder serve. Safe to stop and to run beside workers."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--enqueue", action="store_true", help="Only ask the Celery workers to do it.")
        parser.add_argument("--limit", type=int, help="Embed at most so many resources in each space.")
        parser.add_argument(
            "--export",
            action="store_true",
            help="Write the query encoder for web processes again, even if it is there.",
        )
        parser.add_argument("--dry-run", action="store_true", help="Only say what is pending.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["limit"] is not None and options["limit"] < 1:
            raise CommandError(f"--limit must be 1 or more, not {options['limit']}.")
        if not spaces.tables_exist():
            raise CommandError("Cannot embed: this app's tables need PostgreSQL with pgvector. See llmrec_doctor.")
        if options["enqueue"]:
            self._enqueue()
            return
        try:
            if options["dry_run"]:
                self._say(f"{embedding.count_pending(document_encoder())} resources have no vector of their text.")
                return
            self._embed(options["limit"], options["verbosity"])
            if options["export"]:
                self._export()
        except LLMRecError as exc:
            raise CommandError(str(exc)) from exc

    def _enqueue(self) -> None:
        if not nudge.can_publish():
            raise CommandError("There are no workers: Celery is missing or in eager mode. Run this without --enqueue.")
        if not nudge.publish():
            raise CommandError("Cannot reach the broker. The sweep will find the work, or run this without --enqueue.")
        self._say("The workers have been asked.")

    def _embed(self, limit: int | None, verbosity: int) -> None:
        began = time.monotonic()
        progress = self._progress(began) if verbosity > 0 else None
        screening.screen_pending()
        report = embedding.embed_pending(limit=limit, on_progress=progress)
        if progress and report.done and sys.stdout.isatty():
            self.stdout.write("")
        seconds = time.monotonic() - began
        self._say(
            f"Embedded {report.embedded} resources and {report.profiles} profiles in {seconds:.1f} s "
            f"({report.unchanged} had the same text, {report.empty} have none, {report.failed} failed)."
        )
        for space in report.activated:
            self._say(f"Vector space {space} now serves.")
        # The sweep of the workers does this too; a site without Celery has only this command.
        if purged := spaces.purge_retired():
            self._say(f"Retired vector spaces deleted: {purged}.")
        if report.failed:
            raise CommandError(f"{report.failed} resources could not be embedded; the admin lists them with the cause.")

    def _progress(self, began: float) -> Any:
        in_place = sys.stdout.isatty()
        shown = began

        def show(report: EmbedReport) -> None:
            nonlocal shown
            if not in_place and time.monotonic() - shown < LOG_LINE_EVERY_S:
                return
            shown = time.monotonic()
            rate = report.done / max(time.monotonic() - began, 1e-6)
            line = f"{report.done} resources, {rate:.0f} a second"
            self.stdout.write(f"\r{line}" if in_place else line, ending="" if in_place else "\n")
            self.stdout.flush()

        return show

    def _export(self) -> None:
        space = spaces.active_space()
        folder = export_query_encoder(space, replace=True) if space else None
        self._say(f"Query encoder written to {folder}." if folder else "This encoder needs no export for search.")

    def _say(self, text: str) -> None:
        self.stdout.write(text)
