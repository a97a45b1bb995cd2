"""Personal lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmrec_django.types import RecommendationResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmrec_django.models import LearnerProfile


def recommend(
    learner: LearnerProfile | None,
    *,
    placement: str = "",
    k: int | None = None,
    tenant: str | None = None,
    user: Any = None,
    kinds: Sequence[str] = (),
    languages: Sequence[str] | None = None,
    exclude_keys: Sequence[str] = (),
) -> RecommendationResult:
    """Return an ordered list of `k` resources for a learner (None: someone unknown).

    Never empty while the tenant has an eligible resource; fewer than `k` only when fewer are eligible. `user` is
    the account whose rights decide what is visible; None asks the learner's own account.
    """
    raise NotImplementedError
