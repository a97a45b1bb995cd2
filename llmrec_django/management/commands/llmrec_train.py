"""Train the models of a tenant, or let another version serve."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from llmrec_django.conf import resolve_tenant
from llmrec_django.exceptions import LLMRecError
from llmrec_django.management.training import add_training_arguments, table_lines
from llmrec_django.models import ModelVersion
from llmrec_django.services import training, versions
from llmrec_django.services.reasons import Reason, explain
from llmrec_django.services.spaces import tables_exist

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = (
        "Fits every source on what learners did, blends them, and lets the result serve if it beats every baseline on "
        "held-out interactions. Otherwise it is kept with the reason, and what serves goes on serving."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_training_arguments(parser)
        instead = parser.add_mutually_exclusive_group()
        instead.add_argument("--rollback", action="store_true", help="Train nothing: let the version before serve.")
        instead.add_argument("--activate", type=int, metavar="VERSION", help="Train nothing: let this version serve.")

    def handle(self, *args: Any, **options: Any) -> None:
        if training.is_helper():
            # One of several processes for one training: the first does all that is not the relevance model's.
            if not options["rollback"] and options["activate"] is None:
                training.help_to_train()
            return
        if not tables_exist():
            raise CommandError("Cannot train: this app's tables need PostgreSQL with pgvector. See llmrec_doctor.")
        tenant = options["tenant"] or resolve_tenant()
        talkative = options["verbosity"] >= 1 and not options["json"]
        try:
            if options["rollback"]:
                before = versions.roll_back(tenant, say=self.stdout.write)
                self.stdout.write(f"{before} serves now." if before else "No trained version serves now.")
                return
            if options["activate"] is not None:
                self.stdout.write(f"{self._activate(tenant, options['activate'])} serves now.")
                return
            version = training.train(
                tenant,
                seed=options["seed"],
                sources=options["sources"],
                tune_s=options["tune"],
                say=self.stdout.write if talkative else lambda text: None,
                progress=talkative and sys.stderr.isatty(),
            )
        except LLMRecError as exc:
            raise CommandError(str(exc)) from exc
        if options["json"]:
            report = {"version": version.pk, "status": version.status, "why": version.why, **version.metrics}
            self.stdout.write(json.dumps(report))
        elif talkative:
            for line in table_lines(version.metrics):
                self.stdout.write(line)
            self.stdout.write(f"{version}: {version.why}")

    def _activate(self, tenant: str, number: int) -> ModelVersion:
        version = ModelVersion.objects.filter(tenant=tenant, pk=number).first()
        if version is None:
            raise LLMRecError(f"Tenant {tenant!r} has no version {number}. Look at the admin's list of model versions.")
        version = versions.activate(version)
        explain(version, [Reason("activated_by_command")])
        version.save(update_fields=["why", "why_data"])
        return version
