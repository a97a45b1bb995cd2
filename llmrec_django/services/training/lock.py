"""One run at a time for each tenant, and what is left of one that was killed."""

from __future__ import annotations

import hashlib
import logging
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.db import connections, router
from django.utils import timezone

from llmrec_django.conf import conf
from llmrec_django.exceptions import LLMRecError
from llmrec_django.models import ModelVersion, ResourceNeighbours
from llmrec_django.services import artifacts, spaces
from llmrec_django.services.reasons import Reason, explain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from django.db.models import QuerySet

logger = logging.getLogger(__name__)

TRAINING_LOCK = 1_818_063_220
"""First half of our advisory lock's key; the second is the tenant."""
SCRATCH = "scratch."
"""Begins the names of folders that end with the run."""


class TrainingBusyError(LLMRecError):
    """Another process is training this tenant."""


@contextmanager
def only_run(tenant: str) -> Iterator[None]:
    """Hold the lock of a tenant's training; it goes with the connection, so a killed run leaves none behind.

    Raises:
        TrainingBusyError: somebody else holds it.
    """
    connection = connections[router.db_for_write(ModelVersion)]
    take, give = "pg_try_advisory_lock", "pg_advisory_unlock"
    if connection.in_atomic_block:
        take, give = "pg_try_advisory_xact_lock", ""
    key: list[Any] = [TRAINING_LOCK, tenant]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {take}(%s, hashtext(%s))", key)
        if not cursor.fetchone()[0]:
            raise TrainingBusyError(
                f"Cannot train tenant {tenant!r}. Another process is training it. Wait until it has ended."
            )
    try:
        yield
    finally:
        if give:
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT {give}(%s, hashtext(%s))", key)


def run_folder(tenant: str) -> Path:
    """Return where a tenant's runs keep checkpoints and what they are putting together."""
    return artifacts.root() / "checkpoints" / hashlib.sha256(tenant.encode()).hexdigest()[:16]


def log_folder(version: ModelVersion) -> Path:
    """Return where the run that made a version keeps the log of its relevance model."""
    return run_folder(version.tenant) / "logs" / version.run_id


def prune_logs(tenant: str) -> None:
    """Delete the logs of runs whose version has no files any more; those of the newest runs stay in any case."""
    runs = ModelVersion.objects.filter(tenant=tenant)
    newest = runs.order_by("-pk").values_list("run_id", flat=True)[: int(conf.KEEP_VERSIONS) + 1]
    kept = {*newest, *runs.exclude(artifact="").values_list("run_id", flat=True)}
    for folder in (run_folder(tenant) / "logs").glob("*"):
        if folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)


def _unfinished() -> QuerySet[ModelVersion]:
    """Return the versions whose run has not ended: in training, or stored and never let serve."""
    return ModelVersion.objects.filter(
        status__in=(ModelVersion.Status.TRAINING, ModelVersion.Status.CANDIDATE), activated_at=None
    )


def fail(version: ModelVersion, reason: Reason) -> None:
    """Declare a version failed, and delete what it had stored; its checkpoints stay for the next run.

    Only one whose run has not ended: what serves, served or was rejected stays as it is, whatever went wrong after.
    """
    explain(version, [reason])
    ended = (
        _unfinished()
        .filter(pk=version.pk)
        .update(
            status=ModelVersion.Status.FAILED,
            why=version.why,
            why_data=version.why_data,
            finished_at=timezone.now(),
            artifact="",
            digest="",
        )
    )
    if not ended:
        return
    ResourceNeighbours.objects.filter(version=version).delete()
    artifacts.delete_run(version)
    if version.relevance_space is not None:
        spaces.delete(version.relevance_space)


def clear_broken_off(tenant: str) -> list[ModelVersion]:
    """Declare runs that were killed failed and delete what is left of them; return them. Call it under the lock."""
    killed = list(_unfinished().filter(tenant=tenant).select_related("relevance_space"))
    for version in killed:
        fail(version, Reason("broken_off"))
        logger.warning("a training run was broken off version=%s tenant=%s", version.pk, tenant)
    for folder in run_folder(tenant).glob(f"{SCRATCH}*"):
        shutil.rmtree(folder, ignore_errors=True)
    return killed


def broken_off() -> list[ModelVersion]:
    """Return versions whose run has not ended and that nobody is training."""
    found = []
    for version in _unfinished().order_by("pk"):
        try:
            with only_run(version.tenant):
                found.append(version)
        except TrainingBusyError:
            continue
    return found
