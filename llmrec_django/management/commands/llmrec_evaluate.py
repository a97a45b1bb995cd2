"""Measure every source and the blend on held-out interactions."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from llmrec_django.conf import resolve_tenant
from llmrec_django.exceptions import LLMRecError
from llmrec_django.management.training import add_training_arguments, table_lines
from llmrec_django.services import training
from llmrec_django.services.spaces import tables_exist

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = (
        "Fits every source without each learner's last resource and says how well each, and their blend, find it. "
        "Stores nothing and changes nothing that serves."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_training_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if not tables_exist():
            raise CommandError("Cannot evaluate: this app's tables need PostgreSQL with pgvector. See llmrec_doctor.")
        talkative = options["verbosity"] >= 1 and not options["json"]
        try:
            evaluation = training.evaluate_now(
                options["tenant"] or resolve_tenant(),
                seed=options["seed"],
                sources=options["sources"],
                tune_s=options["tune"],
                say=self.stdout.write if talkative else lambda text: None,
                progress=talkative and sys.stderr.isatty(),
            )
        except LLMRecError as exc:
            raise CommandError(str(exc)) from exc
        metrics = evaluation.to_dict()
        if options["json"]:
            self.stdout.write(json.dumps(metrics))
            return
        for line in table_lines(metrics):
            self.stdout.write(line)
        self.stdout.write(evaluation.verdict()[1])
