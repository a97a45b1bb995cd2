"""Delete everything held about a learner."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand

from llmrec_django.management.learners import add_learner_arguments, named_learners
from llmrec_django.services.privacy import export_learner, forget_learner

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = (
        "Deletes everything held about a learner, in every tenant. The host's own rows stay, and llmrec_sync reads "
        "them again; --opt-out prevents that."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_learner_arguments(parser)
        parser.add_argument(
            "--opt-out", action="store_true", help="Leave an empty profile that says not to record this learner."
        )
        parser.add_argument("--dry-run", action="store_true", help="Say what would be deleted, delete nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        learners = named_learners(options)
        if options["dry_run"]:
            for learner in learners:
                held = export_learner(learner)
                counts = ", ".join(f"{len(v)} {k}" for k, v in held.items() if isinstance(v, list))
                self.stdout.write(f"Would delete the profile in tenant {learner.tenant!r} and {counts}.")
        else:
            deleted: Counter[str] = Counter()
            for learner in learners:
                deleted.update(forget_learner(learner, keep_opt_out=options["opt_out"]))
            for label, n in sorted(deleted.items()):
                self.stdout.write(f"{label}: {n} deleted")
        if not learners:
            self.stdout.write("Nothing is held about this learner.")
