"""Write the recommendations of many learners to a CSV file."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from llmrec_django.conf import resolve_tenant
from llmrec_django.exceptions import LLMRecError
from llmrec_django.services import batch
from llmrec_django.services.spaces import tables_exist

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = "Writes the recommendations of many learners as CSV: user_id, item_id, rank, score."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--users", default="all", help='"all" learners, or a CSV file with a column user_id.')
        parser.add_argument("-k", type=int, default=10, help="Length of each list.")
        parser.add_argument("--among", metavar="FILE", help="Recommend only the item_ids of this CSV file.")
        parser.add_argument(
            "--placement",
            default="",
            help="Apply a placement's rules. Without it: most relevant first, nothing the learner ever touched.",
        )
        parser.add_argument("--tenant", help="Tenant key; default: the site's own.")
        parser.add_argument("--output", default="-", metavar="FILE", help='Default "-": standard output.')

    def handle(self, *args: Any, **options: Any) -> None:
        if options["k"] < 1:
            raise CommandError(f"Cannot write lists of length {options['k']}. -k must be at least 1.")
        if not tables_exist():
            raise CommandError("Cannot recommend: this app's tables need PostgreSQL with pgvector. See llmrec_doctor.")
        tenant = options["tenant"] or resolve_tenant()
        total = batch.count_learners(tenant) if options["users"] == "all" else None
        self.is_talkative = options["verbosity"] >= 1 and options["output"] != "-"

        def show_progress(n_learners: int) -> None:
            if self.is_talkative and self.stdout.isatty():
                of_all = f" of {total:,}" if total else ""
                self.stdout.write(f"\r  {n_learners:,}{of_all} learners", ending="")
                self.stdout.flush()

        try:
            report = batch.write_run(
                options["output"],
                k=options["k"],
                tenant=tenant,
                users=options["users"],
                among=options["among"],
                placement=options["placement"],
                on_progress=show_progress,
            )
        except LLMRecError as exc:
            raise CommandError(str(exc)) from exc
        except BrokenPipeError:
            # The reader (`| head`) has seen enough. Python would complain once more when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
        if self.is_talkative:
            if self.stdout.isatty():
                self.stdout.write("")
            self.stdout.write(
                f"{report.rows:,} recommendations for {report.learners:,} learners "
                f"({report.newcomers:,} without a profile) in {options['output']}."
            )
