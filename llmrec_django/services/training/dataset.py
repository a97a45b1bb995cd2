"""What the tables hold, as the arrays that models learn from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from django.contrib.auth import get_user_model
from django.db import connections, router

from llmrec_django.conf import conf, ignored_accounts, is_user_field
from llmrec_django.engine.interactions import InteractionLog
from llmrec_django.models import Interaction, LearnerProfile, ProfileVector, Resource, ResourceVector
from llmrec_django.retrieval.sql import read_vectors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from llmrec_django.models import VectorSpace
    from llmrec_django.types import Float32Matrix

INTERACTIONS = Interaction._meta.db_table
LEARNERS = LearnerProfile._meta.db_table
PAGE = 20_000
"""Rows fetched at once: what limits the memory besides the arrays themselves."""


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """The interactions of one tenant, and which row is whom."""

    tenant: str
    log: InteractionLog
    """All verbs; `weights` say what speaks for (> 0), against (< 0) or neither (0)."""
    resource_ids: NDArray[np.int64]
    """Resource of each row, increasing: the whole catalogue of the tenant; int64 [N]."""
    learner_ids: NDArray[np.int64]
    """Learner of each row, increasing: those with interactions; int64 [U]."""
    verbs: tuple[str, ...]
    """Verb of each code."""
    last_id: int | None
    """The newest interaction that is in it; None when there are none."""
    last_at: datetime | None
    """The latest time of an interaction."""

    def rows_of(self, resource_ids: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the row of each resource, -1 for one that is not in the catalogue; int64 [n]."""
        return rows_in(self.resource_ids, np.asarray(resource_ids, dtype=np.int64))


