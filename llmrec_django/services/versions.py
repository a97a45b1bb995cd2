"""Which trained version serves a tenant, and switching between them."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from typing import TYPE_CHECKING

from django.db import DatabaseError, connections, router, transaction
from django.db.models import F
from django.utils import timezone

from llmrec_django.conf import conf
from llmrec_django.exceptions import ArtifactError, LLMRecError
from llmrec_django.models import ModelVersion, ResourceNeighbours, VectorSpace
from llmrec_django.retrieval.sql import rows_query
from llmrec_django.services import artifacts, spaces, trained_vectors

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.models import QuerySet

    from llmrec_django.retrieval.sql import Query

logger = logging.getLogger(__name__)

# Read for every list: no more than lists need, the rest when it is asked for.
SERVING_COLUMNS = ("id", "tenant", "run_id", "status", "artifact", "digest", "source_space", "relevance_space")
SERVED = (ModelVersion.Status.ACTIVE, ModelVersion.Status.RETIRED, ModelVersion.Status.CANDIDATE)


def active_version(tenant: str) -> ModelVersion | None:
    """Return the version that serves a tenant, or None: lists are then made without training."""
    found = active_query(tenant).run() if spaces.tables_exist() else []
    return found[0] if found else None


def active_query(tenant: str) -> Query[list[ModelVersion]]:
    """Return the query of `active_version`, which finds one at most."""
    related = {"source_space": spaces.SPACE_COLUMNS, "relevance_space": spaces.SPACE_COLUMNS}
    where, params = "t.tenant = %s AND t.status = %s", [tenant, ModelVersion.Status.ACTIVE]
    return rows_query(ModelVersion, SERVING_COLUMNS, where, params, related)


def serving_version(tenant: str) -> ModelVersion | None:
    """Return the version that makes lists: the active one or, while its files cannot be read, the one before.

    Where none can be read it is the active one, and using it says why.
    """
    active = active_version(tenant)
    return None if active is None else readable(active)


def readable(active: ModelVersion) -> ModelVersion:
    """Return the version that serves in place of an active one; see `serving_version`."""
    # It reads the training package, which reads this module.
    from llmrec_django.services.scorer import scorer_of

    try:
        scorer_of(active)
    except ArtifactError:
        for version in served_before(active):
            try:
                scorer_of(version)
            except ArtifactError:
                continue
            return version
    except Exception:  # noqa: BLE001 - a page asks this; using the version meets the same error where it is dealt with
        return active
    return active


def served_before(version: ModelVersion) -> QuerySet[ModelVersion]:
    """Return the versions that served before `version` and still have their files, the last one first."""
    if version.activated_at is None:
        return ModelVersion.objects.none()
    return (
        _of(version.tenant)
        .filter(status=ModelVersion.Status.RETIRED, activated_at__lt=version.activated_at)
        .exclude(artifact="")
        .select_related("source_space", "relevance_space")
        .order_by("-activated_at")
    )


def activate(version: ModelVersion, *, why: str = "") -> ModelVersion:
    """Let `version` serve its tenant in place of the active one, in one transaction; return it.

    Raises:
        LLMRecError: its files are missing or are not what training wrote, or it never had any.
    """
    if not version.artifact:
        raise LLMRecError(f"Cannot activate {version}. It has no files any more. Train again.")
    artifacts.fetch(version)
    _prepare(version)
    now = timezone.now()
    with transaction.atomic(using=router.db_for_write(ModelVersion)):
        # In one order by every switch, so that two at once wait instead of failing on the constraint.
        list(_of(version.tenant).select_for_update().order_by("pk").values_list("pk", flat=True))
        _of(version.tenant).filter(status=ModelVersion.Status.ACTIVE).exclude(pk=version.pk).update(
            status=ModelVersion.Status.RETIRED, retired_at=now
        )
        changed = {"status": ModelVersion.Status.ACTIVE, "activated_at": now, "retired_at": None}
        # Not one whose files have been deleted since it was read: by the next run, or by another switch.
        there = ModelVersion.objects.filter(pk=version.pk).exclude(artifact="")
        if not there.update(**changed, **({"why": why} if why else {})):
            raise LLMRecError(f"Cannot activate {version}. It has no files any more. Train again.")
        _retire_spaces(version.tenant)
        if version.relevance_space is not None:
            VectorSpace.objects.filter(pk=version.relevance_space.pk).update(
                status=VectorSpace.Status.ACTIVE, activated_at=now, retired_at=None
            )
    version.refresh_from_db()
    logger.info("model version active version=%s tenant=%s", version.pk, version.tenant)
    _discard_old(version.tenant)
    return version


def roll_back(tenant: str, *, say: Callable[[str], None] = lambda text: None) -> ModelVersion | None:
    """Let the version serve again that served before the active one; return it.

    One whose archive is damaged or gone is passed over: other machines could not serve it.

    Args:
        tenant: Whose.
        say: Told of each version that is passed over.

    Returns:
        None when there is none before that can serve: then lists are made without training.

    Raises:
        LLMRecError: no version is active.
    """
    current = active_version(tenant)
    if current is None:
        raise LLMRecError(f"Cannot go back in tenant {tenant!r}. No trained version serves. Train one first.")
    for before in served_before(current):
        served_since = before.activated_at
        try:
            artifacts.verify(before)
            activate(before)
        except ArtifactError as exc:
            logger.warning("a version before is passed over version=%s cause=%s", before.pk, exc)
            say(str(exc))
            continue
        # It keeps its place in the order of versions: going back twice goes back further, not to and fro.
        ModelVersion.objects.filter(pk=before.pk).update(activated_at=served_since)
        before.refresh_from_db()
        return before
    with transaction.atomic(using=router.db_for_write(ModelVersion)):
        ModelVersion.objects.filter(pk=current.pk).update(status=ModelVersion.Status.RETIRED, retired_at=timezone.now())
        _retire_spaces(tenant)
    logger.info("no model version active tenant=%s", tenant)
    return None


def _prepare(version: ModelVersion) -> None:
    """Bring R(i) of a version up to date and index it, before it serves."""
    space = version.relevance_space
    if space is None:
        return
    alias = router.db_for_write(VectorSpace)
    guard = transaction.atomic(using=alias) if connections[alias].in_atomic_block else nullcontext()
    try:
        with guard:
            trained_vectors.feed(version)
            spaces.ensure_index(space)
    except DatabaseError:
        # It serves all the same: slower, or without what came last. The sweep and the doctor find it.
        logger.exception("trained vectors not complete version=%s", version.pk)


def _retire_spaces(tenant: str) -> None:
    """Retire what the version that served has learned; a space stays as long as its version can serve again."""
    learned = _of(tenant).exclude(relevance_space=None).values("relevance_space")
    VectorSpace.objects.filter(pk__in=learned, status=VectorSpace.Status.ACTIVE).update(
        status=VectorSpace.Status.RETIRED, retired_at=timezone.now()
    )


def _discard_old(tenant: str) -> None:
    """Delete files and neighbours of all but the last versions that served; their numbers stay."""
    # One that never served is no way back: it comes after all that did.
    newest = F("activated_at").desc(nulls_last=True)
    old = _of(tenant).exclude(status=ModelVersion.Status.ACTIVE).exclude(artifact="").order_by(newest, "-pk")
    for version in old[int(conf.KEEP_VERSIONS) :]:
        artifacts.delete(version)
        ResourceNeighbours.objects.filter(version=version).delete()
        space = version.relevance_space
        ModelVersion.objects.filter(pk=version.pk).update(artifact="", digest="")
        if space is not None:
            spaces.delete(space)


def _of(tenant: str) -> QuerySet[ModelVersion]:
    return ModelVersion.objects.filter(tenant=tenant)
