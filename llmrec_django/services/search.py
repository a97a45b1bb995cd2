"""Search by words and by meaning."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django.db import Error as DatabaseError

from llmrec_django.conf import conf, resolve_tenant
from llmrec_django.engine.ranking import reciprocal_rank_fusion
from llmrec_django.exceptions import LLMRecError
from llmrec_django.retrieval.candidates import nearest, words
from llmrec_django.retrieval.eligibility import Audience, eligible
from llmrec_django.services.encoders import query_encoder
from llmrec_django.services.results import hydrate
from llmrec_django.services.spaces import active_space, tables_exist
from llmrec_django.types import RecommendationResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmrec_django.retrieval.eligibility import Eligibility

logger = logging.getLogger(__name__)

LONGEST_QUERY = 1000
LEAST_KNOWN = 0.5
"""An encoder that knows less of a query's tokens has nothing to say: its neighbours would be noise."""
DEPTH = 3
"""Each list is read so many times deeper than asked, so that what both find comes first."""


def search(
    query: str,
    *,
    k: int = 20,
    tenant: str | None = None,
    user: Any = None,
    kinds: Sequence[str] = (),
    languages: Sequence[str] = (),
) -> RecommendationResult:
    """Return up to `k` eligible resources that match the words or the meaning of `query`, best first.

    Meaning needs a query encoder for the active space (its ONNX export, or an HTTP encoder that answers within its
    `query_timeout_s`); without one, words alone. An empty query finds nothing.
    """
    query = " ".join(query.replace("\x00", " ").split())[:LONGEST_QUERY]
    if not conf.ENABLED or not query or not tables_exist() or k < 1:
        return RecommendationResult()
    audience = Audience(
        tenant=resolve_tenant() if tenant is None else tenant, user=user, kinds=kinds, languages=languages
    )
    eligibility = eligible(audience)
    by_words = by_meaning = []
    try:
        by_words = words(query, eligibility, k * DEPTH)
        by_meaning = _by_meaning(query, eligibility, k * DEPTH)
    except DatabaseError:
        logger.exception("search failed")
    # What holds every word stands in two lists: that is the surest sign, whatever the encoder makes of the query.
    every_word = [pk for pk, score in by_words if score >= 1]
    fused = reciprocal_rank_fusion([every_word, [pk for pk, _ in by_words], [pk for pk, _ in by_meaning]])
    matched = {pk for pk, _ in by_words}
    ranked = [(int(pk), score, "words" if pk in matched else "meaning") for pk, score in fused[:k]]  # type: ignore[call-overload]
    if conf.ENABLED == "shadow":
        logger.info("shadow search n=%s", len(ranked))
        return RecommendationResult()
    return RecommendationResult(items=hydrate(ranked))


def _by_meaning(query: str, eligibility: Eligibility, n: int) -> list[tuple[int, float]]:
    space = active_space()
    encoder = query_encoder(space) if space is not None else None
    if space is None or encoder is None:
        return []
    try:
        if encoder.known_share(query) < LEAST_KNOWN:
            return []
        vector = encoder.encode_queries([query])[0]
    except LLMRecError as exc:
        logger.warning("search goes on with words only cause=%s: %s", type(exc).__name__, exc)
        return []
    return nearest(space, vector, eligibility, n)
