"""Delete learner data that is older than the site keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError
from django.db import router

from llmrec_django.conf import LLMRecConfigurationError, conf
from llmrec_django.models import ModelVersion
from llmrec_django.models.base import is_supported
from llmrec_django.services.erasing import erase_forgotten
from llmrec_django.services.privacy import prune

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = (
        "Deletes learner data older than LLMREC['RETENTION_DAYS'], and takes learners who are gone out of the files of "
        "trained versions. Run it daily."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Say what would be deleted, delete nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            counts = prune(dry_run=options["dry_run"])
        except LLMRecConfigurationError as exc:
            raise CommandError(str(exc)) from exc
        done = "would be deleted" if options["dry_run"] else "deleted"
        for kind, n in counts.items():
            days = conf.RETENTION_DAYS[kind]
            rule = "kept for ever" if days is None else f"older than {days:g} days: {n} {done}"
            self.stdout.write(f"{kind}: {rule}")
        if is_supported(router.db_for_read(ModelVersion)):
            erased = erase_forgotten(dry_run=options["dry_run"])
            self.stdout.write(f"trained versions: learners who are gone, in all versions: {erased} {done}")
