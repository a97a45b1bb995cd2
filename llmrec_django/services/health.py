"""Whether this process can recommend, for load balancers and monitors: a few cheap questions, and no secrets.

The doctor looks at everything, once; this looks at what may break while a site runs, every few seconds.
"""

from __future__ import annotations

import logging
import threading
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from django.db import DatabaseError, connections, router

from llmrec_django.conf import conf
from llmrec_django.exceptions import ArtifactError, LLMRecError
from llmrec_django.models import ModelVersion, Resource
from llmrec_django.services import artifacts, nudge
from llmrec_django.services.backlog import backlogs
from llmrec_django.services.quality import fallen_records
from llmrec_django.services.scorer import KEPT, scorer_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

logger = logging.getLogger(__name__)

Status = Literal["ok", "degraded", "failed", "off"]
FRESH_S = 10.0
"""Answers are kept so long in a process: however often it is asked, it looks no more often."""
BACKLOG_FRESH_S = 60.0
BACKLOG_WITHIN_MS = 1000
WAITING = 1000
"""More resources than this without their vector are a backlog; a few always wait after a save."""
BROKER_WITHIN_S = 1.0
VERSIONS = 20
"""So many versions that serve are looked at, those that came last."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    status: Status
    found: str = ""
    """For people who run the site: it may name files, versions and hosts."""


@dataclass(frozen=True, slots=True)
class Health:
    """All of them."""

    checks: tuple[Check, ...]

    @property
    def status(self) -> Status:
        """The worst: "failed" where no list can be made, "degraded" where they are not what they should be."""
        found = {check.status for check in self.checks}
        return "failed" if "failed" in found else "degraded" if "degraded" in found else "ok"


def health() -> Health:
    """Look at database, trained versions, backlog and broker; what was found a few seconds ago is not looked for again.

    Without the database nothing else is asked.
    """
    with _lock:
        now = time.monotonic()
        held = _held.get("health")
        if held is not None and now - held[0] < FRESH_S:
            answer: Health = held[1]
            return answer
        checks = [_database()]
        if checks[0].status == "ok":
            checks += [*_safely("version", _versions), *_safely("quality", _quality), *_safely("backlog", _backlog)]
        checks += _safely("broker", _broker)
        found = Health(tuple(checks))
        _held["health"] = (time.monotonic(), found)
        return found


_lock = threading.Lock()
_held: dict[str, tuple[float, Any]] = {}
_checked: dict[str, tuple[tuple[int, float], dict[str, int]]] = {}
"""Archive → its size and time when its digest was right, and the sizes of the files in it."""


def forget() -> None:
    """Forget every answer; for tests."""
    _held.clear()
    _checked.clear()


def _safely(name: str, look: Callable[[], Iterator[Check]]) -> list[Check]:
    """Look; what breaks while looking is a finding too."""
    try:
        return list(look())
    except Exception as exc:
        logger.exception("health could not be looked at name=%s", name)
        return [Check(name, "degraded", f"{type(exc).__name__}: {_first_line(exc)}")]


def _database() -> Check:
    alias = router.db_for_read(Resource)
    connection = connections[alias]
    if connection.vendor != "postgresql":
        return Check("database", "failed", f"{alias!r} is {connection.display_name}; PostgreSQL is needed")
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT 1 FROM {Resource._meta.db_table} LIMIT 1")
    except DatabaseError as exc:
        return Check("database", "failed", f"{alias!r}: {_first_line(exc)}")
    return Check("database", "ok")


def _versions() -> Iterator[Check]:
    """Look at the files of the versions that serve: the archive, what this machine unpacked, and what it opened."""
    serving = ModelVersion.objects.filter(status=ModelVersion.Status.ACTIVE).order_by("-activated_at", "-pk")
    for place, version in enumerate(serving.defer("metrics", "config", "why")[:VERSIONS]):
        name = f"version {version.pk}"
        try:
            sizes = _check_archive(version)
            _check_unpacked(version, sizes)
            if place < KEPT:  # a process keeps no more of them open
                scorer_of(version)
        except ArtifactError as exc:
            yield Check(name, "degraded", f"{exc} Until then the version before serves, or none.")
        except LLMRecError as exc:
            yield Check(name, "degraded", str(exc))
        else:
            yield Check(name, "ok", f"serves tenant {version.tenant!r}")


def _check_archive(version: ModelVersion) -> dict[str, int]:
    """Compare the archive with its digest, once for as long as it does not change; return the sizes of its files.

    Raises:
        ArtifactError: it is missing, or is not what was written.
    """
    storage = artifacts.storage()
    try:
        size = storage.size(version.artifact) if version.artifact else 0
        changed = storage.get_modified_time(version.artifact).timestamp() if version.artifact else 0.0
    except NotImplementedError:  # a storage that knows no times: the size has to do
        changed = 0.0
    except OSError as exc:
        raise ArtifactError(
            f"Cannot read the archive {version.artifact!r} of version {version.pk}. {exc.strerror or exc}. Bring it "
            "back, go back to another version or train again."
        ) from exc
    held = _checked.get(version.digest)
    if held is not None and held[0] == (size, changed):
        return held[1]
    artifacts.verify(version)
    with storage.open(version.artifact) as packed, zipfile.ZipFile(packed) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    if len(_checked) >= VERSIONS:
        _checked.clear()
    _checked[version.digest] = ((size, changed), sizes)
    return sizes


def _check_unpacked(version: ModelVersion, sizes: dict[str, int]) -> None:
    """Compare the sizes of the files that this machine serves from with those in the archive.

    Raises:
        ArtifactError: one is missing or was cut off, or they cannot be unpacked.
    """
    folder: Path = artifacts.fetch(version)
    for name, size in sizes.items():
        file = folder / name
        found = file.stat().st_size if file.is_file() else None
        if found != size:
            raise ArtifactError(
                f"Cannot read {str(file)!r} of version {version.pk}. "
                f"{'It is missing' if found is None else f'It has {found} of {size} bytes'}. Delete the folder "
                f"{str(folder)!r} and restart: it is unpacked again."
            )


def _quality() -> Iterator[Check]:
    for record in fallen_records().select_related("version"):
        yield Check(
            "quality",
            "degraded",
            f"version {record.version_id} reached NDCG@10 {record.ndcg:.4f} where {record.expected or 0:.4f} was "
            "expected. Train again.",
        )


def _backlog() -> Iterator[Check]:
    now = time.monotonic()
    held = _held.get("backlog")
    if held is None or now - held[0] >= BACKLOG_FRESH_S:
        held = (now, backlogs(within_ms=BACKLOG_WITHIN_MS))
        _held["backlog"] = held
    for one in held[1]:
        if one.waiting is None:
            yield Check("backlog", "degraded", f"space {one.space.pk}: could not be counted in {BACKLOG_WITHIN_MS} ms")
            continue
        found = f"space {one.space.pk}: {one.waiting} wait to be embedded, {one.failed} failed"
        yield Check("backlog", "degraded" if one.waiting > WAITING else "ok", found)


def _broker() -> Iterator[Check]:
    if not conf.CELERY or not nudge.can_publish():
        yield Check("broker", "off")
        return
    error = nudge.reach(BROKER_WITHIN_S)
    # Saves and pages go on without it.
    yield Check("broker", "degraded" if error else "ok", error)


def _first_line(exc: Exception) -> str:
    return (str(exc).strip().splitlines() or ["(no message)"])[0]
