"""Keeping resources equal to the host's rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.contrib.contenttypes.models import ContentType
from django.db import DatabaseError, IntegrityError, router, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from llmrec_django.models import Resource
from llmrec_django.models.base import is_supported
from llmrec_django.services import nudge
from llmrec_django.services.sync_links import sync_links
from llmrec_django.sources import registry
from llmrec_django.sources.mapping import resource_values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from django.db.models import Model

    from llmrec_django.sources import ResourceSource

BATCH_SIZE = 500


@dataclass(slots=True)
class SyncCounts:
    """What one run did, in rows."""

    seen: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    unpublished: int = 0
    deleted: int = 0
    skipped: int = 0
    errors: int = 0

    @property
    def changed(self) -> int:
        return self.created + self.updated + self.unpublished + self.deleted


@dataclass(slots=True)
class _Run:
    """One run over rows of one source."""

    source: ResourceSource
    dry_run: bool = False
    on_error: Callable[[Any, str], None] | None = None
    counts: SyncCounts = field(default_factory=SyncCounts)

    def failed(self, pk: Any, error: Exception) -> None:
        self.counts.errors += 1
        if self.on_error is None:
            raise error
        self.on_error(pk, f"{type(error).__name__}: {error}")


def sync_object(obj: Model) -> Resource | None:
    """Make the resource of a host's object equal to it; return the resource, or None when it has none.

    The row is read again, in its own database, so that what counts is what was stored. An object that its source
    no longer returns is unpublished; one that is gone is deleted.
    """
    source = registry.source_for(obj)
    if source is None or obj.pk is None:
        return None
    sync_pks(source, [obj.pk], using=obj._state.db)
    return resource_of(source, obj.pk)


def resource_of(source: ResourceSource, pk: Any) -> Resource | None:
    """Return the stored resource of a host's row, or None."""
    found: Resource | None = _resources(source).filter(object_id=str(pk)).first()
    return found


def sync_pks(source: ResourceSource, pks: Sequence[Any], *, using: str | None = None) -> SyncCounts:
    """Bring the resources of some of the host's rows up to date; the first error is raised, nothing is then kept."""
    run = _Run(source)
    if not is_supported(_alias()) or not pks:
        return run.counts
    queryset = source.get_queryset()
    queryset = queryset.using(using) if using else queryset
    with transaction.atomic(using=_alias()):
        for start in range(0, len(pks), BATCH_SIZE):
            page = list(pks[start : start + BATCH_SIZE])
            found = _distinct(source.prefetched(queryset.filter(pk__in=page)))
            _write(run, found)
            sync_links(source, found)
            left = {str(pk) for pk in page} - {str(obj.pk) for obj in found}
            if left:
                _remove(run, left, using=using)
    return run.counts


def sync_queryset(
    source: ResourceSource,
    queryset: QuerySet[Any] | None = None,
    *,
    batch_size: int = BATCH_SIZE,
    dry_run: bool = False,
    on_error: Callable[[Any, str], None] | None = None,
) -> SyncCounts:
    """Bring the resources of a source (or of a part of its rows) up to date, in pages and constant memory.

    Args:
        queryset: Rows of the source's model; None: all, after which resources without a row are removed.
        dry_run: Count what would be done and change nothing.
        on_error: Called with the primary key and the words of a row that cannot be synced; the rest goes on.
            None: the first error is raised.
    """
    run = _Run(source, dry_run, on_error)
    if not is_supported(_alias()):
        return run.counts
    rows = source.get_queryset() if queryset is None else queryset
    for page in _pages(source.prefetched(rows), batch_size):
        run.counts.seen += len(page)
        _write(run, page)
    if queryset is None:
        _remove_orphans(run, batch_size)
    return run.counts


