"""Resources like a resource."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django.db import Error as DatabaseError

from llmrec_django.conf import conf
from llmrec_django.models import Placement
from llmrec_django.retrieval.candidates import nearest, words
from llmrec_django.retrieval.eligibility import Audience, eligible
from llmrec_django.services.editorial import rules_for
from llmrec_django.services.results import hydrate
from llmrec_django.services.spaces import active_space, tables_exist
from llmrec_django.types import RecommendationResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmrec_django.models import Resource

logger = logging.getLogger(__name__)


def similar(
    resource: Resource,
    *,
    k: int = 10,
    user: Any = None,
    kinds: Sequence[str] = (),
    languages: Sequence[str] = (),
) -> RecommendationResult:
    """Return the `k` eligible resources nearest in meaning, nearest first, never the resource itself.

    While the resource has no vector yet, resources that share words of its title stand in; `source` says which.
    """
    if not conf.ENABLED or not tables_exist() or k < 1:
        return RecommendationResult()
    audience = Audience(
        tenant=resource.tenant,
        user=user,
        kinds=kinds,
        languages=languages,
        exclude_ids=[resource.pk],
        excluded=rules_for(resource.tenant, Placement()).excluded,
    )
    eligibility = eligible(audience)
    ranked: list[tuple[int, float, str]] = []
    try:
        space = active_space()
        if space is not None:
            ranked = [(pk, score, "similar") for pk, score in nearest(space, resource.pk, eligibility, k)]
        if not ranked:
            ranked = [(pk, score, "words") for pk, score in words(resource.title, eligibility, k, at_least=0)]
    except DatabaseError:
        logger.exception("similar resources not found resource=%s", resource.pk)
    if conf.ENABLED == "shadow":
        logger.info("shadow similar resource=%s n=%s", resource.pk, len(ranked))
        return RecommendationResult()
    return RecommendationResult(items=hydrate(ranked))
