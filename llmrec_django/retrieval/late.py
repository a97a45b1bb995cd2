"""Resources whose text a version did not know when it was trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmrec_django.models import Resource, ResourceVector
from llmrec_django.retrieval.sql import run_candidates

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from llmrec_django.models import VectorSpace

MAX_TEXTLESS = 20_000
"""So many resources that had no text in training are looked after; in larger numbers they wait for the next one."""


def late_hashes(
    space: VectorSpace, tenant: str, last_id: int, textless: NDArray[np.int64], n: int | None = None
) -> dict[int, str]:
    """Return which resources have a vector in `space` that the version did not know: id → hash of its text, by id.

    Args:
        space: Of texts.
        tenant: Whose resources.
        last_id: The highest id in training; all above came later.
        textless: Ids of resources that had no text in training; int64.
        n: At most so many, the newest; None: all.
    """
    vectors, resources = ResourceVector._meta.db_table, Resource._meta.db_table
    chosen = f"SELECT v.resource_id, v.text_hash FROM {vectors} v JOIN {resources} r ON r.id = v.resource_id "
    where = f"WHERE v.space_id = {int(space.pk)} AND r.tenant = %s AND v.resource_id"
    # Two ranges of one index; an OR between them would read the whole space.
    sql = f"{chosen}{where} > %s UNION ALL {chosen}{where} = ANY(%s) ORDER BY 1 DESC LIMIT %s"
    rows = run_candidates(sql, [tenant, last_id, tenant, textless[:MAX_TEXTLESS].tolist(), n])
    return {int(pk): text_hash for pk, text_hash in reversed(rows)}