def sync_source_links(
    source: ResourceSource,
    *,
    batch_size: int = BATCH_SIZE,
    on_error: Callable[[Any, str], None] | None = None,
) -> int:
    """Bring prerequisites and competencies of a source up to date, once all resources exist; return rows changed."""
    changed = 0
    if is_supported(_alias()):
        for page in _pages(source.prefetched(source.get_queryset()), batch_size):
            changed += sync_links(source, page, on_error=on_error)
    return changed


def remove_object(model: type[Model], pk: Any) -> int:
    """Delete the resource of a host's row that is gone; return how many rows went with it."""
    source = registry.source_for(model)
    if source is None or pk is None or not is_supported(_alias()):
        return 0
    return int(_resources(source).filter(object_id=str(pk)).delete()[0])


def _alias() -> str:
    return router.db_for_write(Resource)


def _resources(source: ResourceSource) -> QuerySet[Resource]:
    content_type = ContentType.objects.get_for_model(source.model)
    return Resource.objects.using(_alias()).filter(content_type_id=content_type.pk)


def _distinct(rows: Iterable[Any]) -> list[Any]:
    """Drop the repetitions that a host's joins produce."""
    return list({obj.pk: obj for obj in rows}.values())


def _pages(queryset: QuerySet[Any], size: int) -> Iterator[list[Any]]:
    """Yield rows by primary key; nothing is skipped when rows come and go meanwhile."""
    queryset = queryset.order_by("pk")
    page = list(queryset[:size])
    while page:
        yield _distinct(page)
        page = list(queryset.filter(pk__gt=page[-1].pk)[:size])


def _write(run: _Run, objects: Sequence[Any]) -> None:
    wanted: list[dict[str, Any]] = []
    for obj in objects:
        try:
            wanted.append(resource_values(run.source, obj))
        except Exception as exc:  # noqa: BLE001 - a host's own code may raise anything; the caller hears of it
            run.failed(obj.pk, exc)
    if not wanted:
        return
    wanted.sort(key=lambda values: values["key"])  # One order of locks: two saves at once do not deadlock.
    try:
        _write_values(run, wanted)
    except DatabaseError:
        if run.on_error is None:
            raise
        # One bad row must not take the page with it: find it by writing them one by one.
        for values in wanted:
            try:
                _write_values(run, [values])
            except DatabaseError as exc:
                run.failed(values["object_id"], exc)


def _write_values(run: _Run, wanted: list[dict[str, Any]]) -> None:
    content_type_id = ContentType.objects.get_for_model(run.source.model).pk
    # A savepoint only where an error is survived.
    with transaction.atomic(using=_alias(), savepoint=run.on_error is not None):
        known = _known(run.source, wanted)
        created, changed = [], []
        for values in wanted:
            values = {**values, "content_type_id": content_type_id}
            row = known.get(values["object_id"]) or known.get((values["tenant"], values["key"]))
            if row is not None and row.tenant != values["tenant"]:
                # Its history belongs to learners of the other tenant and stays out of this one.
                if not run.dry_run:
                    row.delete()
                row = None
            if row is None:
                created.append(Resource(**values))
            elif differing := [name for name, value in values.items() if getattr(row, name) != value]:
                for name in differing:
                    setattr(row, name, values[name])
                changed.append(row)
        if not run.dry_run:
            _save(created, changed, fields=list(wanted[0]))
    run.counts.created += len(created)
    run.counts.updated += len(changed)
    run.counts.unchanged += len(wanted) - len(created) - len(changed)


def _known(source: ResourceSource, wanted: list[dict[str, Any]]) -> dict[Any, Resource]:
    """Return stored rows by object id, and by (tenant, key) those that were imported without a link."""
    content_type = ContentType.objects.get_for_model(source.model)
    rows = Resource.objects.using(_alias()).filter(
        Q(content_type_id=content_type.pk, object_id__in=[values["object_id"] for values in wanted])
        | Q(tenant__in={values["tenant"] for values in wanted}, key__in=[values["key"] for values in wanted])
    )
    known: dict[Any, Resource] = {}
    for row in rows.defer("search_words"):
        known[row.tenant, row.key] = row
        if row.content_type_id == content_type.pk:
            known[row.object_id] = row
    return known


