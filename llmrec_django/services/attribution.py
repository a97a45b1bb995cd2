"""Which recommendation a deed belongs to: the one of that resource which its learner saw last before."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django.db import Error as DatabaseError
from django.db import connections, router, transaction

from llmrec_django.conf import conf
from llmrec_django.models import Interaction, RecommendationItem, RecommendationList
from llmrec_django.models.base import is_supported

if TYPE_CHECKING:
    from collections.abc import Iterable

logger = logging.getLogger(__name__)

RATED = "rated"


def is_attributed(verb: str) -> bool:
    """Return whether deeds of this kind are looked for in the lists before them."""
    return verb == RATED or verb in conf.TARGET_VERBS


def attribute(pairs: Iterable[tuple[int, int]]) -> int:
    """Bring what became of recommended items up to date for pairs of (learner id, resource id); return changed items.

    A deed belongs to the item of its resource that its learner saw (or clicked) last, at most
    LLMREC["ATTRIBUTION_DAYS"] before; to one item only. Of several deeds with one verb the first counts, of several
    ratings the last. Everything is worked out anew from what is stored, so it does not matter in which order, how
    often or by how many at once it is asked. An error is logged: what became of a list is not worth a host's save.
    """
    wanted = sorted(set(pairs))
    using = router.db_for_write(RecommendationItem)
    if not wanted or conf.STORE_LISTS is None or not is_supported(using):
        return 0
    columns = [[learner for learner, _ in wanted], [resource for _, resource in wanted]]
    days = 2 * float(conf.ATTRIBUTION_DAYS)
    try:
        with transaction.atomic(using=using), connections[using].cursor() as cursor:
            # Who comes second waits here, and then sees what the first one has written.
            cursor.execute(_LOCK, [*columns, days])
            ids = [row[0] for row in cursor.fetchall()]
            if not ids:
                return 0
            targets = [verb for verb in conf.TARGET_VERBS if verb != RATED]
            cursor.execute(_UPDATE, [ids, [*targets, RATED], float(conf.ATTRIBUTION_DAYS), RATED, RATED])
            return int(cursor.rowcount)
    except DatabaseError:
        logger.exception("deeds are recorded, but not counted for the lists they came from")
        return 0


def attribute_deeds(deeds: Iterable[tuple[int, int | None, str]]) -> int:
    """Do so for interactions given as (learner id, resource id, verb), leaving out verbs that do not count."""
    pairs: list[Any] = [(learner, resource) for learner, resource, verb in deeds if resource and is_attributed(verb)]
    return attribute(pairs)


LISTS, ITEMS = RecommendationList._meta.db_table, RecommendationItem._meta.db_table
INTERACTIONS = Interaction._meta.db_table

_LOCK = (
    f"SELECT item.id FROM unnest(%s::bigint[], %s::bigint[]) AS asked(learner_id, resource_id) "
    f"JOIN {LISTS} list ON list.learner_id = asked.learner_id "
    f"JOIN {ITEMS} item ON item.list_id = list.id AND item.resource_id = asked.resource_id "
    "WHERE list.created_at > statement_timestamp() - %s * interval '1 day' AND item.shown_at IS NOT NULL "
    "ORDER BY item.id FOR UPDATE OF item"
)
_UPDATE = (
    "WITH seen AS MATERIALIZED (SELECT item.id, list.learner_id, item.resource_id, item.shown_at, item.clicked_at "
    f"FROM {ITEMS} item JOIN {LISTS} list ON list.id = item.list_id WHERE item.id = ANY(%s)), "
    "deed AS (SELECT i.id, i.learner_id, i.resource_id, i.verb, i.value, i.occurred_at "
    f"FROM (SELECT DISTINCT learner_id, resource_id FROM seen) pair JOIN {INTERACTIONS} i "
    "ON i.learner_id = pair.learner_id AND i.resource_id = pair.resource_id WHERE i.verb = ANY(%s)), "
    "owned AS (SELECT DISTINCT ON (deed.id) deed.verb, deed.value, deed.occurred_at, seen.id AS item_id, deed.id "
    "FROM deed JOIN seen USING (learner_id, resource_id), LATERAL (SELECT greatest("
    "CASE WHEN seen.shown_at <= deed.occurred_at THEN seen.shown_at END, "
    "CASE WHEN seen.clicked_at <= deed.occurred_at THEN seen.clicked_at END) AS at) last "
    "WHERE last.at >= deed.occurred_at - %s * interval '1 day' ORDER BY deed.id, last.at DESC, seen.id DESC), "
    "first AS (SELECT item_id, verb, min(occurred_at) AS at FROM owned WHERE verb <> %s GROUP BY item_id, verb), "
    "became AS (SELECT item_id, max(at) FILTER (WHERE verb = 'completed') AS completed_at, "
    "coalesce(jsonb_object_agg(verb, at) FILTER (WHERE verb <> 'completed'), '{}') AS outcomes "
    "FROM first GROUP BY item_id), "
    "rating AS (SELECT DISTINCT ON (item_id) item_id, occurred_at AS at, value FROM owned WHERE verb = %s "
    "ORDER BY item_id, occurred_at DESC, id DESC), "
    "now_is AS (SELECT seen.id, became.completed_at, coalesce(became.outcomes, '{}') AS outcomes, "
    "rating.at AS rated_at, rating.value AS rated_value FROM seen "
    "LEFT JOIN became ON became.item_id = seen.id LEFT JOIN rating ON rating.item_id = seen.id) "
    f"UPDATE {ITEMS} item SET completed_at = now_is.completed_at, outcomes = now_is.outcomes, "
    "rated_at = now_is.rated_at, rated_value = now_is.rated_value FROM now_is WHERE item.id = now_is.id "
    "AND (item.completed_at, item.outcomes, item.rated_at, item.rated_value) IS DISTINCT FROM "
    "(now_is.completed_at, now_is.outcomes, now_is.rated_at, now_is.rated_value)"
)
