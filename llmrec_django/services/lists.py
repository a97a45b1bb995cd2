"""Keeping the lists that were recommended, so that they can be explained, measured and learned from."""

from __future__ import annotations

import json
import logging
import math
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from django.db import Error as DatabaseError
from django.db import connections, router, transaction

from llmrec_django.conf import conf
from llmrec_django.models import LearnerProfile, Placement, RecommendationItem, RecommendationList
from llmrec_django.models.base import is_supported
from llmrec_django.retrieval.candidates import in_order
from llmrec_django.retrieval.eligibility import Audience, eligible
from llmrec_django.services.editorial import rules_for
from llmrec_django.services.evidence import still_named
from llmrec_django.services.reasons.templates import with_reasons
from llmrec_django.services.results import HIDDEN_COLUMNS, requester
from llmrec_django.services.writing.reasons import with_written
from llmrec_django.types import Evidence, Recommendation, RecommendationResult

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from llmrec_django.models import ModelVersion
    from llmrec_django.services.experiments import Assignment

logger = logging.getLogger(__name__)

LISTS = RecommendationList._meta.db_table
ITEMS = RecommendationItem._meta.db_table
LEARNERS = LearnerProfile._meta.db_table


def is_kept(learner: LearnerProfile | None) -> bool:
    """Return whether a list for `learner` (None: someone unknown) is to be stored."""
    if conf.STORE_LISTS is None or not is_supported(_alias()):
        return False
    return conf.STORE_LISTS == "all" or _is_named(learner)


def store_list(
    list_id: UUID,
    items: Sequence[Recommendation],
    *,
    learner: LearnerProfile | None,
    tenant: str,
    placement: str = "",
    k: int,
    version: ModelVersion | None = None,
    assignment: Assignment | None = None,
    is_personal: bool = False,
    fallback: str = "",
) -> bool:
    """Store a list in one statement; return whether it is stored. An empty one is not.

    Of a learner who opted out, at whatever moment, nothing is stored that names them. An error is logged and
    leaves the list to be shown and the host's transaction as they were.
    """
    if not items:
        return False
    named = _is_named(learner)
    values = [
        list_id,
        tenant,
        placement[:64],
        version.pk if version else None,
        assignment.experiment_id if assignment else None,
        assignment.arm if assignment else "",
        k,
        is_personal,
        conf.ENABLED == "shadow",
        fallback,
    ]
    connection = connections[_alias()]
    try:
        savepoint = transaction.atomic(using=_alias()) if connection.in_atomic_block else nullcontext()
        with savepoint, connection.cursor() as cursor:
            cursor.execute(
                _SQL.format(
                    learner=f"{LEARNERS} AS learner WHERE id = %s AND personalise"
                    if named
                    else "(SELECT NULL::bigint AS id) AS learner",
                    # Losing the last moments of a log in a crash is no harm; waiting for the disk would be, in
                    # every request. What the host does in its own transaction keeps its promise.
                    quick="" if connection.in_atomic_block else _QUICK,
                ),
                [*values, *([learner.pk] if named and learner else []), _rows(items)],
            )
            return bool(cursor.rowcount)
    except DatabaseError:
        logger.exception("a list is shown but not stored placement=%s", placement)
        return False


_QUICK = ", (SELECT set_config('synchronous_commit', 'off', true)) AS quick"
_SQL = (
    f"WITH list AS (INSERT INTO {LISTS} (id, tenant, learner_id, placement, version_id, experiment_id, arm, k, "
    "is_personal, is_shadow, fallback, created_at) "
    "SELECT %s::uuid, %s, learner.id, %s, %s::bigint, %s::bigint, %s, %s, %s, %s, %s, statement_timestamp() "
    "FROM {learner} RETURNING id) "
    f"INSERT INTO {ITEMS} (list_id, rank, resource_id, score, source, propensity, is_exploration, components, "
    "evidence, reason, reason_source, dismiss_reason, outcomes) "
    "SELECT list.id, row.rank, row.resource_id, row.score, row.source, row.propensity, row.is_exploration, "
    "row.components, row.evidence, row.reason, row.reason_source, '', '{{}}'::jsonb FROM list{quick}, "
    # One JSON text: arrays of texts would be escaped quote by quote.
    "json_to_recordset(%s::json) AS row(rank int, resource_id bigint, score float8, source text, propensity float8, "
    "is_exploration bool, components jsonb, evidence jsonb, reason text, reason_source text)"
)


def find_list(list_id: UUID, learner: LearnerProfile | None) -> RecommendationList | None:
    """Return a learner's own list; None for anybody else's, as for one that does not exist."""
    if learner is None or learner._state.adding:
        return None
    return RecommendationList.objects.filter(pk=list_id, learner=learner).first()


def read_list(stored: RecommendationList, *, user: Any = None) -> RecommendationResult:
    """Return a stored list as it was, without the resources that its learner may not see any more."""
    rows = list(
        stored.items.select_related("resource")
        .defer(*(f"resource__{name}" for name in HIDDEN_COLUMNS))
        .order_by("rank", "id")
    )
    ids = [row.resource_id for row in rows]
    place = Placement.objects.filter(tenant=stored.tenant, name=stored.placement).first() or Placement()
    excluded = rules_for(stored.tenant, place).excluded
    eligibility = eligible(Audience(stored.tenant, requester(user, stored.learner), excluded=excluded))
    visible = dict(in_order(ids, [0.0] * len(ids), eligibility, len(ids)))
    items = [_recommendation(row) for row in rows if row.resource_id in visible]
    return RecommendationResult(
        items=with_written(with_reasons(still_named(items, eligibility)), tenant=stored.tenant),
        placement=stored.placement,
        is_personal=stored.is_personal,
        fallback=stored.fallback,
        recommendation_id=stored.pk,
    )


def _recommendation(row: RecommendationItem) -> Recommendation:
    try:
        evidence = Evidence.from_dict({**row.evidence, "parts": row.components}) if row.evidence else None
    except (AttributeError, TypeError, ValueError):  # written by another release
        evidence = None
    return Recommendation(
        resource=row.resource,
        rank=row.rank,
        score=row.score,
        source=row.source,
        url=row.resource.url,
        propensity=row.propensity,
        is_exploration=row.is_exploration,
        evidence=evidence,
    )


def _is_named(learner: LearnerProfile | None) -> bool:
    return learner is not None and not learner._state.adding and learner.personalise


def _alias() -> str:
    return router.db_for_write(RecommendationList)


def _rows(items: Sequence[Recommendation]) -> str:
    rows = []
    for item in items:
        evidence = item.evidence.to_dict() if item.evidence is not None else {}
        row = {
            "rank": item.rank,
            "resource_id": item.resource.pk,
            "score": item.score if math.isfinite(item.score) else 0.0,
            "source": item.source,
            "propensity": item.propensity,
            "is_exploration": item.is_exploration,
            "components": evidence.pop("parts", {}),
            "evidence": evidence,
            "reason": str(item.reason),
            "reason_source": item.reason_source,
        }
        rows.append(row)
    try:
        return json.dumps(rows, ensure_ascii=False, allow_nan=False, default=str)
    except ValueError:  # PostgreSQL has no NaN in JSON, and a list is worth more than one of its numbers
        logger.warning("evidence is left out: it holds a number that JSON has not")
        bare = [{**row, "components": {}, "evidence": {}} for row in rows]
        return json.dumps(bare, ensure_ascii=False, default=str)
