"""The files of a trained version: one archive in the storage, unpacked once by each machine that serves it."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage, Storage, storages

from llmrec_django.conf import conf
from llmrec_django.exceptions import ArtifactError

if TYPE_CHECKING:
    from llmrec_django.models import ModelVersion

logger = logging.getLogger(__name__)


def root() -> Path:
    """Return the folder for files that workers write and web processes read."""
    return Path(conf.ARTIFACT_DIR or Path(getattr(settings, "BASE_DIR", ".")) / "llmrec_artifacts")


def storage() -> Storage:
    """Return where archives are kept: LLMREC["ARTIFACT_STORAGE"], or a folder on this machine.

    Never the storage of uploads by default: that one is often public.
    """
    if conf.ARTIFACT_STORAGE:
        return storages[conf.ARTIFACT_STORAGE]
    return FileSystemStorage(location=root())


def store(run_id: str, folder: Path) -> tuple[str, str]:
    """Pack a folder and hand it to the storage.

    Returns:
        The archive's name in the storage and its SHA-256.
    """
    with tempfile.TemporaryFile() as packed:
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    archive.write(path, path.relative_to(folder))
        packed.seek(0)
        digest = hashlib.file_digest(packed, "sha256").hexdigest()
        packed.seek(0)
        name = storage().save(_name(run_id), File(packed))
    return name, digest


def _name(run_id: str) -> str:
    return f"versions/{run_id}.zip"


def fetch(version: ModelVersion) -> Path:
    """Return the unpacked folder of a version; fetched and checked when this machine has not got it.

    Raises:
        ArtifactError: the archive is missing, or is not what was written.
    """
    if not version.artifact:
        raise _refusal(version, "It has none.")
    for place in _places():
        folder = place / f"{version.run_id}-{version.digest[:16]}"
        if folder.is_dir():
            return folder
        try:
            place.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(prefix=f".{version.run_id}.", dir=place))
        except OSError:
            continue  # a web server may not be allowed to write beside the worker's files
        try:
            _unpack(version, scratch)
            _flush(scratch)
            scratch.chmod(0o755)
            try:
                scratch.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another process was faster
                    raise
            for older in place.glob(f"{version.run_id}-*"):
                if older != folder:  # learners were taken out of the files since
                    shutil.rmtree(older, ignore_errors=True)
            return folder
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    raise _refusal(version, "No folder to unpack them in can be written.")


def _places() -> tuple[Path, ...]:
    """Return where archives are unpacked: beside them, or where a web server may write if not there."""
    return root() / "unpacked", Path(tempfile.gettempdir()) / "llmrec_unpacked"


def _flush(folder: Path) -> None:
    """Wait until the disk holds a folder: whoever finds it under its name after a power cut finds all of it."""
    if os.name != "posix":  # elsewhere folders cannot be opened
        return
    for path in (*folder.rglob("*"), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _unpack(version: ModelVersion, folder: Path) -> None:
    try:
        with storage().open(version.artifact) as packed:
            if hashlib.file_digest(packed, "sha256").hexdigest() != version.digest:
                raise _refusal(version, "They are not what training wrote.")
            packed.seek(0)
            with zipfile.ZipFile(packed) as archive:
                archive.extractall(folder)
    except OSError as exc:
        raise _refusal(version, f"{exc.strerror or exc}.") from exc
    except zipfile.BadZipFile as exc:
        raise _refusal(version, "The archive is damaged.") from exc


def delete(version: ModelVersion) -> None:
    """Delete the archive of a version, and what this machine unpacked of it."""
    delete_archive(version.artifact)
    discard_unpacked(version)


def delete_archive(name: str) -> None:
    """Delete an archive from the storage. That it is still there stops nothing: a warning says so."""
    try:
        storage().delete(name)
    except Exception as exc:  # noqa: BLE001 - each storage has exceptions of its own
        logger.warning("archive not deleted name=%s cause=%s", name, exc)


def discard_unpacked(version: ModelVersion) -> None:
    """Delete what this machine unpacked of a version; the archive stays."""
    for place in _places():
        for folder in place.glob(f"{version.run_id}-*"):
            shutil.rmtree(folder, ignore_errors=True)


def verify(version: ModelVersion) -> None:
    """Read the archive of a version once through.

    Raises:
        ArtifactError: it is missing, or is not what was written.
    """
    if not version.artifact:
        raise _refusal(version, "It has none.")
    try:
        with storage().open(version.artifact) as packed:
            if hashlib.file_digest(packed, "sha256").hexdigest() != version.digest:
                raise _refusal(version, "They are not what training wrote.")
    except OSError as exc:
        raise _refusal(version, f"{exc.strerror or exc}.") from exc


def delete_run(version: ModelVersion) -> None:
    """Delete what a run that came to nothing has left; it may have been killed before the version named its archive."""
    for name in {_name(version.run_id), version.artifact} - {""}:
        delete_archive(name)
    discard_unpacked(version)


def _refusal(version: ModelVersion, found: str) -> ArtifactError:
    return ArtifactError(
        f"Cannot read the files of model version {version.pk}. {found} Go back to another version or train again."
    )
