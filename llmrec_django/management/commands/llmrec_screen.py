from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from llmrec_django.models import ResourceScreening
from llmrec_django.services import screening, spaces


class Command(BaseCommand):
    help = (
        "Looks at the texts of new and changed resources and holds back what is hostile until a person clears it in "
        "the admin. Embedding and the sweep do it too."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--limit", type=int, help="Look at no more than so many resources.")
        parser.add_argument("--dry-run", action="store_true", help="Only say how many wait.")
        parser.add_argument("--list", action="store_true", help="List what is held back, with what was found.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["limit"] is not None and options["limit"] < 1:
            raise CommandError(f"--limit must be 1 or more, not {options['limit']}.")
        if not spaces.tables_exist():
            raise CommandError("Cannot screen: this app's tables need PostgreSQL with pgvector. See llmrec_doctor.")
        if options["dry_run"]:
            self.stdout.write(f"{screening.count_unscreened()} resources wait for the screen.")
        else:
            report = screening.screen_pending(limit=options["limit"])
            if options["verbosity"] > 0:
                self.stdout.write(f"{report.screened} resources looked at, {report.flagged} held back.")
            if report.classifier_failed:
                self.stderr.write("The classifier failed; only the rules have looked. See the log.")
        if options["list"]:
            for row in ResourceScreening.objects.held().select_related("resource").order_by("pk"):
                self.stdout.write(f"{row.resource.key}  {row.get_status_display()}")
                for finding in row.findings:
                    self.stdout.write(f"    {finding['rule']} in {finding['field']}: {finding['excerpt']}")
