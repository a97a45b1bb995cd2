"""A fitted version, made ready to serve: its files, its neighbours, and R(i) as a vector space."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
from django.db import connections, router
from django.utils import timezone

from llmrec_django.conf import conf
from llmrec_django.models import ModelVersion, Resource, ResourceNeighbours
from llmrec_django.services import artifacts, trained_vectors
from llmrec_django.services.erasing import LEARNER_IDS, OF_LEARNERS
from llmrec_django.services.training.borrowed import BorrowedSource
from llmrec_django.services.training.evaluate import chosen_by_somebody
from llmrec_django.services.training.relevance import RelevanceSource
from llmrec_django.services.training.sources import NeighbourSource

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from llmrec_django.services.training.dataset import Dataset
    from llmrec_django.services.training.mix import Mix
    from llmrec_django.services.training.sources import Source
    from llmrec_django.types import Float32Matrix

FORMAT = 3
"""Of the files; another one is refused, and the version before serves."""
NEIGHBOUR_ROWS = 20
"""Neighbours of each source stored in the table, for people and programs to look at; scoring reads the files."""


def store(
    version: ModelVersion,
    dataset: Dataset,
    texts: Float32Matrix | None,
    sources: Sequence[Source],
    mix: Mix,
    folder: Path,
) -> None:
    """Write what a version needs to serve; it is a candidate when all is there, and not before.

    Args:
        version: In training.
        dataset: What it was fitted on.
        texts: Text vectors of the catalogue; float32 [N, V], zeros for none.
        sources: Fitted.
        mix: Their blend.
        folder: Where the files are put together; the relevance model's are in it already.
    """
    np.save(folder / "resource_ids.npy", dataset.resource_ids)
    known = chosen_by_somebody(dataset.log)
    np.save(folder / "known.npy", known)
    has_text = np.zeros(len(dataset.resource_ids), dtype=bool) if texts is None else texts.any(axis=1)
    np.save(folder / "textless.npy", dataset.resource_ids[~has_text])
    np.save(folder / "new_ids.npy", np.intersect1d(_young(dataset.tenant), dataset.resource_ids[~known & has_text]))
    if any(source.name in OF_LEARNERS for source in sources):
        np.save(folder / f"{LEARNER_IDS}.npy", dataset.learner_ids)
    for source in sources:
        if isinstance(source, BorrowedSource):
            # Of what somebody chose, activity itself says more.
            source = source.only(np.flatnonzero(~known))
        arrays = {"vectors": source.vectors} if isinstance(source, RelevanceSource) else source.to_arrays()
        for name, array in arrays.items():
            np.save(folder / f"{source.name}.{name}.npy", np.ascontiguousarray(array))
    manifest = {
        "format": FORMAT,
        "mix": mix.to_dict(),
        "sources": {source.name: type(source).__name__ for source in sources},
        "verbs": list(dataset.verbs),
    }
    (folder / "version.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    for source in sources:
        if isinstance(source, RelevanceSource):
            trained_vectors.make_space(version, dataset.resource_ids.tolist(), source.vectors)
        if isinstance(source, NeighbourSource):
            _store_neighbours(version, dataset, source)
    version.artifact, version.digest = artifacts.store(version.run_id, folder)
    version.status, version.finished_at = ModelVersion.Status.CANDIDATE, timezone.now()
    version.save()


def _young(tenant: str) -> NDArray[np.int64]:
    """Return the ids of a tenant's resources that were added in the last LLMREC["NEW_DAYS"] days; int64."""
    since = timezone.now() - timedelta(days=float(conf.NEW_DAYS))
    young = Resource.objects.in_tenant(tenant).filter(created_at__gt=since)
    return np.fromiter(young.values_list("pk", flat=True).iterator(chunk_size=20_000), dtype=np.int64)


def _store_neighbours(version: ModelVersion, dataset: Dataset, source: NeighbourSource) -> None:
    ids, weights = (part[:, :NEIGHBOUR_ROWS] for part in source.read(slice(None)))
    held = ids >= 0
    rows = []
    for row in np.nonzero(held.any(axis=1))[0]:
        kept = held[row]
        neighbours = dataset.resource_ids[ids[row][kept]].astype("<i8").tobytes()
        rows.append((int(dataset.resource_ids[row]), neighbours, weights[row][kept].astype("<f4").tobytes()))
    table, resources = ResourceNeighbours._meta.db_table, Resource._meta.db_table
    with connections[router.db_for_write(ResourceNeighbours)].cursor() as cursor:
        for begin in range(0, len(rows), 2000):
            page = rows[begin : begin + 2000]
            # The join skips resources deleted since the data were read.
            cursor.execute(
                f"INSERT INTO {table} (version_id, resource_id, source, neighbour_ids, weights) "
                f"SELECT {int(version.pk)}, r.id, %s, n.ids, n.weights "
                f"FROM unnest(%s::bigint[], %s::bytea[], %s::bytea[]) AS n(id, ids, weights) "
                f"JOIN {resources} r ON r.id = n.id ON CONFLICT DO NOTHING",
                [source.name, [pk for pk, _, _ in page], [i for _, i, _ in page], [w for _, _, w in page]],
            )
