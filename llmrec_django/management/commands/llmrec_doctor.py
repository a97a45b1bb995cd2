"""Examine the installation."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from llmrec_django.services import doctor

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = "Says whether database, vectors, encoder, workers and settings are in order, and what to do if not."
    # It has to run, and report, where checks fail.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print a JSON list instead of a table.")
        parser.add_argument(
            "--repair", action="store_true", help="First rebuild broken indexes and build missing ones."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["repair"]:
            for done in doctor.repair():
                (self.stderr if options["json"] else self.stdout).write(done)
        findings = doctor.examine()
        if options["json"]:
            self.stdout.write(json.dumps([finding.as_dict() for finding in findings], indent=2, ensure_ascii=False))
        else:
            self._print_table(findings)
        failed = sum(finding.status == "fail" for finding in findings)
        if failed:
            raise CommandError(f"{failed} of {len(findings)} examinations failed.")

    def _print_table(self, findings: list[doctor.Finding]) -> None:
        styles = {"ok": self.style.SUCCESS, "warn": self.style.WARNING, "fail": self.style.ERROR}
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            status = styles[finding.status](f"{finding.status:<4}")
            self.stdout.write(f"{status}  {finding.name:<{width}}  {finding.found}")
            if finding.todo:
                self.stdout.write(f"      {'':<{width}}  → {finding.todo}")
