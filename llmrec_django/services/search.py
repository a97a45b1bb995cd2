"""Search by words and by meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmrec_django.types import RecommendationResult

if TYPE_CHECKING:
    from collections.abc import Sequence


def search(
    query: str,
    *,
    k: int = 20,
    tenant: str | None = None,
    user: Any = None,
    kinds: Sequence[str] = (),
    languages: Sequence[str] = (),
) -> RecommendationResult:
    """Return up to `k` eligible resources that match the words or the meaning of `query`, best first."""
    raise NotImplementedError
