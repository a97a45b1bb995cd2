"""Taking learners who are gone out of the files of trained versions.

User-kNN is what learners did: its files hold their sequences, by learner number. When a learner is forgotten, starts
anew, takes a deed back or opts out, every version that learned from them is written again without them.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from django.db.models import Exists, OuterRef

from llmrec_django.exceptions import ArtifactError
from llmrec_django.models import ForgottenDeed, LearnerProfile, ModelVersion
from llmrec_django.services import artifacts

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

LEARNER_IDS = "learner_ids"
"""File of the learners whose sequences a version holds, in the order of its rows; -1 where one was taken out."""
OF_LEARNERS = ("user_knn",)
"""Sources whose files have a row for each learner: "indices" cut by "indptr"."""


def erase_forgotten(*, dry_run: bool = False) -> int:
    """Take out of the files of all versions those learners who must not be in them any more.

    These are learners who are deleted, who opted out, and who started anew or took a deed back after the training
    began.

    Returns:
        How many rows of versions were, or with `dry_run` would be, emptied. A version whose files cannot be read is
        left as it is, and said so in the log.
    """
    erased = 0
    for version in ModelVersion.objects.exclude(artifact="").order_by("pk"):
        try:
            folder = artifacts.fetch(version)
            held = np.load(folder / f"{LEARNER_IDS}.npy") if (folder / f"{LEARNER_IDS}.npy").exists() else None
        except (ArtifactError, OSError, EOFError, ValueError) as exc:
            logger.warning("learners not taken out version=%s cause=%s", version.pk, exc)
            continue
        if held is None:
            continue
        gone = (held >= 0) & ~np.isin(held, _staying(version))
        if gone.any() and not dry_run:
            _rewrite(version, folder, held, gone)
        erased += int(gone.sum())
    return erased


def _staying(version: ModelVersion) -> NDArray[np.int64]:
    learners = LearnerProfile.objects.filter(tenant=version.tenant, personalise=True)
    learners = learners.exclude(history_from__gt=version.created_at)
    later = ForgottenDeed.objects.filter(learner=OuterRef("pk"), forgotten_at__gt=version.created_at)
    learners = learners.filter(~Exists(later))
    return np.fromiter(learners.values_list("pk", flat=True).iterator(chunk_size=20_000), dtype=np.int64)


def _rewrite(version: ModelVersion, folder: Path, held: NDArray[np.int64], gone: NDArray[np.bool_]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "version"
        shutil.copytree(folder, copy)
        np.save(copy / f"{LEARNER_IDS}.npy", np.where(gone, -1, held))
        for source in OF_LEARNERS:
            if (copy / f"{source}.indptr.npy").exists():
                indices, indptr = np.load(copy / f"{source}.indices.npy"), np.load(copy / f"{source}.indptr.npy")
                lengths = np.diff(indptr)
                np.save(copy / f"{source}.indices.npy", indices[np.repeat(~gone, lengths)])
                np.save(copy / f"{source}.indptr.npy", np.concatenate([[0], np.cumsum(np.where(gone, 0, lengths))]))
        name, digest = artifacts.store(version.run_id, copy)
    old = version.artifact
    # Whoever serves it finds the new files by their digest; the old ones go only after that.
    changed = ModelVersion.objects.filter(pk=version.pk, artifact=old).update(artifact=name, digest=digest)
    artifacts.delete_archive(old if changed else name)
    if changed:
        version.artifact, version.digest = name, digest
        artifacts.discard_unpacked(version)
    logger.info("learners taken out version=%s rows=%d", version.pk, int(gone.sum()))