def rows_in(known: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each of `wanted` stands in the increasing `known`, -1 where it does not; int64 [n]."""
    if not len(known):
        return np.full(len(wanted), -1, dtype=np.int64)
    places = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[places] == wanted, places, -1)


def load_dataset(tenant: str) -> Dataset:
    """Read the catalogue and all interactions of a tenant.

    Left out: learners who opted out, accounts of LLMREC["IGNORED_ACCOUNTS"], verbs that the settings do not have.

    Note:
        Streams from a server-side cursor; about 60 bytes of memory and 4 µs of time an interaction.
    """
    verbs = tuple(conf.VERBS)
    resource_ids = np.fromiter(
        Resource.objects.in_tenant(tenant).order_by("pk").values_list("pk", flat=True).iterator(chunk_size=PAGE),
        dtype=np.int64,
    )
    columns = np.concatenate([np.zeros((0, 6)), *_pages(tenant, verbs)])  # [n, 6]
    ids, learner_of, resource_of = (columns[:, n].astype(np.int64) for n in range(3))
    codes, values, times = columns[:, 3].astype(np.int16), columns[:, 4].astype(np.float32), columns[:, 5]
    resources = rows_in(resource_ids, resource_of)
    known = resources >= 0  # a resource may have been added or moved to another tenant in between
    learner_ids, learners = np.unique(learner_of[known], return_inverse=True)
    log = InteractionLog.from_arrays(
        learners,
        resources[known],
        weights=interaction_weights(codes[known], values[known], verbs),
        times=times[known],
        verbs=codes[known],
        values=values[known],
        taken_up=is_choice(codes[known], verbs),
        n_learners=len(learner_ids),
        n_resources=len(resource_ids),
    ).without_repeats()
    return Dataset(
        tenant=tenant,
        log=log,
        resource_ids=resource_ids,
        learner_ids=learner_ids,
        verbs=verbs,
        last_id=int(ids.max()) if len(ids) else None,
        last_at=datetime.fromtimestamp(float(times.max()), tz=UTC) if len(times) else None,
    )


def interaction_weights(
    codes: NDArray[np.integer], values: NDArray[np.floating], verbs: Sequence[str]
) -> NDArray[np.float32]:
    """Return how strongly each interaction speaks for (> 0) or against (< 0) its resource; float32 [n].

    Args:
        codes: Index into `verbs`; int [n].
        values: Rating or progress in [0, 1], NaN for none; float [n].
        verbs: Names; one that the settings do not have weighs nothing.
    """
    sign = {"positive": 1.0, "negative": -1.0, "neutral": 0.0}
    meaning = [conf.VERBS.get(name) for name in verbs]
    strength = np.array([sign[verb.effect] * verb.weight if verb else 0.0 for verb in meaning], dtype=np.float32)
    weights = strength[np.asarray(codes, dtype=np.int64)]
    rated = np.array([name == "rated" for name in verbs])[np.asarray(codes, dtype=np.int64)]
    disliked = rated & (values < conf.RATING_LIKED_FROM)  # NaN compares false
    result: NDArray[np.float32] = np.where(disliked, -np.abs(weights), weights).astype(np.float32)
    return result


def is_choice(codes: NDArray[np.integer], verbs: Sequence[str]) -> NDArray[np.bool_]:
    """Say of each interaction whether the learner took the resource up, however they liked it; bool [n].

    Args:
        codes: Index into `verbs`; int [n].
        verbs: Names; one that the settings do not have is no choice.
    """
    meaning = [conf.VERBS.get(name) for name in verbs]
    chosen = np.array([verb is not None and verb.effect == "positive" for verb in meaning], dtype=np.bool_)
    result: NDArray[np.bool_] = chosen[np.asarray(codes, dtype=np.int64)]
    return result


def _pages(tenant: str, verbs: Sequence[str]) -> Iterator[NDArray[np.float64]]:
    """Yield (id, learner, resource, verb code, value, seconds) as float64 [n, 6], in order of arrival."""
    ignored = _ignored_accounts()
    sql = (
        "SELECT i.id, i.learner_id, i.resource_id, array_position(%s::text[], i.verb::text) - 1, "
        "coalesce(i.value, 'NaN'::float8), extract(epoch FROM i.occurred_at)::float8 "
        f"FROM {INTERACTIONS} i JOIN {LEARNERS} l ON l.id = i.learner_id "
        "WHERE i.tenant = %s AND i.resource_id IS NOT NULL AND i.verb = ANY(%s) AND l.personalise "
        + ("AND (l.user_id IS NULL OR l.user_id::text <> ALL(%s)) " if ignored else "")
        # Of one learner's interactions at one time, the one that arrived first came first.
        + "ORDER BY i.id"
    )
    params: list[Any] = [list(verbs), tenant, list(verbs), *([ignored] if ignored else [])]
    with connections[router.db_for_read(Interaction)].chunked_cursor() as cursor:
        cursor.execute(sql, params)
        while rows := cursor.fetchmany(PAGE):
            yield np.array(rows, dtype=np.float64)


def _ignored_accounts() -> list[str]:
    """Return the keys of the accounts whose activity teaches nothing."""
    model: Any = get_user_model()
    ignored: set[str] = set()
    for conditions in ignored_accounts():
        # Not every user model knows staff.
        known = {name: value for name, value in conditions.items() if is_user_field(name)}
        if known:
            ignored.update(map(str, model._base_manager.filter(**known).values_list("pk", flat=True)))
    return sorted(ignored)


def text_matrix(space: VectorSpace, resource_ids: NDArray[np.int64]) -> Float32Matrix:
    """Return the vectors of resources in a space; float32 [N, dimension], zeros where there is none."""
    rows = ResourceVector.objects.filter(space=space)
    return _matrix(rows.model._meta.db_table, "resource_id", space, resource_ids)


def profile_matrix(space: VectorSpace, learner_ids: NDArray[np.int64]) -> Float32Matrix:
    """Return the vectors of learners' goals in a space; float32 [U, dimension], zeros where there is none."""
    return _matrix(ProfileVector._meta.db_table, "learner_id", space, learner_ids)


def _matrix(table: str, column: str, space: VectorSpace, ids: NDArray[np.int64]) -> Float32Matrix:
    matrix = np.zeros((len(ids), space.dimension), dtype=np.float32)
    with connections[router.db_for_read(Interaction)].chunked_cursor() as cursor:
        cursor.execute(f"SELECT {column}, vector_send(vector) FROM {table} WHERE space_id = {int(space.pk)}")
        while found := cursor.fetchmany(2000):
            rows = rows_in(ids, np.array([pk for pk, _ in found], dtype=np.int64))
            kept = rows >= 0
            matrix[rows[kept]] = read_vectors([value for _, value in found])[kept]
    return matrix