def _save(created: list[Resource], changed: list[Resource], fields: list[str]) -> None:
    """Write in bulk: no signals, and no error when another process was faster."""
    resources = Resource.objects.using(_alias())
    columns = [*(name for name in fields if name not in ("tenant", "key")), "content_type", "updated_at"]
    if created:
        try:
            _insert(created, columns)
        except IntegrityError:
            # ON CONFLICT names one constraint, and another process was faster with a row under the other one, the
            # link to the host's object. That row is there now.
            made = {(row.content_type_id, row.object_id): row.pk for row in _linked(created)}
            missing = [row for row in created if (row.content_type_id, row.object_id) not in made]
            there = [row for row in created if (row.content_type_id, row.object_id) in made]
            for row in there:
                row.pk = made[row.content_type_id, row.object_id]
            _insert(missing, columns)
            changed = changed + there
    if changed:
        # One upsert by id; bulk_update() with its CASE for every column and row takes ten times as long.
        resources.bulk_create(changed, update_conflicts=True, unique_fields=["id"], update_fields=["key", *columns])
    if created or changed:
        nudge.nudge_embedding()


def _insert(rows: list[Resource], columns: list[str]) -> None:
    with transaction.atomic(using=_alias()):
        Resource.objects.using(_alias()).bulk_create(
            rows, update_conflicts=True, unique_fields=["tenant", "key"], update_fields=columns
        )


def _linked(rows: list[Resource]) -> QuerySet[Resource]:
    """Return the stored rows that link to the same host objects."""
    return Resource.objects.using(_alias()).filter(
        content_type_id__in={row.content_type_id for row in rows}, object_id__in=[row.object_id for row in rows]
    )


def _remove(run: _Run, object_ids: set[str], *, using: str | None = None) -> None:
    """Unpublish resources whose row left the source's queryset; delete those whose row is gone."""
    there = _existing(run.source.model, object_ids, using=using)
    rows = _resources(run.source)
    hidden = rows.filter(object_id__in=object_ids & there, published=True)
    gone = rows.filter(object_id__in=object_ids - there)
    if run.dry_run:
        run.counts.unpublished += hidden.count()
        run.counts.deleted += gone.count()
        return
    run.counts.unpublished += hidden.update(published=False, updated_at=timezone.now())
    run.counts.deleted += gone.delete()[1].get(Resource._meta.label, 0)


def _existing(model: type[Model], object_ids: Iterable[str], *, using: str | None = None) -> set[str]:
    """Return those ids that have a row, whatever the managers of the model hide."""
    pks = []
    for object_id in object_ids:
        try:
            pks.append(model._meta.pk.to_python(object_id))
        except Exception:  # noqa: BLE001, S112 - a text that cannot be a key has no row; fields raise what they like
            continue
    rows: QuerySet[Any] = QuerySet(model, using=using)
    return {str(pk) for pk in rows.filter(pk__in=pks).values_list("pk", flat=True)}


def _remove_orphans(run: _Run, batch_size: int) -> None:
    rows = _resources(run.source).filter(~Q(object_id="")).order_by("pk")
    page = list(rows.values_list("pk", "object_id")[:batch_size])
    while page:
        object_ids = {object_id for _, object_id in page}
        pks = [run.source.model._meta.pk.to_python(object_id) for object_id in _existing(run.source.model, object_ids)]
        kept = {str(pk) for pk in run.source.get_queryset().filter(pk__in=pks).values_list("pk", flat=True)}
        if object_ids - kept:
            with transaction.atomic(using=_alias()):
                _remove(run, object_ids - kept)
        page = list(rows.filter(pk__gt=page[-1][0]).values_list("pk", "object_id")[:batch_size])
