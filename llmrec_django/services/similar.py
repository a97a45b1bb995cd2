"""Resources like a resource."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmrec_django.types import RecommendationResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmrec_django.models import Resource


def similar(
    resource: Resource, *, k: int = 10, user: Any = None, kinds: Sequence[str] = (), languages: Sequence[str] = ()
) -> RecommendationResult:
    """Return the `k` eligible resources nearest in meaning, nearest first, never the resource itself."""
    raise NotImplementedError
