"""Hand out everything held about a learner."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from llmrec_django.management.learners import add_learner_arguments, named_learners
from llmrec_django.services.privacy import export_learner

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = "Writes everything held about a learner as JSON, one entry a tenant."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_learner_arguments(parser)
        parser.add_argument("--output", metavar="FILE", help="Where to write; default: standard output.")

    def handle(self, *args: Any, **options: Any) -> None:
        held = [export_learner(learner) for learner in named_learners(options)]
        text = json.dumps(held, ensure_ascii=False, indent=2)
        if not options["output"]:
            self.stdout.write(text)
            return
        try:
            Path(options["output"]).write_text(text + "\n", encoding="utf-8")
        except OSError as exc:
            raise CommandError(f"Cannot write {options['output']!r}: {exc.strerror}. Check the path.") from exc
