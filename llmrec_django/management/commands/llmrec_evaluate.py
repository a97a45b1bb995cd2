"""Measure every source and the blend on held-out interactions, or the version that serves on what came after it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from llmrec_django.conf import resolve_tenant
from llmrec_django.exceptions import LLMRecError
from llmrec_django.management.training import add_training_arguments, table_lines, write_metrics
from llmrec_django.services import training
from llmrec_django.services.reasons import in_english
from llmrec_django.services.spaces import tables_exist

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = (
        "Fits every source on one part of what learners did and says how well each, and their blend, find the rest. "
        "Stores nothing and changes nothing that serves. With --active it measures the version that serves instead, "
        "on what came after its training, keeps the result, and says if it has fallen."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_training_arguments(parser)
        parser.add_argument(
            "--split",
            choices=("last", "time"),
            default="last",
            help="Hold out each learner's last resource (as the training gate does), or everything after a moment.",
        )
        parser.add_argument(
            "--share",
            type=float,
            default=0.1,
            help="With --split time: the last share of all interactions is held out. Default 0.1.",
        )
        parser.add_argument("-k", type=int, nargs="+", default=[10], help="Lengths of lists; 10 is always among them.")
        parser.add_argument("--output", metavar="FILE", help='Write every number to a .json or .csv file; "-": JSON.')
        parser.add_argument("--active", action="store_true", help="Measure the version that serves; fit nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        if training.is_helper():
            if not options["active"]:
                training.help_to_train()
            return
        if not tables_exist():
            raise CommandError("Cannot evaluate: this app's tables need PostgreSQL with pgvector. See llmrec_doctor.")
        if not 0 < options["share"] < 1:
            raise CommandError(f"Cannot hold out a share of {options['share']}. Give a number between 0 and 1.")
        if min(options["k"]) < 1:
            raise CommandError(f"Cannot score lists of {min(options['k'])}. Give a length of at least 1.")
        quiet = options["verbosity"] < 1 or options["json"] or options["output"] == "-"
        tenant = options["tenant"] or resolve_tenant()
        try:
            if options["active"]:
                record = training.check_active(tenant)
                metrics, verdict = record.metrics, training.outcome_of(record)
            else:
                evaluation = training.evaluate_now(
                    tenant,
                    share=options["share"] if options["split"] == "time" else None,
                    ks=options["k"],
                    seed=options["seed"],
                    sources=options["sources"],
                    tune_s=options["tune"],
                    say=(lambda text: None) if quiet else self.stdout.write,
                    progress=not quiet and sys.stderr.isatty(),
                )
                metrics, verdict = evaluation.to_dict(), in_english(evaluation.verdict()[1])
        except LLMRecError as exc:
            raise CommandError(str(exc)) from exc
        if options["output"]:
            try:
                write_metrics(metrics, options["output"], self.stdout)
            except OSError as exc:
                raise CommandError(f"Cannot write {options['output']!r}. {exc}. Name a file in a folder.") from exc
        if options["json"]:
            self.stdout.write(json.dumps(metrics))
        if not quiet:
            for line in table_lines(metrics):
                self.stdout.write(line)
            self.stdout.write(verdict)
