"""Read the host's rows into resources and interactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError
from django.db import router

from llmrec_django.models import Resource
from llmrec_django.models.base import is_supported
from llmrec_django.services.sync import BATCH_SIZE, SyncCounts, sync_queryset, sync_source_links
from llmrec_django.services.sync_activity import sync_activity
from llmrec_django.sources import ActivitySource, NotRegistered, ResourceSource, registry

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable

SHOWN_ERRORS = 20


class Command(BaseCommand):
    help = "Backfills and repairs resources and interactions from the host's registered models."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("names", nargs="*", metavar="NAME", help="Sources to sync; default: all.")
        parser.add_argument("--dry-run", action="store_true", help="Count what would be done, change nothing.")
        parser.add_argument("--batch-size", type=int, default=BATCH_SIZE, help="Rows read at once.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["batch_size"] < 1:
            raise CommandError("Cannot read 0 rows at once. Give --batch-size a number of at least 1.")
        alias = router.db_for_write(Resource)
        if not is_supported(alias):
            raise CommandError(
                f"Cannot sync: database {alias!r} is not PostgreSQL. Point DATABASES or LLMREC['DATABASE'] to one."
            )
        self.dry_run: bool = options["dry_run"]
        self.n_errors = 0
        resources, activities = self._chosen(options["names"])
        size = options["batch_size"]
        for source in resources:
            counts = sync_queryset(source, batch_size=size, dry_run=self.dry_run, on_error=self._on_error(source.name))
            self._report(source.name, counts)
        if not self.dry_run:
            # Only now does every resource exist that another one may require.
            for source in resources:
                changed = sync_source_links(source, batch_size=size, on_error=self._on_error(source.name))
                if changed:
                    self.stdout.write(f"{source.name}: {changed:,} prerequisites and competencies changed")
        for activity in activities:
            counts = sync_activity(
                activity, batch_size=size, dry_run=self.dry_run, on_error=self._on_error(activity.name)
            )
            self._report(activity.name, counts)
        if self.n_errors:
            raise CommandError(f"Rows that could not be synced: {self.n_errors:,}. All others are.")

    def _chosen(self, names: list[str]) -> tuple[list[ResourceSource], list[ActivitySource]]:
        if not names:
            if not registry.resources():
                self.stderr.write("No models are registered. Register them in an llmrec.py beside your models.")
            return registry.resources(), registry.activities()
        try:
            chosen = [registry.named(name) for name in names]
        except NotRegistered as exc:
            raise CommandError(str(exc)) from exc
        return (
            [source for source in chosen if isinstance(source, ResourceSource)],
            [source for source in chosen if isinstance(source, ActivitySource)],
        )

    def _on_error(self, name: str) -> Callable[[Any, str], None]:
        def report(pk: Any, words: str) -> None:
            self.n_errors += 1
            if self.n_errors <= SHOWN_ERRORS:
                self.stderr.write(f"{name} {pk}: {words}")
            elif self.n_errors == SHOWN_ERRORS + 1:
                self.stderr.write("Further errors are counted only.")

        return report

    def _report(self, name: str, counts: SyncCounts) -> None:
        parts = [
            f"{getattr(counts, field):,} {field}"
            for field in ("created", "updated", "unchanged", "unpublished", "deleted", "skipped", "errors")
            if getattr(counts, field)
        ]
        prefix = "would be: " if self.dry_run else ""
        self.stdout.write(f"{name}: {counts.seen:,} rows; {prefix}{', '.join(parts) or 'nothing to do'}")
