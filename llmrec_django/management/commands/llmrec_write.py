from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from llmrec_django.conf import conf
from llmrec_django.exceptions import LLMRecError
from llmrec_django.services import spaces
from llmrec_django.services.writing import client, run

WHY = {
    "unavailable": "The language model cannot be reached now.",
    "budget": "The calls of this hour or day are used up.",
    "time": "There is more to do: run it again.",
}


class Command(BaseCommand):
    help = (
        "Lets the language model write the reasons, summaries and drafts of goals that wait for it. What it writes is "
        "shown only if it passes the validator. Safe to stop and to run beside workers."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--limit", type=int, help="Ask for at most so many reasons and summaries.")
        parser.add_argument(
            "--kinds", nargs="+", choices=("reason", "summary", "goal"), default=[], help="Only these; default: all."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["limit"] is not None and options["limit"] < 1:
            raise CommandError(f"--limit must be 1 or more, not {options['limit']}.")
        if not spaces.tables_exist():
            raise CommandError("Cannot write: this app's tables need PostgreSQL with pgvector. See llmrec_doctor.")
        if not conf.WRITER["BACKEND"]:
            raise CommandError("Cannot write: there is no language model. Set LLMREC['WRITER'], see docs/writer.md.")
        try:
            client.writer()
            report = run.write_pending(limit=options["limit"], kinds=tuple(options["kinds"]))
        except LLMRecError as exc:
            raise CommandError(str(exc)) from exc
        if options["verbosity"] > 0:
            self.stdout.write(
                f"{report.written} written, {report.refused} did not pass, {report.failed} failed, "
                f"{report.drafts} drafts of goals read."
            )
        if report.stopped in ("unavailable", "budget"):
            raise CommandError(WHY[report.stopped])
        if report.stopped and options["verbosity"] > 0:
            self.stdout.write(WHY[report.stopped])
