"""Trained versions: whether one serves, whether its files can be read, how old it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils import timezone

from llmrec_django.exceptions import ArtifactError, MissingDependency
from llmrec_django.models import Interaction, ModelVersion, Resource
from llmrec_django.services import artifacts, versions
from llmrec_django.services.doctor.findings import Finding, fail, ok, warn
from llmrec_django.services.scorer import scorer_of
from llmrec_django.services.training.lock import broken_off

if TYPE_CHECKING:
    from collections.abc import Iterator

ENOUGH = 1000
"""With so many interactions of a tenant training is worth a try."""
MAX_AGE_DAYS = 30
"""What learners did since then is known to no source but through the latest of each."""


def examine_versions() -> Iterator[Finding]:
    """Look at the version that serves each tenant, and at runs that nobody goes on with."""
    for tenant in Resource.objects.order_by("tenant").values_list("tenant", flat=True).distinct():
        active = versions.active_version(tenant)
        yield _absent(tenant) if active is None else _serving(tenant, active)
        yield from _kept(tenant)
    for version in broken_off():
        yield warn(
            f"training of version {version.pk}",
            f"broken off; tenant {version.tenant!r}",
            "The next training clears up; llmrec_doctor --repair does it now.",
        )


def _absent(tenant: str) -> Finding:
    name = f"trained version of {tenant!r}"
    met = Interaction.objects.filter(tenant=tenant, resource__isnull=False)
    n = met[:ENOUGH].count()  # counting all of them would take long on a busy site
    if n < ENOUGH:
        return ok(name, f"none; {n:,} interactions are few to learn from")
    return warn(name, f"none serves, though there are {ENOUGH:,} interactions or more", "Run manage.py llmrec_train.")


def _serving(tenant: str, active: ModelVersion) -> Finding:
    name = f"trained version of {tenant!r}"
    try:
        artifacts.verify(active)
        scorer_of(active)
    except ArtifactError as exc:
        found = f"{exc} {_meanwhile(tenant, active)}"
        return fail(name, found, "Run manage.py llmrec_train, or llmrec_train --rollback.")
    except MissingDependency as exc:
        return warn(name, str(exc), 'Run pip install "llmrec_django[web]" where the web processes run.')
    days = (timezone.now() - active.created_at).days
    found = f"version {active.pk} serves, trained {days} days ago"
    if days > MAX_AGE_DAYS:
        return warn(name, found, "Run manage.py llmrec_train, every night by Celery beat or cron.")
    return ok(name, found)


def _kept(tenant: str) -> Iterator[Finding]:
    """Look at the archives of versions that are kept for going back."""
    kept = ModelVersion.objects.filter(tenant=tenant, status=ModelVersion.Status.RETIRED).exclude(artifact="")
    for version in kept.order_by("pk"):
        try:
            artifacts.verify(version)
        except ArtifactError as exc:
            yield warn(
                f"version {version.pk}, kept for going back",
                str(exc),
                "Restore its archive from a backup. Without it, going back passes it over.",
            )


def _meanwhile(tenant: str, active: ModelVersion) -> str:
    serving = versions.serving_version(tenant)
    if serving is not None and serving != active:
        return f"Meanwhile version {serving.pk} serves."
    try:
        scorer_of(active)
    except ArtifactError:
        return "Meanwhile lists are made without training."
    return "Machines that unpacked them before go on."
